"""Solvers. They see normal equations and callables, never data, coils or trajectories."""
