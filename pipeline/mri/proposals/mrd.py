"""ISMRMRD files, whose header and flags say everything but a trajectory that was left out."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.formats.proposal import Proposal, Told

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def describe(paths: Sequence[Path], told: Told) -> Proposal | None:
    """Describe one file that holds an XML header beside a list of readouts."""
    (path, *others) = paths
    if others or not path.is_file():
        return None
    with path.open("rb") as opened:
        if opened.read(len(_SIGNATURE)) != _SIGNATURE:
            return None
    import h5py

    with h5py.File(path) as file:
        groups = [group for group in file.values() if isinstance(group, h5py.Group)]
        if not any({"xml", "data"} <= set(group) for group in groups):
            return None
    found = Proposal("mri", "mrd", path.name, str(path.parent))
    found.say("format", "an ISMRMRD file: an XML header beside a list of readouts")
    for name in ("shape", "voxel_size"):
        value = getattr(told, name)
        if value is not None:
            found.settings[name] = list(value)
    return found
