"""Benchmarks that `make bench` runs: `run.py --help`, `run.py radar --help` and others."""

import os
import runpy
import sys
from pathlib import Path

# As a script its own folder comes first on the path, but the package is imported from above it.
tests = Path(__file__).resolve().parents[1]
sys.path[0] = str(tests)
sys.path.append(str(tests.parent / "build/peers"))  # what `make bench` installs there
module = "benchmarks"
if sys.argv[1:2] == ["gpu"]:
    module = "benchmarks.first_figures"
    sys.path.insert(1, str(tests.parent))  # where the package is not installed
    del sys.argv[1]
elif sys.argv[1:2] in (["radar"], ["back-projection"]):
    module = f"benchmarks.{sys.argv[1].replace('-', '_')}"
    del sys.argv[1]
    # Threads of one library that wait for work must not take the cores of another that works.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if "--threads" in sys.argv:  # NumPy's library reads it when it is imported
        os.environ["OPENBLAS_NUM_THREADS"] = sys.argv[sys.argv.index("--threads") + 1]
runpy.run_module(module, run_name="__main__", alter_sys=True)
