"""Trained networks: a NumPy archive of plain arrays with what made them, nothing that executes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import DataError
from pipeline.files import why_unreadable
from pipeline.storage.publish import published_file
from pipeline.storage.sealed import DAMAGE

if TYPE_CHECKING:
    import torch

_ABOUT = "about"


def write_network(
    path: Path,
    *,
    arguments: Mapping[str, Any],
    parameters: Mapping[str, torch.Tensor],
    training: Mapping[str, Any],
) -> None:
    """Write a network, whole or not at all.

    ``arguments`` are those of `pipeline.solvers.unrolled.UnrolledProximalGradient`, ``parameters``
    its ``state_dict``, ``training`` says how it was trained; the first and the last are JSON
    values.
    """
    about = json.dumps({"arguments": dict(arguments), "training": dict(training)}, sort_keys=True)
    arrays = {name: value.detach().cpu().numpy() for name, value in parameters.items()}
    with published_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{**arrays, _ABOUT: np.array(about)})  # type: ignore[arg-type]


def read_network(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the arguments and the parameters of a network.

    Raises
    ------
    DataError
        If the file is missing, damaged, or something else.
    """
    import torch

    with _opened(path) as stored:
        try:
            return _arguments(stored), {
                name: torch.from_numpy(stored[name]) for name in stored.files if name != _ABOUT
            }
        except DAMAGE as error:
            raise DataError(f"{path}: damaged ({error}); train the network again") from None


def _opened(path: Path) -> Any:
    if reason := why_unreadable(path):
        raise DataError(f"{path}: {reason}; `kronufft train` makes a network")
    try:
        stored = np.load(path, allow_pickle=False)
    except DAMAGE as error:
        raise DataError(f"{path}: not readable as a network ({error})") from None
    if not hasattr(stored, "files") or _ABOUT not in stored.files:
        raise DataError(f"{path}: not a network; `kronufft train` makes one")
    return stored


def _arguments(stored: Any) -> dict[str, Any]:
    about = json.loads(str(stored[_ABOUT]))
    arguments = about.get("arguments") if isinstance(about, dict) else None
    if not isinstance(arguments, dict):
        raise ValueError(f"its `{_ABOUT}` does not say how it is made")
    return arguments
