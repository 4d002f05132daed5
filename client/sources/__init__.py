"""Where patients come from: one module a source."""
