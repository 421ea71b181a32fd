"""One file an algorithm: its settings, what it needs, how its results are told, and its run.

Settings are read where torch is not loaded, so solvers are imported in what runs.
"""
