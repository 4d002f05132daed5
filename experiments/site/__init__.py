"""`fedward site ...`: a site's commands, its daemon and what that shows."""
