"""Both sides meet: simulation, baselines, the command."""
