"""Grids, axes and trajectories: where things are, and nothing about how they are measured."""
