"""The site: its records, its policy, and training with no network below it."""
