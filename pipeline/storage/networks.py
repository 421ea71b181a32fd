"""Trained networks: a NumPy archive of plain arrays with what made them, nothing that executes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.config.base import Settings, validate
from pipeline.errors import DataError, KronufftError
from pipeline.files import why_unreadable
from pipeline.storage.publish import published_file
from pipeline.storage.sealed import DAMAGE

if TYPE_CHECKING:
    import torch

_ABOUT = "about"


class NetworkArguments(Settings):
    """Arguments of `pipeline.solvers.unrolled.UnrolledProximalGradient`, as a file holds them."""

    layers: Annotated[int, Field(ge=1, le=1000)]
    image_axes: Annotated[int, Field(ge=1, le=3)]
    channels: Annotated[int, Field(ge=0, le=1000)] = 8
    kernel_size: Annotated[int, Field(ge=1, le=100)] = 3
    step: Annotated[float, Field(gt=0)] = 1.0
    threshold: Annotated[float, Field(gt=0)] = 0.01
    checkpointing: bool = True

    def parameters(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return of each parameter, by its name in a ``state_dict``, ``f`` or ``c`` and shape."""
        voxels = (self.kernel_size,) * self.image_axes
        layer: dict[str, tuple[str, tuple[int, ...]]] = {"step": ("f", ()), "threshold": ("f", ())}
        if self.channels:
            layer |= {
                "regularizer.analysis.weight": ("c", (self.channels, 1, *voxels)),
                "regularizer.middle.weight": ("c", (self.channels, self.channels, *voxels)),
                "regularizer.synthesis.weight": ("c", (1, self.channels, *voxels)),
                "regularizer.thresholds": ("f", (2, self.channels)),
            }
        return {
            f"layers.{number}.{name}": of_kind
            for number in range(self.layers)
            for name, of_kind in layer.items()
        }


def write_network(
    path: Path,
    *,
    arguments: Mapping[str, Any],
    parameters: Mapping[str, torch.Tensor],
    training: Mapping[str, Any],
) -> None:
    """Write a network, whole or not at all.

    ``arguments`` are those of `NetworkArguments`, ``parameters`` the network's ``state_dict``,
    ``training`` says how it was trained; the first and the last are JSON values.
    """
    about = json.dumps({"arguments": dict(arguments), "training": dict(training)}, sort_keys=True)
    arrays = {name: value.detach().cpu().numpy() for name, value in parameters.items()}
    with published_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{**arrays, _ABOUT: np.array(about)})  # type: ignore[arg-type]


def read_network(path: Path) -> tuple[NetworkArguments, dict[str, NDArray[Any]]]:
    """Return the arguments and the parameters of a network, which go together.

    Raises
    ------
    DataError
        If the file is missing, damaged, or something else.
    ConfigError
        If its arguments are not those of a network.
    """
    if reason := why_unreadable(path):
        raise DataError(f"{path}: {reason}; `kronufft train` makes a network")
    try:
        if not zipfile.is_zipfile(path):  # NumPy would read an array, however large
            raise ValueError("no NumPy archive")
        with np.load(path, allow_pickle=False) as stored:
            if any(member.compress_size < member.file_size for member in stored.zip.infolist()):
                raise ValueError("its arrays are compressed")  # and may be larger than memory
            about = json.loads(str(stored[_ABOUT]))
            if not isinstance(about, dict):
                raise ValueError(f"its `{_ABOUT}` does not say how it is made")
            arguments = validate(NetworkArguments, about.get("arguments", {}), str(path))
            expected = arguments.parameters()
            if odd := sorted({*expected, _ABOUT} ^ set(stored.files)):
                held = "holds" if odd[0] in stored.files else "lacks"
                raise ValueError(f"it {held} `{odd[0]}`, and is said to be of {arguments}")
            return arguments, {
                name: _parameter(stored, name, *of_kind) for name, of_kind in expected.items()
            }
    except KronufftError:
        raise
    except (*DAMAGE, MemoryError) as error:
        raise DataError(
            f"{path}: not readable as a network ({error}); `kronufft train` makes one"
        ) from None


def _parameter(stored: Any, name: str, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    values: NDArray[Any] = stored[name]
    if values.dtype.kind != kind or values.shape != shape:
        raise ValueError(
            f"`{name}` holds {values.dtype} of shape {values.shape}; expected "
            f"{'complex' if kind == 'c' else 'real'} numbers of shape {shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` holds NaN or infinity")
    return values
