"""MRI: source formats and the simulation."""
