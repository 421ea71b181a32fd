"""`python tests/benchmarks/run.py --help`, which `make bench` runs."""

import runpy
import sys
from pathlib import Path

# As a script its own folder comes first on the path, but the package is imported from above it.
sys.path[0] = str(Path(__file__).resolve().parents[1])
runpy.run_module("benchmarks", run_name="__main__", alter_sys=True)
