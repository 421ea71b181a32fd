"""What an ingest may hold in memory, known before its source is opened."""

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from pipeline.engine import processes
from pipeline.engine.limits import Limits
from pipeline.engine.needs import Need, require_fit
from pipeline.formats.lazy import InMemory, LazyArray, part_bytes


class Budget:
    """The memory of an ingest: its limit, and the arrays that it has read whole.

    Most of a source is copied tile by tile. What is read while it is opened, such as positions of
    antennas, is held until the end; it is asked for here, so that a file cannot declare more than
    there is memory for.
    """

    def __init__(self, dataset: str, limit_mb: int) -> None:
        self._who = f"{dataset}: ingest"
        self._process = processes.INGEST
        self._limits = Limits(0, limit_mb)
        self._held = 0

    @property
    def limit_bytes(self) -> int:
        """The limit [byte]."""
        return self._limits.host_mb * 10**6

    def need(self, parts: Mapping[str, int]) -> Need:
        """Return the peak memory while such parts are in use [byte]."""
        held = {"arrays held": self._held} if self._held else {}
        return Need({"process": self._process, **held, **parts})

    def fits(self, parts: Mapping[str, int]) -> bool:
        """Tell whether there is memory for such parts [byte]."""
        return self.need(parts).fits(self._limits)

    def require(self, parts: Mapping[str, int]) -> Need:
        """Return the peak memory; raise `PlanError` with the arithmetic if it is too much."""
        need = self.need(parts)
        require_fit(
            need,
            self._limits,
            who=self._who,
            host="memory.ingest_mb",
            advice=["the source in smaller chunks"],
        )
        return need

    def whole(self, array: LazyArray, name: str, index: int | None = None) -> NDArray[Any]:
        """Return all values of an array, or one element of its first axis, which are held now.

        Raises
        ------
        PlanError
            If there is no memory for them and a copy of them.
        """
        selection = [slice(0, size) for size in array.shape]
        if index is not None:
            selection[0] = slice(index, index + 1)
        extent = [part.stop - part.start for part in selection]
        size = part_bytes(array, extent)
        copied = max(array.reading_bytes(extent), 2 * size)
        self.require({f"{name} of shape {tuple(array.shape)}": copied})
        self.hold(size)
        values: NDArray[Any] = array[tuple(selection)]
        return values if index is None else values[0]

    def load(self, library: int) -> None:
        """Take note of the memory of a library that the reader loads [byte]."""
        self._process += library

    def hold(self, size: int) -> None:
        """Take note of arrays that are held from now on [byte]."""
        self._held += size

    def hold_in_memory(self, arrays: Iterable[LazyArray]) -> None:
        """Take note of those arrays that are in memory, as far as it is not known of them."""
        size = sum(array.values.nbytes for array in arrays if isinstance(array, InMemory))
        self._held = max(self._held, size)
