"""What may leave a site and what it costs; stands on nothing of ours."""
