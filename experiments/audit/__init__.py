"""An audit of the privacy claim itself: canaries in one training run, and a gradient inversion."""
