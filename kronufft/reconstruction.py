"""Whole reconstructions, and what they would take: the stages of the workflow in this process."""

import io
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.commands.estimate import Estimate
from pipeline.commands.estimate import estimate as planned
from pipeline.commands.run import CONFIG
from pipeline.config.datasets import Dataset, load_datasets
from pipeline.config.file import load_config, read_config, results_folder
from pipeline.errors import ConfigError, ShapeError
from pipeline.in_process import ResultPaths, doubts
from pipeline.in_process import run as run_stages
from pipeline.storage.publish import open_published

Array = TypeVar("Array", NDArray[Any], torch.Tensor)
"""NumPy's or torch's: what is given is returned."""

_NAME = "scan"


def reconstruct(
    kspace: Array,
    trajectory: Array,
    shape: Sequence[int],
    *,
    algorithm: str = "cg-sense",
    maps: Array | None = None,
    weights: Array | None = None,
    noise: Array | None = None,
    voxel_size: Sequence[float] | None = None,
    config: Mapping[str, Any] | None = None,
    verbose: bool = False,
    **settings: Any,
) -> Array:
    """Reconstruct measured k-space, with all checks and estimates of the workflow.

    Parameters
    ----------
    kspace
        Complex ``([frame,] coil, [readout,] sample)``.
    trajectory
        Real ``([frame,] axis, [readout,] sample)`` [rad/voxel]; its components are in the order of
        the image axes. Without an axis for frames all share it.
    shape
        Image axes: ``(y, x)`` or ``(z, y, x)``.
    algorithm
        As in `reconstructions` of a config file (config/README.md).
    maps
        Coil maps ``(coil, *shape)``; estimated if `None`.
    weights
        Density weights, as the trajectory without its components; estimated if `None`.
    noise
        Complex ``(coil, sample)``, measured without signal.
    voxel_size
        Of each image axis [m].
    config
        Other groups of a config file, such as ``{"nufft": {"tolerance": 1e-4}}``.
    verbose
        Show the plan and how far the work is.
    settings
        Other settings of the algorithm, such as ``iterations=15``.

    Returns
    -------
    ndarray or Tensor
        complex64 ``([frame,] *shape)``, or complex128 with ``compute: {precision: double}``.

    Warns
    -----
    UserWarning
        Of what makes the data or the image doubtful.

    Raises
    ------
    KronufftError
        If the arrays do not fit each other, hold what cannot be right, or the work does not fit the
        memory.
    """
    if said := {"sources", "reconstructions"} & set(config or {}):
        raise ConfigError(
            f"reconstruct: `config` has {', '.join(sorted(said))}, which are made of the "
            "arguments; leave them out, or give a config file to `kronufft.run`"
        )
    measured, of_points = _axes_of(np.shape(kspace), np.shape(trajectory), shape)
    image_axes: tuple[str, ...] = ("z", "y", "x")[-len(shape) :]
    axes = {
        "kspace": measured,
        "trajectory": of_points,
        "weights": tuple(axis for axis in of_points if axis != "axis"),
        "noise": ("coil", "sample"),
        "sensitivities": ("coil", *image_axes),
    }
    given = {
        "kspace": kspace,
        "trajectory": trajectory,
        "weights": weights,
        "noise": noise,
        "sensitivities": maps,
    }
    arrays = {name: _array(array) for name, array in given.items() if array is not None}
    content: dict[str, Any] = {
        "output": {"ome_zarr": False, "nifti": False},  # the image alone is returned
        **(config or {}),
        "sources": {
            _NAME: {
                "shape": list(shape),
                "voxel_size": None if voxel_size is None else list(voxel_size),
                "arrays": {name: {"name": name, "axes": axes[name]} for name in arrays},
            }
        },
        "reconstructions": {_NAME: {"algorithm": algorithm, **settings}},
    }
    with tempfile.TemporaryDirectory(prefix="kronufft-") as folder:
        source = Path(folder, "arrays.npz")
        np.savez(source, allow_pickle=False, **arrays)
        row = Dataset(
            dataset=_NAME, kind="mri", format="arrays", source=str(source), reconstructions=(_NAME,)
        )
        loaded = load_config(content)
        with nullcontext() if verbose else _quiet():
            files = run_stages(loaded, row, _NAME, Path(folder), until="merge")
        _warn(files)
        image = np.asarray(open_published(files.image)["image"])
    image = image.reshape(*(len(image),) * ("frame" in measured), *image.shape[-len(shape) :])
    if isinstance(kspace, torch.Tensor):
        return torch.from_numpy(image).to(kspace.device)
    return image


def run(
    configfile: str | Path,
    dataset: str | None = None,
    reconstruction: str | None = None,
    *,
    results: str | Path | None = None,
) -> dict[tuple[str, str], ResultPaths]:
    """Run what a config file asks for, one stage after the other in this process.

    The same code on the same settings as `kronufft run`, and the same files at the same places.
    What Snakemake does beside it is left to it: jobs side by side, and repeating only what changed.

    Parameters
    ----------
    configfile
        YAML; paths in it are relative to the current folder.
    dataset, reconstruction
        One of the table's datasets and one of its reconstructions; all if `None`.
    results
        Folder to write to, in place of the config's.

    Returns
    -------
    dict
        By dataset and reconstruction, where everything lies: ``.image`` is the marker beside
        ``image.zarr``.

    Raises
    ------
    ConfigError
        If config or table are faulty, or have no such dataset and reconstruction.
    KronufftError
        What a stage raises.
    """
    path = Path(configfile)
    config = read_config(path, default=CONFIG)
    folder = Path(results or results_folder(config, path))
    rows = load_datasets(Path(config.datasets), config)
    every = [(name, way) for name, row in rows.items() for way in row.reconstructions]
    wanted = [
        (name, way)
        for name, way in every
        if dataset in (None, name) and reconstruction in (None, way)
    ]
    if not wanted:
        raise ConfigError(
            f"run: found no {dataset or 'dataset'} with {reconstruction or 'a reconstruction'} in "
            f"{config.datasets}; it has {', '.join('/'.join(pair) for pair in every)}"
        )
    made = {}
    for name, way in wanted:
        made[name, way] = run_stages(config, rows[name], way, folder)
        _warn(made[name, way])
    return made


def estimate(
    shape: Sequence[int],
    *,
    algorithm: str = "cg-sense",
    settings: Mapping[str, Any] | None = None,
    **sizes: Any,
) -> Estimate:
    """Say what a reconstruction would take, on data and devices that need not be there.

    Parameters
    ----------
    shape
        Image axes.
    algorithm
        As in `reconstructions` of a config file.
    settings
        Other settings of the algorithm.
    sizes
        As the options of `kronufft estimate`: ``coils``, ``samples``, ``frames``, ``iterations``,
        ``device_mb``, ``threads`` and so on.

    Returns
    -------
    Estimate
        With ``host_mb``, ``device_mb``, ``seconds`` and ``rows``; `print` shows the plan.
    """
    option = [
        f"{name}={json.dumps(value, default=str)}" for name, value in (settings or {}).items()
    ]
    return planned(algorithm, "x".join(map(str, shape)), option=option, **sizes)


def _axes_of(
    kspace: Sequence[int], trajectory: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the axes of k-space and trajectory, which their sizes tell."""
    for measured, of_points in (
        (("coil", "sample"), ("axis", "sample")),
        (("coil", "readout", "sample"), ("axis", "readout", "sample")),
        (("frame", "coil", "sample"), ("axis", "sample")),
        (("frame", "coil", "sample"), ("frame", "axis", "sample")),
        (("frame", "coil", "readout", "sample"), ("axis", "readout", "sample")),
        (("frame", "coil", "readout", "sample"), ("frame", "axis", "readout", "sample")),
    ):
        if len(measured) == len(kspace) and len(of_points) == len(trajectory):
            sizes = {**dict(zip(measured, kspace, strict=True)), "axis": len(shape)}
            if tuple(trajectory) == tuple(sizes[axis] for axis in of_points):
                return measured, of_points
    raise ShapeError(
        f"reconstruct: found k-space of shape {tuple(kspace)} and a trajectory of shape "
        f"{tuple(trajectory)}, for the matrix {tuple(shape)}; expected ([frame,] coil, [readout,] "
        "sample) and ([frame,] axis, [readout,] sample)"
    )


def _array(array: Any) -> NDArray[Any]:
    if isinstance(array, torch.Tensor):
        return np.asarray(array.detach().cpu().resolve_conj().resolve_neg())
    return np.asarray(array)


@contextmanager
def _quiet() -> Iterator[None]:
    """Pass over what stages print."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def _warn(files: ResultPaths) -> None:
    for text in doubts(files):
        warnings.warn(text, stacklevel=3)
