# Checks config and dataset table once, and says what each rule's functions need to know.
import errno
import os
import re
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Found without installation too, for a workflow that uses this one as a module.
HERE = workflow.current_basedir.get_path_or_uri(secret_free=True)
sys.path.insert(0, str(Path(HERE).parents[1]))

from pipeline.config.base import canonical_json, load_yaml
from pipeline.config.datasets import find_source_files, load_datasets, stage_settings
from pipeline.config.file import load_config
from pipeline.errors import KronufftError
from pipeline.fingerprint import code_fingerprint
from pipeline.stages.calibrate import calibrate_need
from pipeline.storage.acquired import Acquired
from pipeline.engine.stage_memory import (
    Images,
    ingest_memory,
    measure_memory,
    merge_memory,
    report_memory,
)
from pipeline.engine.limits import host_memory_mb
from pipeline.engine.needs import requested_mb
from pipeline.engine.table import read_plan

# `kronufft` stands beside the Python that runs Snakemake, also where no environment is activated.
if shutil.which("kronufft") is None:
    shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")

try:
    for file in workflow.configfiles:
        load_yaml(Path(file))  # Snakemake passes over a key that stands twice
    SETTINGS = load_config(config)
    DATASETS = load_datasets(Path(SETTINGS.datasets), SETTINGS)
    SOURCE_FILES = find_source_files(SETTINGS, DATASETS)
except KronufftError as error:
    raise WorkflowError(str(error)) from None

RECONSTRUCTIONS = [
    (name, reconstruction)
    for name, dataset in DATASETS.items()
    for reconstruction in dataset.reconstructions
]

# Not among the params: where and with how many threads a job runs does not change its result.
DEVICE = SETTINGS.compute.device
# Snakemake has cores of its own to give only where it also runs the jobs: on a cluster it counts
# none, and inside a cluster's job all that the node has.
CORES = None if workflow.remote_exec else workflow.resource_settings.cores
THREADS = CORES or 4 if SETTINGS.compute.threads == "auto" else SETTINGS.compute.threads
# As strings, so that Snakemake does not count them: each job checks by itself whether it fits.
HOST_LIMIT = str(SETTINGS.memory.host_mb)
DEVICE_LIMIT = str(SETTINGS.memory.device_mb)
CHECKPOINT_SECONDS = str(SETTINGS.compute.checkpoint_seconds)
USES_GPU = DEVICE.startswith("cuda") or (
    DEVICE == "auto" and shutil.which("nvidia-smi") is not None
)

GPUS = (
    workflow.global_resources["gpu"].value if "gpu" in workflow.global_resources else 1
)


wildcard_constraints:
    dataset="|".join(map(re.escape, DATASETS)),
    reconstruction="|".join(map(re.escape, SETTINGS.reconstructions)),
    block="[0-9]+",
    shard="[0-9]+",


def settings_of(stage):
    """One string a job: exactly the settings that it uses. Snakemake compares params as a set, so
    that two values swapped between two params would go unseen."""

    def settings(wildcards):
        return canonical_json(
            stage_settings(
                SETTINGS,
                DATASETS[wildcards.dataset],
                stage,
                getattr(wildcards, "reconstruction", None),
            )
        )

    return settings


@cache
def acquired_as_of(path, modified):
    """The sizes of an acquisition, read once and not once for each job."""
    return Acquired.of(path)


def once_made(read, path):
    """What ``read(path, time)`` finds in an input. Where that is not there yet, or is left over from
    another version and will be made again, this is `FileNotFoundError`: Snakemake asks again later.
    It takes no other answer from a resource, not even that a checkpoint is incomplete.
    """
    try:
        return read(Path(path), os.stat(str(path)).st_mtime_ns)
    except KronufftError as error:
        raise FileNotFoundError(errno.ENOENT, str(error), str(path)) from None


def acquired(marker):
    """The sizes of an acquisition."""
    return once_made(acquired_as_of, marker)


def images_of(marker, reconstruction):
    """The images that a reconstruction makes of an acquisition."""
    chosen = SETTINGS.reconstructions[reconstruction]
    double = SETTINGS.compute.precision == "double"
    return Images.of(acquired(marker), chosen, double=double)


def more_each(megabytes, attempt):
    """A quarter more with each attempt."""
    return round(megabytes * (1 + 0.25 * (attempt - 1)))


def an_hour_each(wildcards, attempt):
    """Minutes to ask for where no plan predicts them: an hour more with each attempt."""
    return 60 * attempt


def calibrate_mb(wildcards, input, attempt, threads):
    """Memory to ask for, from what ingest found."""
    dataset = DATASETS[wildcards.dataset]
    need = calibrate_need(
        acquired(input.raw),
        stage_settings(SETTINGS, dataset, "calibrate"),
        threads=threads,
        on_device=USES_GPU,
    )
    return more_each(requested_mb(need.host_mb), attempt)


def jobs_in(plan):
    """The number of jobs of a plan."""
    return len(list(once_made(plan_as_of, plan).jobs()))


def merge_mb(wildcards, input, attempt, threads):
    """Memory to ask for, from what ingest found and the plan holds."""
    need = merge_memory(
        images_of(input.raw, wildcards.reconstruction),
        threads=threads,
        jobs=jobs_in(input.plan),
    )
    return more_each(requested_mb(need.host_mb), attempt)


def measure_mb(wildcards, input, attempt):
    """Memory to ask for, from what ingest found and the plan holds."""
    need = measure_memory(
        acquired(input.raw),
        images_of(input.raw, wildcards.reconstruction),
        jobs=jobs_in(input.plan),
    )
    return more_each(requested_mb(need.host_mb), attempt)


def report_mb(wildcards, input, attempt):
    """Memory to ask for: of the largest images that the page shows."""
    markers = dict(zip(DATASETS, input.raws, strict=True))
    need = report_memory(
        [
            (acquired(markers[dataset]), images_of(markers[dataset], reconstruction))
            for dataset, reconstruction in RECONSTRUCTIONS
        ]
    )
    return more_each(requested_mb(need.host_mb), attempt)


def source_files(wildcards):
    """The files that a dataset is read from, so that a changed file is ingested again."""
    return SOURCE_FILES[wildcards.dataset]


@cache
def plan_as_of(path, modified):
    """A plan, read once and not once for each of its thousands of jobs."""
    return read_plan(path)


def plan_of(dataset, reconstruction):
    """A plan, known only once it has been made. The paths of what it makes are not taken from its
    own path: a module's prefix is put before the names that a rule's functions return.
    """
    made = checkpoints.plan.get(dataset=dataset, reconstruction=reconstruction)
    path = Path(made.output.plan)
    return plan_as_of(path, path.stat().st_mtime_ns)


def rows_of(wildcards):
    """The reconstruct jobs, by block, of the plan that a job belongs to."""
    return plan_of(wildcards.dataset, wildcards.reconstruction).blocks


def of_blocks(pattern):
    """The files that match ``pattern`` for every block of a plan."""

    def files(wildcards):
        return expand(pattern, block=rows_of(wildcards), allow_missing=True)

    return files


def row_of(wildcards):
    """A job's own row of its plan."""
    plan = plan_of(wildcards.dataset, wildcards.reconstruction)
    if hasattr(wildcards, "shard"):
        return plan.shard(wildcards.block, wildcards.shard)
    return plan.blocks[wildcards.block]


def work_of(wildcards):
    """What a job's row says about its result: a new plan reruns only the jobs that it changed."""
    return row_of(wildcards).work()


def shares_of_block(wildcards):
    """What the accumulate jobs of a block leave; nothing where its own job reads the data."""
    plan = plan_of(wildcards.dataset, wildcards.reconstruction)
    return [
        f"results/{wildcards.dataset}/{wildcards.reconstruction}/shares/"
        f"{row.block}-{row.shard}.zarr.zip"
        for row in plan.shards(wildcards.block)
    ]


def planned(column):
    """A resource from the plan, a quarter more with each attempt."""

    def resource(wildcards, attempt):
        return more_each(getattr(row_of(wildcards), column), attempt)

    return resource


def shared_threads(wildcards):
    """The threads of a block's or a shard's job. Of several, as many run side by side as there are
    GPUs, or cores and memory: many jobs of one thread do more than one job of many."""
    if SETTINGS.compute.threads != "auto" or CORES is None:
        return THREADS
    if USES_GPU:
        return max(1, CORES // GPUS)
    plan = plan_of(wildcards.dataset, wildcards.reconstruction)
    jobs = len(
        plan.shards(wildcards.block) if hasattr(wildcards, "shard") else plan.blocks
    )
    fit = host_memory_mb() // row_of(wildcards).mem_mb
    return CORES // max(1, min(jobs, CORES, fit))


def receipts_of_jobs(wildcards):
    """The receipts of all jobs of a plan."""
    plan = plan_of(wildcards.dataset, wildcards.reconstruction)
    return [
        f"results/{wildcards.dataset}/{wildcards.reconstruction}/receipts/{job}.json"
        for job in plan.jobs()
    ]


def of_reconstructions(pattern):
    """The files that match ``pattern`` for every reconstruction of every dataset."""
    return [
        pattern.format(dataset=dataset, reconstruction=reconstruction)
        for dataset, reconstruction in RECONSTRUCTIONS
    ]


def all_blocks(wildcards):
    """Every block image of the whole run."""
    files = []
    for dataset, reconstruction in RECONSTRUCTIONS:
        files += [
            f"results/{dataset}/{reconstruction}/blocks/{block}.zarr.zip"
            for block in plan_of(dataset, reconstruction).blocks
        ]
    return files


# What the report of a whole run is made of.
RAWS = expand("results/{dataset}/raw.json", dataset=DATASETS)
SHARED_RECEIPTS = expand(
    "results/{dataset}/receipts/{stage}.json",
    dataset=DATASETS,
    stage=["ingest", "calibrate"],
) + of_reconstructions("results/{dataset}/{reconstruction}/receipts/measure.json")
IMAGES = of_reconstructions("results/{dataset}/{reconstruction}/image.json")
METRICS = of_reconstructions("results/{dataset}/{reconstruction}/metrics.csv")


def found(option, name):
    """An option for each input of the report that is there; for all where none is, so that the error
    says so. The rule's own paths are asked for: they are prefixed in a module, those above are not.
    """

    def options(wildcards):
        paths = getattr(rules.report.input, name)
        there = [path for path in paths if Path(path).is_file()]
        return [f"{option} {path}" for path in there or paths]

    return options
