"""What is asked of the notes: labels, bags, heads, metrics, and the Study that asks it."""
