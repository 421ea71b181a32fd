"""MRI: what is estimated before the reconstruction."""
