"""`fedward lab compare`: a study in many variants, one table and its figures."""
