"""The flags of ISMRMRD acquisitions: bit ``n - 1`` of a 64-bit word is flag ``n`` [1]_.

References
----------
.. [1] ismrmrd/ismrmrd, `include/ismrmrd/ismrmrd.h`, `enum ISMRMRD_AcquisitionFlags`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.formats.readout_table import ROLES

NOISE = 19
CALIBRATION = 20
CALIBRATION_AND_IMAGE = 21
REVERSE = 22
_COMPRESSED = range(53, 57)

_ROLES: Mapping[str, tuple[int, ...]] = {
    # Feedback, coil correction, phase stabilisation and its reference.
    "other": (26, 28, 29, 30, 31),
    "calibration": (CALIBRATION,),
    "navigator": (23, 24),
    "dummy": (27,),
    "noise": (NOISE,),
}
"""What a readout is for that has one of these flags; later ones come before earlier ones."""


def _has(flags: NDArray[np.uint64], *numbers: int) -> NDArray[np.bool_]:
    mask = np.uint64(sum(1 << (number - 1) for number in numbers))
    return np.asarray((flags & mask) != 0)


def roles(flags: NDArray[np.uint64]) -> NDArray[np.int8]:
    """Return what readouts are for, by their flags: indices into `ROLES`."""
    found = np.zeros(len(flags), np.int8)
    for role, numbers in _ROLES.items():
        found[_has(flags, *numbers)] = ROLES.index(role)
    found[_has(flags, CALIBRATION_AND_IMAGE) & (found == ROLES.index("calibration"))] = 0
    return found


def is_reverse(flags: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell which readouts ran from the last sample to the first."""
    return _has(flags, REVERSE)


def is_compressed(flags: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell which readouts hold their samples in a form that is not read here."""
    return _has(flags, *_COMPRESSED)
