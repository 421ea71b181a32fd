"""Kronufft: batch reconstruction of non-Cartesian MRI and multi-static RF imaging data."""

__version__ = "0.2.0"
