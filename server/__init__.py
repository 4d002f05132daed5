"""The coordinator: rounds, aggregation, tracking."""
