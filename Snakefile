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


# What is where, what makes images doubtful, what failed and why, and how to go on.
onsuccess:
    tell_the_end(Path(RUN.results, "report.html"), failed=False)


onerror:
    tell_the_end(page_so_far(), failed=True)
