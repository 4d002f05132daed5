"""`fedward study ...`: plan, run and watch studies."""
