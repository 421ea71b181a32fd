"""A trained network of unrolled proximal gradients."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.algorithms.base import Outcome, Problem, SolverSettings
from pipeline.errors import ConfigError, DataError
from pipeline.files import why_unreadable

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.solvers.checkpoints import Checkpoint
    from pipeline.solvers.solution import Report

_LAYERS, _CHANNELS = 16, 32
"""A network is not read to plan: larger ones than this need a larger limit."""
_APPLICATIONS = 10


class UnrolledSettings(SolverSettings):
    """A trained network."""

    algorithm: Literal["unrolled"]
    weights_file: str
    """The network that `kronufft train` wrote."""
    fusion: Literal["coherent"] = "coherent"
    """RF pairs: a network makes one image of all pairs."""

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
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(
                f"`weights_file` {self.weights_file}: not readable ({error.strerror})"
            ) from None

    def vectors(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of the largest network that is planned for, and of its first step."""
        from pipeline.solvers.power import largest_eigenvalue_bytes
        from pipeline.solvers.unrolled import unrolled_bytes

        layers = unrolled_bytes(
            batch, itemsize=itemsize, layers=_LAYERS, channels=_CHANNELS, training=False
        )
        return max(layers, largest_eigenvalue_bytes(batch, itemsize=itemsize))

    def run(self, problem: Problem, report: Report, checkpoint: Checkpoint) -> Outcome:
        """Apply the network.

        Raises
        ------
        ConfigError
            If it was trained on images of another number of axes.
        """
        import torch

        from pipeline.solvers.power import LANCZOS_STEPS, largest_eigenvalue
        from pipeline.solvers.solution import Solution
        from pipeline.solvers.unrolled import UnrolledProximalGradient
        from pipeline.storage.networks import read_network

        normal = problem.normal
        arguments, parameters = read_network(Path(self.weights_file))
        if not _describes(arguments, parameters):
            raise DataError(
                f"{self.weights_file}: holds other parameters than a network of {arguments} has; "
                "train it again"
            )
        network = UnrolledProximalGradient(**arguments, dtype=normal.b.dtype).to(normal.b.device)
        network.load_state_dict(parameters)
        if network.image_axes != problem.image_axes:
            raise ConfigError(
                f"{problem.who}: the network in {self.weights_file} was trained on "
                f"{network.image_axes}D images, and these have {problem.image_axes} axes"
            )
        with torch.no_grad():
            bound = largest_eigenvalue(normal.gram, normal.b, image_axes=problem.image_axes)
            image = network(normal, bound)
        problems = normal.b.shape[: normal.b.ndim - problem.image_axes]
        layers = len(network.layers)
        nothing = torch.zeros(0, *problems, dtype=torch.float64)
        found = Solution(image, torch.full(problems, layers), nothing, begins_at_zero=False)
        stopped = ["layers"] * problems.numel()
        details: dict[str, object] = {"network_sha256": self.file_checksum()}
        return Outcome(found, LANCZOS_STEPS + layers, None, stopped, details=details)


def _describes(arguments: Mapping[str, Any], parameters: Mapping[str, Tensor]) -> bool:
    """Say whether a network made with ``arguments`` has these parameters.

    Without memory: what a file says of itself may not be what it holds.
    """
    import torch

    from pipeline.solvers.unrolled import UnrolledProximalGradient

    try:
        if arguments.get("layers") != len({name.split(".")[1] for name in parameters}):
            return False
        with torch.device("meta"):
            expected = UnrolledProximalGradient(**arguments).state_dict()
    except (ConfigError, TypeError, ValueError, RuntimeError, IndexError):
        return False
    return {name: value.shape for name, value in expected.items()} == {
        name: value.shape for name, value in parameters.items()
    }
