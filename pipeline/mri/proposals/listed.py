"""Files whose headers say what each readout is: ISMRMRD of both versions, Siemens, fastMRI."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.formats.proposal import Proposal, Told, refuse_names

_HDF5, _YARDL = b"\x89HDF\r\n\x1a\n", b"yardl"
_WHY = {
    "mrd": "an ISMRMRD file: an XML header beside a list of readouts",
    "mrd2": "an ISMRMRD file of version 2, by how it begins",
    "twix": "Siemens raw data, by its name",
    "fastmri": "a file of fastMRI: k-space beside an ISMRMRD header",
}


def describe(paths: Sequence[Path], told: Told) -> Proposal | None:
    """Describe one file that says everything itself, but perhaps the trajectory."""
    (path, *others) = paths
    name = None if others or not path.is_file() else _format_of(path)
    if name is None:
        return None
    return described(name, path.name, str(path.parent), told)


def described(name: str, source: str, root: str, told: Told) -> Proposal:
    """Describe a source of a format whose headers say everything."""
    found = Proposal("mri", name, source, root)
    found.say("format", _WHY[name])
    for setting in ("shape", "voxel_size"):
        value = getattr(told, setting)
        if value is not None:
            found.settings[setting] = list(value)
    stored = {"units": told.units, "axis_order": list(told.order) if told.order else None}
    if any(stored.values()):
        kept = {key: value for key, value in stored.items() if value is not None}
        found.settings["trajectory"] = {"kind": "stored", **kept}
    refuse_names(told, name)
    return found


def _format_of(path: Path) -> str | None:
    with path.open("rb") as file:
        start = file.read(len(_HDF5))
    if start.startswith(_YARDL):
        return "mrd2"
    if path.suffix == ".dat":
        return "twix"
    return _format_of_hdf5(path) if start == _HDF5 else None


def _format_of_hdf5(path: Path) -> str | None:
    import h5py

    with h5py.File(path) as file:
        if {"ismrmrd_header", "kspace"} <= set(file):
            return "fastmri"
        groups = [group for group in file.values() if isinstance(group, h5py.Group)]
        return "mrd" if any({"xml", "data"} <= set(group) for group in groups) else None
