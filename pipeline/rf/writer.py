"""Write an RF acquisition piece by piece into `raw.zarr`; see `pipeline.rf.raw`.

Every piece is checked on its way: it must have the size that positions and frequencies give it, be
finite, and not be zero throughout a frequency.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume
from pipeline.rf.checks import require_frequencies, require_measurements
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.raw import AXES, PAIR_AXES, PATH_AXES, Layout
from pipeline.storage.blocks import image_chunks, image_codecs

if TYPE_CHECKING:
    import zarr

_DTYPES: Mapping[str, type] = {
    **dict.fromkeys(("A1", "A2", "A3", "reference"), np.complex64),
    "weights": np.complex128,
    "noise_std": np.float32,
}
"""Stored types of arrays that are not float64."""


class RfRawWriter:
    """Fills a store that `pipeline.storage.publish.published_store` publishes.

    First `create_pairs` or `create_phase_history`, then the measurements in pieces of any size and
    in any order, and the optional arrays. Pieces that share a chunk must not be written at once.

    Parameters
    ----------
    group
        Store under construction.
    dataset
        Name of the dataset; begins the message of an error.
    scene
        Grid of the image.
    frequencies
        ``[freq]``, increasing [Hz].
    frames
        Number of independent images.
    coherent
        Whether the phases of different pairs can be compared.
    model_error
        Relative error of stored factors, if known.
    source, provenance
        Where the data came from.

    Raises
    ------
    DataError
        If the frequencies do not increase or are not in Hz by the look of them.
    """

    def __init__(
        self,
        group: "zarr.Group",
        *,
        dataset: str,
        scene: Scene,
        frequencies: ArrayLike,
        frames: int = 1,
        coherent: bool = True,
        model_error: float | None = None,
        source: str = "",
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self._group = group
        self._dataset = dataset
        self._scene = scene
        self._frames = frames
        self._frequencies = require_frequencies(frequencies, dataset)
        self._shapes: list[tuple[int, ...]] = []
        self._shared = False
        group.attrs.update(
            {
                "kind": "rf",
                "frames": frames,
                "shape": list(scene.shape),
                "spacing": list(scene.spacing),
                "origin": list(scene.origin),
                "range": scene.range,
                "coherent": coherent,
                "model_error": model_error,
                "source": source,
                "provenance": dict(provenance or {}),
            }
        )
        self._store(group, "frequencies", self._frequencies, ("freq",))

    def create_pairs(
        self, shapes: Sequence[Sequence[int]], antennas: Sequence[Pair | None] | None = None
    ) -> None:
        """Create the arrays of pairs.

        Parameters
        ----------
        shapes
            Measurements of each pair at one frequency, ``(m1, m2)`` or ``(m1, m2, m3)``.
        antennas
            Positions of each pair; of one without them the factors must be stored.

        Raises
        ------
        DataError
            If positions and measurements of a pair disagree.
        """
        self._shapes = [tuple(int(size) for size in shape) for shape in shapes]
        for pair, shape in enumerate(self._shapes):
            if len(shape) not in (2, 3) or min(shape) < 1:
                raise DataError(
                    f"{self._pair(pair)} measures {shape}; expected 2 or 3 sizes of at least 1"
                )
        if not self._shapes or (antennas is not None and len(antennas) != len(self._shapes)):
            raise DataError(
                f"{self._dataset}: measurements of {len(self._shapes)} pairs, positions of "
                f"{'none' if antennas is None else len(antennas)}; expected one each"
            )
        most = [max(sizes) for sizes in itertools.zip_longest(*self._shapes, fillvalue=1)]
        self._group.attrs.update(
            {"layout": self._layout("pairs"), "pairs": len(self._shapes), "rows": most}
        )
        folder = self._group.create_group("pair")
        self._shared = len(set(self._shapes)) == 1
        if self._shared:
            axes = {
                "frame": self._frames,
                "pair": len(self._shapes),
                "freq": len(self._frequencies),
            }
            self._create_measurements(self._group, axes | _named(self._shapes[0]))
        for index, shape in enumerate(self._shapes):
            group = folder.create_group(str(index))
            if not self._shared:
                axes = {"frame": self._frames, "freq": len(self._frequencies)}
                self._create_measurements(group, axes | _named(shape))
            own = None if antennas is None else antennas[index]
            if own is not None:
                self._store_antennas(group, own, self._pair(index), shape)

    def create_phase_history(self, paths: AntennaPaths | Sequence[AntennaPaths]) -> None:
        """Create the arrays of a phase history.

        Parameters
        ----------
        paths
            Antenna positions for all frames, or one each with the same number of pulses.
        """
        own = [paths] if isinstance(paths, AntennaPaths) else list(paths)
        pulses = {len(part) for part in own}
        if len(own) not in (1, self._frames) or len(pulses) != 1 or pulses == {0}:
            raise DataError(
                f"{self._dataset}: antenna positions of {len(own)} frames with {sorted(pulses)} "
                f"pulses; expected those of 1 or {self._frames} frames, all with equally many"
            )
        self._group.attrs["layout"] = self._layout("phase-history")
        self._create_measurements(
            self._group,
            {"frame": self._frames, "pulse": pulses.pop(), "freq": len(self._frequencies)},
        )
        for name, axes in PATH_AXES.items():
            values = np.stack([getattr(part, name) for part in own])
            self._store(self._group, name, values, axes)

    def write_measurements(
        self,
        frame: int,
        pair: int,
        values: NDArray[np.complexfloating],
        *,
        first_frequency: int = 0,
    ) -> None:
        """Write measurements of one pair from a frequency on, ``[freq, m1, m2(, m3)]``.

        Raises
        ------
        DataError
            If they have another shape, or a frequency at which they are NaN, infinite or all zero.
        """
        who = f"{self._pair(pair)}, frame {frame}"
        band = slice(first_frequency, first_frequency + len(values))
        shape = self._shapes[pair]
        if values.shape[1:] != shape or band.stop > len(self._frequencies):
            raise DataError(
                f"{who}: measurements of shape {values.shape} from frequency {first_frequency} "
                f"on; expected {shape} at {len(self._frequencies)} frequencies"
            )
        require_measurements(values, self._frequencies[band], who)
        if self._shared:
            self._array("y")[frame, pair, band] = values.astype(np.complex64)
        else:
            self._array(f"pair/{pair}/y")[frame, band] = values.astype(np.complex64)

    def write_pulses(
        self, frame: int, values: NDArray[np.complexfloating], *, first_pulse: int = 0
    ) -> None:
        """Write measurements of a phase history from a pulse on, ``[pulse, freq]``.

        Raises
        ------
        DataError
            If they have another shape, or a pulse or a frequency at which they are NaN, infinite or
            all zero.
        """
        stored = self._array("y")
        pulses = slice(first_pulse, first_pulse + len(values))
        who = f"{self._dataset}: pulses {pulses.start} to {pulses.stop - 1}, frame {frame}"
        if (
            values.ndim != 2
            or values.shape[1:] != stored.shape[2:]
            or pulses.stop > stored.shape[1]
        ):
            raise DataError(
                f"{who}: measurements of shape {values.shape}; expected up to {stored.shape[1]} "
                f"pulses at {stored.shape[2]} frequencies"
            )
        require_measurements(values, self._frequencies, who, axis=1)
        empty = np.flatnonzero(~values.any(axis=1))
        if empty.size:
            raise DataError(
                f"{who}: pulse {first_pulse + empty[0]} is zero at all frequencies; leave it out"
            )
        stored[frame, pulses] = values.astype(np.complex64)

    def write_array(self, name: str, values: ArrayLike) -> None:
        """Write one of `pipeline.rf.raw.AXES`, whole."""
        array = np.asarray(values)
        sizes = {
            "frame": self._frames,
            "pair": len(self._shapes) or 1,  # pulses count as those of one pair
            "freq": len(self._frequencies),
            "coordinate": 3,
            **dict(zip("zyx", as_volume(self._scene.shape), strict=True)),
        }
        if name == "reference" and array.shape[:1] == (1,):
            sizes["frame"] = 1
        self._require_shape(array, AXES[name], sizes, f"{self._dataset}: `{name}`")
        self._store(self._group, name, array, AXES[name])

    def write_pair_array(self, pair: int, name: str, values: ArrayLike) -> None:
        """Write one of `pipeline.rf.raw.PAIR_AXES`, whole."""
        array = np.asarray(values)
        sizes = {"freq": len(self._frequencies)}
        # Two axes measure a scene of three through the band alone.
        measured = (*self._shapes[pair], 1)
        for axis, voxels in enumerate(self._scene.shape):
            sizes |= {f"m{axis + 1}": measured[axis], f"n{axis + 1}": voxels}
        self._require_shape(array, PAIR_AXES[name], sizes, f"{self._pair(pair)}: `{name}`")
        group: Any = self._group[f"pair/{pair}"]
        self._store(group, name, array, PAIR_AXES[name])

    def _pair(self, pair: int) -> str:
        return f"{self._dataset}: pair {pair}"

    def _layout(self, layout: Layout) -> Layout:
        if "layout" in self._group.attrs:
            raise ValueError(f"the layout is already {self._group.attrs['layout']}")
        return layout

    def _array(self, path: str) -> Any:
        return self._group[path]

    def _store_antennas(
        self, group: "zarr.Group", antennas: Pair, who: str, shape: tuple[int, ...]
    ) -> None:
        if antennas.paired:
            raise DataError(f"{who}: its antennas are paired one by one; store a phase history")
        antennas.check_measurement(shape[:2], who)
        for name in ("tx", "rx"):
            self._store(group, name, getattr(antennas, name), ("element", "coordinate"))
        tx_grid, rx_grid = antennas.grids
        group.attrs.update({"tx_grid": list(tx_grid), "rx_grid": list(rx_grid)})

    def _create_measurements(self, group: "zarr.Group", axes: Mapping[str, int]) -> None:
        """Create ``y`` from the names and sizes of its axes."""
        from zarr.codecs import Crc32cCodec

        single = [name for name in axes if name in ("frame", "pair")]
        rest = tuple(axes.values())[len(single) :]
        group.create_array(
            "y",
            shape=tuple(axes.values()),
            chunks=(*(1,) * len(single), *image_chunks(rest, np.dtype(np.complex64).itemsize)),
            dtype=np.complex64,
            compressors=[Crc32cCodec()],
            dimension_names=tuple(axes),
            fill_value=np.complex64(np.nan),
        )

    def _store(
        self, group: "zarr.Group", name: str, values: NDArray[Any], axes: tuple[str, ...]
    ) -> None:
        dtype = np.dtype(_DTYPES.get(name, np.float64))
        group.create_array(
            name,
            data=values.astype(dtype),
            chunks=image_chunks(values.shape, dtype.itemsize),
            compressors=image_codecs(dtype),
            dimension_names=axes,
        )

    def _require_shape(
        self, values: NDArray[Any], axes: tuple[str, ...], sizes: Mapping[str, int], who: str
    ) -> None:
        expected = tuple(sizes.get(axis) for axis in axes)
        fits = len(expected) == values.ndim and all(
            size in (None, found) for size, found in zip(expected, values.shape, strict=True)
        )
        if not fits:
            raise DataError(
                f"{who} has the shape {values.shape}; expected {expected} ({', '.join(axes)})"
            )
        if not np.isfinite(values).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise DataError(f"{who} is {values[index]} at {index}; expected finite values")


def _named(shape: tuple[int, ...]) -> dict[str, int]:
    return {f"m{axis + 1}": size for axis, size in enumerate(shape)}
