# Kronufft: batch reconstruction of non-Cartesian MRI and multi-static RF data.
# Stages: ingest -> calibrate -> plan -> [accumulate] -> reconstruct -> merge -> measure -> report.
# How to use it: README.md. What every setting means: config/README.md.
from snakemake.utils import min_version

min_version("9.20")

# A config file given with --configfile that names a dataset table stands alone: nothing of the
# demo's settings is mixed into it.
if "datasets" not in config:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/ingest.smk"
include: "workflow/rules/calibrate.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/accumulate.smk"
include: "workflow/rules/reconstruct.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/targets.smk"


rule all:
    default_target: True
    input:
        "<results>/report.html",
        "<results>/metrics.csv",
        "<results>/metrics.parquet",


# What makes images doubtful also stands at the head of the report.
onsuccess:
    from pipeline.storage.publish import read_json
    from pipeline.storage.receipts import warnings_of

    try:
        for warning in warnings_of(
            read_json(path)
            for path in map(Path, map(workflow.pathvars.apply, SHARED_RECEIPTS))
            if path.is_file()
        ):
            print(f"kronufft: warning: {warning}", file=sys.stderr)
    except KronufftError as error:
        print(f"kronufft: {error}", file=sys.stderr)


# The commands that Snakemake prints of failed jobs are long: what to do stands last.
onerror:
    from pipeline.report.failures import find_failures

    for failure in find_failures(RECONSTRUCTIONS, (), Path(RUN.logs)):
        if failure.jobs:
            print(f"kronufft: {failure}", file=sys.stderr)
