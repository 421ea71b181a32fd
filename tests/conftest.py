"""Two workers share two cores: threads that wait have to rest. Read before numpy and torch are."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command itself does
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
