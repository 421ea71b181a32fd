"""Where an image comes from, gathered from the receipts of the jobs that made it.

What repeats when the same code reconstructs the same data with the same settings on the same device
is kept in the image's own attributes; times, hosts and commands are in ``provenance.json`` beside
it. Neither is in the chunks of the image, so that equal images are equal bytes.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pipeline.storage.receipts import STAGES

PROVENANCE = "provenance.json"
REMAKE = "remake.sh"

_MAIN_PACKAGES = (
    "kronufft", "torch", "numpy", "zarr", "dask", "finufft", "cufinufft", "ducc0", "triton",
    "torchkbnufft",
)  # fmt: skip
_OF_A_JOB = (
    "stage", "block", "shard", "started", "seconds", "device", "threads", "peak_host_bytes",
    "peak_device_bytes", "command",
)  # fmt: skip
_OF_A_STAGE = ("settings", "code", "git", "device", "algorithm", "backend", "normal")

Receipts = Sequence[Mapping[str, Any]]


def gather_provenance(receipts: Receipts, plan: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return where an image comes from: of the receipts of all its jobs, and the rows of its plan.

    Of each stage: settings, code, git, device, inputs and their checksums, versions, platforms,
    first start and last end. What all its jobs share stands there once; a list holds what they do
    not share.
    """
    merging = next(receipt for receipt in receipts if receipt["stage"] == "merge")
    stages = {}
    for stage in STAGES:
        jobs = [receipt for receipt in receipts if receipt["stage"] == stage]
        if jobs:
            stages[stage] = {"jobs": len(jobs), **_shared(jobs)}
    return {
        "dataset": merging["dataset"],
        "reconstruction": merging["reconstruction"],
        "run": merging.get("run"),
        "stages": stages,
        "jobs": [
            {
                **{key: job[key] for key in _OF_A_JOB if key in job},
                "host": job.get("platform", {}).get("host"),
            }
            for job in sorted(receipts, key=_order)
        ],
        "plan": list(plan),
    }


def repeatable_part(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is the same whenever the same image is made again on the same device."""
    stages: dict[str, Any] = provenance["stages"]
    return {
        "stages": {
            stage: {key: account[key] for key in _OF_A_STAGE if key in account}
            for stage, account in stages.items()
        },
        "inputs": stages.get("ingest", {}).get("inputs", {}),
        "versions": {
            name: version
            for name, version in _first(stages["merge"]["versions"]).items()
            if name in _MAIN_PACKAGES
        },
        "more": PROVENANCE,
    }


def commands_of(provenance: Mapping[str, Any]) -> list[str]:
    """Return the commands of all jobs, in an order in which they can run."""
    return [str(job["command"]) for job in provenance["jobs"]]


def remake_script(provenance: Mapping[str, Any]) -> str:
    """Return a shell script that makes the image again, stage by stage, without Snakemake."""
    code = provenance["stages"]["merge"]
    title = f"{provenance['dataset']} {provenance['reconstruction']}"
    lines = [
        "#!/bin/sh",
        f"# Makes the images of {title} again, in the folder where it is started.",
        "# To the last byte where compute.deterministic is set, to rounding elsewhere.",
        f"# Kronufft {_first(code['versions'])['kronufft']}, commit {code['git'] or 'unknown'}.",
        "set -eu",
        *commands_of(provenance),
    ]
    return "\n".join(lines) + "\n"


def _shared(jobs: Receipts) -> dict[str, Any]:
    """Return what jobs of one stage have in common, and lists of what they have not."""
    account: dict[str, Any] = {}
    for key in (*_OF_A_STAGE, "versions", "platform"):
        values: list[Any] = []
        for job in jobs:
            if key in job and job[key] not in values:
                values.append(job[key])
        if values:
            account[key] = values[0] if len(values) == 1 else values
    starts = [datetime.fromisoformat(job["started"]) for job in jobs]
    ends = [
        start + timedelta(seconds=float(job["seconds"]))
        for start, job in zip(starts, jobs, strict=True)
    ]
    account["started"] = min(starts).isoformat()
    account["ended"] = max(ends).isoformat(timespec="seconds")
    account["inputs"] = {
        file: found for job in jobs for file, found in job.get("inputs", {}).items()
    }
    return account


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _order(job: Mapping[str, Any]) -> tuple[int, str, str]:
    return STAGES.index(job["stage"]), job.get("block", ""), job.get("shard", "")
