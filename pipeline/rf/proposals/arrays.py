"""NumPy, HDF5 and MATLAB files whose arrays bear our own names: a phase history."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from pipeline.errors import ConfigError, DataError
from pipeline.formats.array_files import open_file
from pipeline.formats.lazy import LazyArray
from pipeline.formats.proposal import Held, Proposal, Told
from pipeline.rf.arrays import PULSE_SOURCE
from pipeline.rf.proposals.scene import propose_scene

_SUFFIXES = (".npz", ".h5", ".hdf5", ".mat")
_COORDINATES = 3


def describe(paths: Sequence[Path], told: Told) -> Proposal | None:
    """Describe a file that holds `y`, `frequencies`, and `transmitter` or `tx`."""
    (path, *others) = paths
    if others or path.suffix not in _SUFFIXES:
        return None
    with ExitStack() as stack:
        try:
            file = open_file(path, stack, "init")
        except DataError:
            return None
        stored = {name.rpartition("/")[2]: name for name in file.names}
        if not {"y", "frequencies"} <= set(stored) or not {"transmitter", "tx"} & set(stored):
            if not told.names and _of_radar(stored):
                held = (f"{n} {_times(file.array(stored[n], 'init').shape)}" for n in stored)
                raise ConfigError(
                    f"init: {path} seems to hold a radar's measurements ({', '.join(held)}), by "
                    "names that are not ours; write `sources` by hand: `scene`, and `arrays` with "
                    "y, frequencies, tx and rx, their axes as stored, and `scale` where units are "
                    "not m and Hz; or say --array, if it is MRI"
                )
            return None
        if "transmitter" not in stored:
            raise ConfigError(
                f"init: {path} holds pairs of antenna arrays, of which no file says where the scene"
                " is; write `sources` by hand, with `scene`"
            )
        arrays = {
            name: file.array(stored[name], "init") for name in PULSE_SOURCE.fields if name in stored
        }
        found = Proposal("rf", "arrays", path.name, str(path.parent))
        found.held = [Held.of(name, array) for name, array in arrays.items()]
        axes = _axes(arrays, found)
    found.settings["arrays"] = {
        name: {"name": stored[name], "axes": list(axes[name])} for name in arrays
    }
    found.say("arrays", "a phase history, by the names of its arrays")
    found.say(
        "arrays.y.conjugate",
        "false: phases fall with distance; where they rise the picture is not sharp, or mirrored "
        "at the point that phases count from: say conjugate: true",
        guess=True,
    )
    if "reference_path" not in arrays:
        found.say(
            "arrays.reference_path",
            "not in the file; 0 is taken: phases count from the antennas",
            guess=True,
        )
    propose_scene(found, told)
    return found


def _of_radar(names: Iterable[str]) -> bool:
    """Tell whether arrays bear names of frequencies, transmitters and receivers."""
    words = (("freq",), ("tx", "transmit"), ("rx", "receiv"))
    return all(any(name.lower().startswith(some) for name in names) for some in words)


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _axes(arrays: Mapping[str, LazyArray], found: Proposal) -> dict[str, tuple[str, ...]]:
    """Return what the axes of each array mean, by their sizes; in the documented order if alike."""
    places = [size for size in arrays["transmitter"].shape if size > 1]
    pulses = places[-1] if places[-1:] != [_COORDINATES] else places[0]
    sizes = {
        "pulse": pulses,
        "freq": max(arrays["frequencies"].shape, default=1),
        "coordinate": _COORDINATES,
    }
    axes = {}
    for name, array in arrays.items():
        documented = PULSE_SOURCE.fields[name].axes
        names = _by_size(array.shape, documented, sizes)
        if names is None:
            raise ConfigError(
                f"init: {name} has the shape {array.shape}, which does not fit {sizes}; expected "
                f"axes of {', '.join(documented)}; write `sources` by hand"
            )
        axes[name] = names
    if sizes["pulse"] == sizes["freq"]:
        found.say(
            "arrays.y.axes", "as many pulses as frequencies: pulses are taken first", guess=True
        )
    return axes


def _by_size(
    shape: tuple[int, ...], documented: Sequence[str], sizes: Mapping[str, int]
) -> tuple[str, ...] | None:
    """Return names of axes, none of them twice; None where sizes do not fit."""
    left, names = list(documented), []
    for size in shape:
        fitting = [name for name in left if sizes.get(name) == size]
        free = [name for name in left if name not in sizes]
        name = "1" if size == 1 and not fitting else next(iter(fitting + free), None)
        if name is None:
            return None
        names.append(name)
        if name != "1":
            left.remove(name)
    missing = [name for name in left if sizes.get(name, 1) > 1]
    return None if missing else tuple(names)
