RAWS = expand("results/{dataset}/raw.json", dataset=DATASETS)
SHARED_RECEIPTS = expand(
    "results/{dataset}/receipts/{stage}.json",
    dataset=DATASETS,
    stage=["ingest", "calibrate"],
) + of_reconstructions("results/{dataset}/{reconstruction}/receipts/measure.json")
IMAGES = of_reconstructions("results/{dataset}/{reconstruction}/image.json")
METRICS = of_reconstructions("results/{dataset}/{reconstruction}/metrics.csv")


def found(option, paths):
    """An option for each path that is there; for all where none is, so that the error says so."""
    there = [path for path in paths if Path(path).is_file()]
    return [f"{option} {path}" for path in there or paths]


rule report:
    input:
        raws=RAWS,
        receipts=SHARED_RECEIPTS,
        images=IMAGES,
        metrics=METRICS,
    output:
        report=report(
            "results/report.html",
            caption="../report/report.rst",
            category="Reconstructions",
        ),
        table=report(
            "results/metrics.csv", caption="../report/metrics.rst", category="Numbers"
        ),
        parquet="results/metrics.parquet",
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        code=code_fingerprint("report"),
        metrics=lambda wildcards, input: [f"--metrics {path}" for path in input.metrics],
        receipts=lambda wildcards, input: [
            f"--receipt {path}" for path in input.receipts
        ],
        images=lambda wildcards, input: [f"--image {path}" for path in input.images],
        raws=lambda wildcards, input: [f"--raw {path}" for path in input.raws],
    shell:
        "kronufft report {params.metrics} {params.receipts} {params.images} {params.raws}"
        " --report {output.report} --table {output.table} > {log} 2>&1"
