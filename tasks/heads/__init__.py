"""Heads: small trained models on frozen chunk vectors."""
