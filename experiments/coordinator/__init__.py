"""`fedward server ...`: a coordinator's commands and its processes."""
