"""For those who add kinds: what is installed, and checks that a kind of theirs can be held to."""
