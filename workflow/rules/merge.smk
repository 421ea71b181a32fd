# The blocks are found by the plan: thousands of paths would not fit on a command line.
rule merge:
    input:
        raw="<results>/{dataset}/raw.json",
        plan="<results>/{dataset}/{reconstruction}/plan.tsv",
        blocks=of_blocks("<results>/{dataset}/{reconstruction}/blocks/{block}.zarr.zip"),
    output:
        image="<results>/{dataset}/{reconstruction}/image.json",
        receipt="<results>/{dataset}/{reconstruction}/receipts/merge.json",
    log:
        "<logs>/merge/{dataset}/{reconstruction}.log",
    benchmark:
        "<benchmarks>/merge/{dataset}/{reconstruction}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    threads: THREADS
    resources:
        runtime=an_hour_each,
        mem_mb=later_stage_mb("merge"),
        host_limit=HOST_LIMIT,
    params:
        settings=of_job(RUN.settings_of, "merge"),
        code=of_job(RUN.code_of, "merge"),
        upstream=of_job(RUN.upstream_of, "merge"),
        blocks=lambda wildcards, output: Path(output.image).parent / "blocks",
    shell:
        "kronufft merge --settings {params.settings:q} --dataset {wildcards.dataset}"
        " --reconstruction {wildcards.reconstruction} --raw {input.raw} --plan {input.plan}"
        " --blocks {params.blocks} --image {output.image} --receipt {output.receipt}"
        " --threads {threads} --host-mb {resources.host_limit} > {log} 2>&1"
