rule measure:
    input:
        raw="<results>/{dataset}/raw.json",
        image="<results>/{dataset}/{reconstruction}/image.json",
        plan="<results>/{dataset}/{reconstruction}/plan.tsv",
        receipts=of_plan(receipts_of_jobs),
    output:
        metrics="<results>/{dataset}/{reconstruction}/metrics.csv",
        parquet="<results>/{dataset}/{reconstruction}/metrics.parquet",
        receipt="<results>/{dataset}/{reconstruction}/receipts/measure.json",
    log:
        "<logs>/measure/{dataset}/{reconstruction}.log",
    benchmark:
        "<benchmarks>/measure/{dataset}/{reconstruction}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        runtime=an_hour_each,
        mem_mb=later_stage_mb("measure"),
        host_limit=HOST_LIMIT,
    params:
        settings=of_job(RUN.settings_of, "measure"),
        code=of_job(RUN.code_of, "measure"),
        upstream=of_job(RUN.upstream_of, "measure"),
        receipts=lambda wildcards, output: Path(output.receipt).parent,
    shell:
        "kronufft measure --settings {params.settings:q} --dataset {wildcards.dataset}"
        " --reconstruction {wildcards.reconstruction} --raw {input.raw} --image {input.image}"
        " --plan {input.plan} --receipts {params.receipts} --metrics {output.metrics}"
        " --receipt {output.receipt} --host-mb {resources.host_limit} > {log} 2>&1"
