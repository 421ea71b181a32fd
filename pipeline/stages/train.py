"""Train an unrolled network on scenes whose images are known."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.algorithms.unrolled import UnrolledSettings
from pipeline.config.equations import AccumulateSettings
from pipeline.config.planning import MemorySettings, PlanSettings
from pipeline.config.training import TrainSettings
from pipeline.engine.accumulation import Measurement
from pipeline.engine.block import Equations
from pipeline.engine.job import BlockJob, prepare_process, record_device_memory
from pipeline.engine.limits import planned_limits
from pipeline.engine.plan import plan_or_advise
from pipeline.engine.request import request_for
from pipeline.errors import DataError
from pipeline.kinds import open_raw, part_of
from pipeline.progress import track
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.power import largest_eigenvalue
from pipeline.solvers.unrolled import UnrolledProximalGradient
from pipeline.storage.acquisition import Acquisition
from pipeline.storage.calibration import Calibration
from pipeline.storage.networks import write_network
from pipeline.storage.receipts import Receipt

_NUMBERS_FASTER = 30
"""How much faster steps and thresholds move than filters: the best steps are far from the first."""


@dataclass(frozen=True)
class _Scenes:
    """Some scenes with one normal operator."""

    normal: NormalEquations
    bound: Tensor
    """float64 ``(image,)``: largest eigenvalue of each."""
    truth: Tensor
    """complex ``(image, *shape)``."""


def train(
    *,
    settings: TrainSettings,
    raws: Sequence[Path],
    calibrations: Sequence[Path],
    network: Path,
    receipt: Path,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Train an unrolled network on datasets with reference images.

    The datasets are of one kind and dimension. Every frame is a scene.

    Parameters
    ----------
    raws
        raw.json; repeat for more datasets.
    calibrations
        calibration.json of each dataset.
    network
        The network to write, a .npz.

    Raises
    ------
    DataError
        If a dataset has no reference images, the datasets do not fit together, or there are too
        few scenes to hold some out.
    """
    with Receipt(receipt, "train", dataset=", ".join(path.parent.name for path in raws)) as record:
        prepare_process(record, device, threads)
        scenes: list[_Scenes] = []
        for raw, calibration in zip(raws, calibrations, strict=True):
            with record.phase("prepare scenes"):
                scenes += _scenes(settings, raw, calibration, record)
        axes = {part.truth.ndim - 1 for part in scenes}
        if len(axes) != 1:
            raise DataError(f"train: the datasets have images of {sorted(axes)} axes; train on one")
        known, unseen = _divided(scenes, settings.held_out)
        torch.manual_seed(settings.seed)
        net = UnrolledProximalGradient(
            settings.layers,
            image_axes=axes.pop(),
            channels=settings.channels,
            kernel_size=settings.kernel_size,
            threshold=settings.threshold,
            checkpointing=settings.checkpointing,
        ).to(record.content["device"])
        before = _held_out_error(net, unseen)
        with record.phase("train"):
            errors = _optimise(net, known, settings)
        after = _held_out_error(net, unseen)
        figures = {
            "scenes": sum(len(part.truth) for part in known),
            "held_out": sum(len(part.truth) for part in unseen),
            "errors": errors,
            "held_out_error_before": before,
            "held_out_error": after,
        }
        record.record(**figures)
        record_device_memory(record)
        with record.phase("write"):
            write_network(
                network,
                arguments=net.settings,
                parameters=net.state_dict(),
                training={**figures, "settings": settings.model_dump(mode="json")},
            )


def _scenes(
    settings: TrainSettings, raw: Path, calibration: Path, record: Receipt
) -> list[_Scenes]:
    """Return the frames of a dataset as normal equations, a batch at a time."""
    data, stored = open_raw(raw), Calibration.open(calibration)
    chosen = UnrolledSettings(algorithm="unrolled", weights_file="in training")
    if data.kind == "mri":
        chosen = chosen.model_copy(update={"weights": settings.weights})
    common = {"reconstruction": chosen, "nufft": settings.nufft, "precision": "single"}
    planned = PlanSettings(**common, memory=MemorySettings(shards=1), deterministic=False)
    request = request_for(
        part_of(data.kind, "plan").models,
        data,
        stored,
        planned,
        planned_limits(record.content["device"], "auto", "auto"),
        threads=record.content["threads"],
        who=f"train {raw.parent.name}",
    )
    rows = plan_or_advise(request)
    found = []
    for row in rows:
        job = BlockJob(
            AccumulateSettings(**common, deterministic=False), raw.parent.name, row, record
        )
        measurement: Measurement = part_of(data.kind, "measurement").measurement_of(
            job, data, stored
        )
        equations: Equations = part_of(data.kind, "equations").equations_of(measurement)
        size = min(settings.batch, row.image_batch)
        for start in range(row.first_image, row.first_image + row.images, size):
            batch = range(start, min(start + size, row.first_image + row.images))
            share = measurement.accumulate(batch, job.shard())
            normal = NormalEquations(share.b, equations.gram(batch, share), share.energy)
            found.append(_scenes_of(job, normal, data, batch))
    return found


def _scenes_of(job: BlockJob, normal: NormalEquations, data: Acquisition, batch: range) -> _Scenes:
    reference = data.reference(slice(batch.start, batch.stop))
    if reference is None:
        raise DataError(f"{job.who}: no reference images; a network is trained on known ones")
    truth = job.on_device(data.from_volumes(reference), job.complex).reshape(normal.b.shape)
    with torch.no_grad():
        bound = largest_eigenvalue(normal.gram, normal.b, image_axes=len(data.shape))
    return _Scenes(normal, bound, truth)


def _divided(scenes: Sequence[_Scenes], held_out: int) -> tuple[list[_Scenes], list[_Scenes]]:
    """Return the batches to train on, and the last ones, of that many scenes or a few more."""
    count = 0
    for first in reversed(range(len(scenes))):
        count += len(scenes[first].truth)
        if count >= held_out and first:
            return list(scenes[:first]), list(scenes[first:])
    raise DataError(
        f"train: {sum(len(part.truth) for part in scenes)} scenes in {len(scenes)} batches are too "
        f"few to hold {held_out} out; give more scenes, or lower held_out or batch"
    )


def _optimise(
    net: UnrolledProximalGradient, scenes: Sequence[_Scenes], settings: TrainSettings
) -> list[float]:
    """Do all epochs of Adam; return the mean relative error of each."""
    numbers = [parameter for parameter in net.parameters() if parameter.ndim == 0]
    filters = [parameter for parameter in net.parameters() if parameter.ndim > 0]
    optimizer = torch.optim.Adam(
        [
            {"params": filters, "lr": settings.learning_rate},
            {"params": numbers, "lr": _NUMBERS_FASTER * settings.learning_rate},
        ]
    )
    # Batches may be smaller than asked for: those of RF data are single scenes.
    together = max(1, settings.batch // max(len(part.truth) for part in scenes))
    steps = settings.epochs * math.ceil(len(scenes) / together)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    errors = []
    began = time.monotonic()
    with track("train: epochs", settings.epochs) as advance:
        for _ in range(settings.epochs):
            order = torch.randperm(len(scenes)).tolist()
            total = 0.0
            for start in range(0, len(order), together):
                optimizer.zero_grad()
                for index in order[start : start + together]:
                    loss = _error(net, scenes[index])
                    torch.autograd.backward(loss)
                    total += float(loss.detach())
                optimizer.step()
                schedule.step()
            errors.append(math.sqrt(total / len(scenes)))
            advance(1, f"relative error {errors[-1]:.3f}, {time.monotonic() - began:.0f} s")
    return errors


def _error(net: UnrolledProximalGradient, scenes: _Scenes) -> Tensor:
    """Return the mean of ``|x - truth|^2 / |truth|^2``."""
    axes = tuple(range(1, scenes.truth.ndim))
    difference = (net(scenes.normal, scenes.bound) - scenes.truth).abs().square().sum(axes)
    relative: Tensor = difference / scenes.truth.abs().square().sum(axes)
    return relative.mean()


def _held_out_error(net: UnrolledProximalGradient, scenes: Sequence[_Scenes]) -> float:
    """Return the root mean square of the relative errors."""
    with torch.no_grad():
        return math.sqrt(sum(float(_error(net, part)) for part in scenes) / len(scenes))
