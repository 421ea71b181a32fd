"""Measurements on their way to the device while the device computes."""
