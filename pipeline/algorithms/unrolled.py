"""A trained network of unrolled proximal gradients."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline.algorithms.base import Outcome, Problem, SolverSettings
from pipeline.errors import ConfigError, KronufftError
from pipeline.files import why_unreadable
from pipeline.operators.inner import inner_product_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.solvers.checkpoints import Checkpoint
    from pipeline.solvers.solution import Report
    from pipeline.storage.networks import NetworkArguments

_LAYERS, _CHANNELS = 16, 32
"""A network is not read to plan: larger ones than this need a larger limit."""
_APPLICATIONS = 10


class UnrolledSettings(SolverSettings):
    """A trained network."""

    algorithm: Literal["unrolled"]
    series: ClassVar[None] = None  # type: ignore[misc]
    weights_file: str
    """The network that `kronufft train` wrote."""
    fusion: Literal["coherent"] = "coherent"
    """RF pairs: a network makes one image of all pairs."""

    @property
    def stacks(self) -> bool:
        """A network knows single images."""
        return False

    @property
    def most_iterations(self) -> int:
        """All layers at once."""
        return 1

    @property
    def applications(self) -> int:
        """As many as networks have layers, about."""
        return _APPLICATIONS

    def file_checksum(self) -> str:
        """Return the SHA-256 of the network's file.

        Raises
        ------
        ConfigError
            If the file is not there.
        """
        path = Path(self.weights_file)
        if reason := why_unreadable(path):
            raise ConfigError(
                f"`weights_file` {self.weights_file}: {reason}; `kronufft train` makes it"
            )
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(
                f"`weights_file` {self.weights_file}: not readable ({error.strerror})"
            ) from None

    def check_file(self, image_axes: int | None = None) -> None:
        """Read the network."""
        self._network(image_axes)

    def _network(
        self, image_axes: int | None
    ) -> tuple[NetworkArguments, Mapping[str, NDArray[Any]]]:
        from pipeline.storage.networks import read_network

        try:
            arguments, parameters = read_network(Path(self.weights_file))
        except KronufftError as error:
            raise ConfigError(f"`weights_file` {error}") from None
        if image_axes not in (None, arguments.image_axes):
            raise ConfigError(
                f"`weights_file` {self.weights_file}: trained on images of {arguments.image_axes} "
                f"axes, and these have {image_axes}; give another network"
            )
        return arguments, parameters

    def vectors(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of the largest network that is planned for, and of its first step."""
        layers = unrolled_bytes(
            batch, itemsize=itemsize, layers=_LAYERS, channels=_CHANNELS, training=False
        )
        return max(layers, largest_eigenvalue_bytes(batch, itemsize=itemsize))

    def run(self, problem: Problem, report: Report, checkpoint: Checkpoint) -> Outcome:
        """Apply the network.

        Raises
        ------
        ConfigError
            If it is not whole, or for images of another number of axes.
        """
        import torch

        from pipeline.solvers.power import LANCZOS_STEPS, largest_eigenvalue
        from pipeline.solvers.solution import Solution
        from pipeline.solvers.unrolled import UnrolledProximalGradient

        normal = problem.normal
        arguments, parameters = self._network(problem.image_axes)
        network = UnrolledProximalGradient(**dict(arguments), dtype=normal.b.dtype)
        network.load_state_dict({name: torch.from_numpy(v) for name, v in parameters.items()})
        network.to(normal.b.device)
        with torch.no_grad():
            bound = largest_eigenvalue(normal.gram, normal.b, image_axes=problem.image_axes)
            image = network(normal, bound)
            misfit = 2 * normal.cost(image, problem.image_axes)
        problems = normal.b.shape[: normal.b.ndim - problem.image_axes]
        layers = len(network.layers)
        nothing = torch.zeros(0, *problems, dtype=torch.float64)
        found = Solution(image, torch.full(problems, layers), nothing, begins_at_zero=False)
        stopped = ["layers"] * problems.numel()
        details: dict[str, object] = {"network_sha256": self.file_checksum()}
        evaluations = LANCZOS_STEPS + layers + 1
        return Outcome(found, evaluations, None, misfit, stopped, details=details)


def largest_eigenvalue_bytes(shape: Sequence[int], *, itemsize: int) -> int:
    """Return the bytes besides the workspace of ``G``: two Lanczos vectors and ``G`` times one."""
    return 3 * math.prod(shape) * itemsize + inner_product_bytes()


def unrolled_bytes(
    shape: Sequence[int],
    *,
    itemsize: int,
    layers: int,
    channels: int,
    checkpointing: bool = True,
    training: bool = True,
) -> int:
    """Predict the bytes of a network besides ``b``, of this shape, and the workspace of ``G``.

    In training the layer at work, about twelve images a channel, and what the others keep: an image
    each with checkpointing, ten a channel without. Otherwise nothing is kept from layer to layer.
    What a convolution needs inside is not counted.
    """
    if not training:
        images = 5.0 + 4 * channels
    else:
        kept = 1.0 if checkpointing else 4 + (4 + 9.5 * channels if channels else 0)
        images = 10 + 12 * channels + (layers - 1) * kept
    return math.ceil(images * math.prod(shape) * itemsize)
