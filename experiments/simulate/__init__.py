"""A whole federation on one machine, under two engines."""
