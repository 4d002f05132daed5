"""What frozen vectors hold, site by site: probes, similarities, components, outliers."""
