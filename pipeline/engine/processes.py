"""Resident memory of processes that hold no data yet, by what they import [byte]; measured."""

MERGE = 102 * 10**6
"""The interpreter, NumPy, Zarr, dask, and nibabel, which loads pydicom."""
MEASURE = 100 * 10**6
"""With scikit-image and SciPy, where there is a reference, in place of dask and nibabel."""
TABLES = 192 * 10**6
"""With pandas and pyarrow besides."""
DRAWINGS = 280 * 10**6
"""With pandas and matplotlib."""
INGEST = 82 * 10**6
"""With HDF5 and Zarr, once it writes."""
SCIPY = 14 * 10**6
"""What special functions of SciPy add to that."""
TORCH = 204 * 10**6
"""What torch adds to that."""
CALIBRATE = 290 * 10**6
"""With torch, and the pools of threads of its packages."""
RECONSTRUCT = 300 * 10**6
"""With torch, and the workspaces of its libraries."""
CUDA = 2000 * 10**6
"""With torch and a context on a CUDA device."""
