"""Text to vectors, once."""
