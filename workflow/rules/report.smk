rule report:
    input:
        raws=RAWS,
        calibrations=CALIBRATIONS,
        plans=PLANS,
        receipts=SHARED_RECEIPTS,
        images=IMAGES,
        metrics=METRICS,
    output:
        report=report(
            "<results>/report.html",
            caption="../report/report.rst",
            category="Reconstructions",
        ),
        viewer="<results>/viewer.html",
        table=report(
            "<results>/metrics.csv",
            caption="../report/metrics.rst",
            category="Numbers",
        ),
        parquet="<results>/metrics.parquet",
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=later_stage_mb("report"),
    params:
        code=of_job(RUN.code_of, "report"),
        upstream=of_job(RUN.upstream_of, "report"),
        metrics=lambda wildcards, input: [f"--metrics {path}" for path in input.metrics],
        receipts=lambda wildcards, input: [
            f"--receipt {path}" for path in input.receipts
        ],
        images=lambda wildcards, input: [f"--image {path}" for path in input.images],
        sweeps=SWEEPS,
        logs=lambda wildcards: Path(rules.report.log[0]).parent,
        raws=lambda wildcards, input: [f"--raw {path}" for path in input.raws],
        calibrations=lambda wildcards, input: [
            f"--calibration {path}" for path in input.calibrations
        ],
    shell:
        "kronufft report {params.metrics} {params.receipts} {params.images} {params.raws}"
        " {params.calibrations} {params.sweeps} --logs {params.logs} --report {output.report} --table {output.table} > {log} 2>&1"
