# Checks config and dataset table once, and looks up what each rule needs to know.
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import IncompleteCheckpointException, WorkflowError

# Found without installation too, for a workflow that uses this one as a module.
HERE = workflow.current_basedir.get_path_or_uri(secret_free=True)
sys.path.insert(0, str(Path(HERE).parents[1]))

from pipeline.config.base import load_yaml
from pipeline.engine.limits import host_memory_mb
from pipeline.engine.table import read_plan
from pipeline.errors import KronufftError, told
from pipeline.rules import Run, later_mb, more_each, read_once

# `kronufft` stands beside the Python that runs Snakemake, also where no environment is activated.
if shutil.which("kronufft") is None:
    shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")


def refusal(error):
    """An exception for Snakemake to show: one line, without the traceback that it would add."""
    line = told(error)
    sys.tracebacklimit = 0
    return WorkflowError(line)


# The config file that names the folder of results; that of a workflow that uses this one as a
# module is not ours.
OURS = workflow.modifier.parent_modifier is None
GIVEN = workflow.overwrite_configfiles if OURS else []

try:
    for file in workflow.configfiles:
        load_yaml(Path(file))  # Snakemake passes over a key that stands twice
    RUN = Run(config, GIVEN[-1] if GIVEN else None)
except Exception as error:
    raise refusal(error) from None


pathvars:
    results=RUN.results,
    logs=RUN.logs,
    benchmarks=RUN.benchmarks,


SETTINGS = RUN.settings
DATASETS = list(RUN.datasets)
RECONSTRUCTIONS = RUN.reconstructions

# Not among the params: where and with how many threads a job runs does not change its result.
DEVICE = SETTINGS.compute.device
# Snakemake has cores of its own to give only where it also runs the jobs: on a cluster it counts
# none, and inside a cluster's job all that the node has.
CORES = None if workflow.remote_exec else workflow.resource_settings.cores
THREADS = CORES or 4 if SETTINGS.compute.threads == "auto" else SETTINGS.compute.threads
# Jobs run side by side only where what they ask for fits the machine; `--resources mem_mb=` counts
# instead where it is given.
if CORES and "mem_mb" not in workflow.global_resources:
    workflow.register_resource("mem_mb", host_memory_mb())
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


def of_job(lookup, stage):
    """What a method of the run tells of a stage's job, by its dataset and reconstruction."""

    def found(wildcards):
        names = (
            getattr(wildcards, name, None) for name in ("dataset", "reconstruction")
        )
        try:
            return lookup(stage, *names)
        except KronufftError as error:
            raise refusal(error) from None

    return found


def an_hour_each(wildcards, attempt):
    """Minutes to ask for where no plan predicts them: an hour more with each attempt."""
    return 60 * attempt


def later_stage_mb(stage):
    """Memory to ask for in a stage after the blocks, as the plan says; of several, the most."""
    return lambda wildcards, input, attempt: more_each(
        later_mb(stage, input.get("plans") or [input.plan]), attempt
    )


def made_plan(dataset, reconstruction):
    """A plan, known only once it has been made. The paths of what it makes are not taken from its
    own path: a module's prefix is put before the names that a rule's functions return.
    """
    made = checkpoints.plan.get(dataset=dataset, reconstruction=reconstruction)
    try:
        return read_once(read_plan, made.output.plan)
    except KronufftError as error:
        raise refusal(error) from None


def plan_of(wildcards):
    """The plan that a job belongs to."""
    return made_plan(wildcards.dataset, wildcards.reconstruction)


def of_plan(files):
    """The files that jobs of a plan leave, by a function of its wildcards; none where it is missing:
    a job that waits for a missing plan is never asked whether it has to run, one without inputs is.
    """

    def found(wildcards):
        try:
            return files(wildcards)
        except IncompleteCheckpointException as incomplete:
            if Path(incomplete.targetfile).is_file():
                raise
            return []

    return found


def of_blocks(pattern):
    """The files that match ``pattern`` for every block of a plan."""
    return of_plan(
        lambda wildcards: expand(
            pattern, block=plan_of(wildcards).blocks, allow_missing=True
        )
    )


def row_of(wildcards):
    """A job's own row of its plan."""
    if hasattr(wildcards, "shard"):
        return plan_of(wildcards).shard(wildcards.block, wildcards.shard)
    return plan_of(wildcards).blocks[wildcards.block]


def work_of(wildcards):
    """What a job's row says about its result: a new plan reruns only the jobs that it changed."""
    return row_of(wildcards).work()


def planned(column):
    """A resource from the plan, a quarter more with each attempt."""
    return lambda wildcards, attempt: more_each(
        getattr(row_of(wildcards), column), attempt
    )


def shares_of_block(wildcards):
    """What the accumulate jobs of a block leave; nothing where its own job reads the data."""
    return expand(
        "<results>/{dataset}/{reconstruction}/shares/{block}-{shard}.zarr.zip",
        shard=[row.shard for row in plan_of(wildcards).shards(wildcards.block)],
        allow_missing=True,
    )


def start_of_block(wildcards):
    """The images that a reconstruction begins with; nothing where it begins with zero."""
    start = RUN.start_of(wildcards.reconstruction)
    return f"<results>/{wildcards.dataset}/{start}/image.json" if start else []


def shared_threads(wildcards):
    """The threads of a block's or a shard's job. Of several, as many run side by side as there are
    GPUs, or cores and memory: many jobs of one thread do more than one job of many."""
    if SETTINGS.compute.threads != "auto" or CORES is None:
        return THREADS
    if USES_GPU:
        return max(1, CORES // GPUS)
    plan = plan_of(wildcards)
    jobs = len(
        plan.shards(wildcards.block) if hasattr(wildcards, "shard") else plan.blocks
    )
    fit = host_memory_mb() // row_of(wildcards).mem_mb
    return CORES // max(1, min(jobs, CORES, fit))


def receipts_of_jobs(wildcards):
    """The receipts of all jobs of a plan."""
    pattern = "<results>/{dataset}/{reconstruction}/receipts/{job}.json"
    return expand(pattern, job=list(plan_of(wildcards).jobs()), allow_missing=True)


def of_reconstructions(pattern):
    """The files that match ``pattern`` for every reconstruction of every dataset."""
    return [
        pattern.format(dataset=dataset, reconstruction=reconstruction)
        for dataset, reconstruction in RECONSTRUCTIONS
    ]


def all_blocks(wildcards):
    """Every block image of the whole run."""
    return [
        f"<results>/{dataset}/{reconstruction}/blocks/{block}.zarr.zip"
        for dataset, reconstruction in RECONSTRUCTIONS
        for block in made_plan(dataset, reconstruction).blocks
    ]


# What the report of a whole run is made of.
RAWS = expand("<results>/{dataset}/raw.json", dataset=DATASETS)
CALIBRATIONS = expand("<results>/{dataset}/calibration.json", dataset=DATASETS)
SHARED_RECEIPTS = expand(
    "<results>/{dataset}/receipts/{stage}.json",
    dataset=DATASETS,
    stage=["ingest", "calibrate"],
) + of_reconstructions("<results>/{dataset}/{reconstruction}/receipts/measure.json")
PLANS = of_reconstructions("<results>/{dataset}/{reconstruction}/plan.tsv")
IMAGES = of_reconstructions("<results>/{dataset}/{reconstruction}/image.json")
METRICS = of_reconstructions("<results>/{dataset}/{reconstruction}/metrics.csv")
SWEEPS = [f"--sweep {sweep}" for sweep in SETTINGS.sweeps.values()]


def found(option, name):
    """An option for each input of the report that is there; for all where none is, so that the error
    says so. The rule's own paths are asked for: they are prefixed in a module, those above are not.
    """
    paths = getattr(rules.report.input, name)
    there = [path for path in paths if Path(path).is_file()]
    return [f"{option} {path}" for path in there or paths]


def report_of_what_is_there():
    """The command that makes the report of what there is, and says why the rest is missing."""
    parts = [f"--expected {'/'.join(names)}" for names in RECONSTRUCTIONS]
    for option, name in (
        ("--metrics", "metrics"),
        ("--receipt", "receipts"),
        ("--image", "images"),
        ("--raw", "raws"),
        ("--calibration", "calibrations"),
    ):
        parts += found(option, name)
    parts += SWEEPS
    folder = Path(rules.report.output.report).parent
    parts += [f"--logs {Path(rules.report.log[0]).parent}"]
    parts += [
        f"--report {folder}/report-so-far.html --table {folder}/metrics-so-far.csv"
    ]
    return f"kronufft report {' '.join(parts)}"


def page_so_far():
    """The page of `report_so_far`, made now if anything was measured."""
    page = Path(rules.report.output.report).with_name("report-so-far.html")
    page.unlink(missing_ok=True)
    if any(Path(path).is_file() for path in rules.report.input.metrics):
        shell(
            f"{report_of_what_is_there()} > {rules.report_so_far.log[0]} 2>&1 || true"
        )
    return page


def tell_the_end(page, *, failed):
    """Say at the end of a run what a user needs next."""
    from pipeline.report.ending import ending

    command = os.environ.get("KRONUFFT_COMMAND") or shlex.join(
        ["snakemake", *sys.argv[1:]]
    )
    receipts = [Path(workflow.pathvars.apply(path)) for path in SHARED_RECEIPTS]
    try:
        for line in ending(
            RECONSTRUCTIONS,
            Path(RUN.results),
            Path(RUN.logs),
            receipts,
            page,
            command if failed else None,
        ):
            print(line, file=sys.stderr)
    except KronufftError as error:
        print(f"kronufft: {told(error)}", file=sys.stderr)
