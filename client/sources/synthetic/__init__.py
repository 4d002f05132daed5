"""Invented hospitals: patients, notes and codes of nobody, for tests and demonstrations."""
