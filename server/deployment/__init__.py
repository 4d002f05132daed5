"""A coordinator's own machine: its folder, certificates, sites and processes."""
