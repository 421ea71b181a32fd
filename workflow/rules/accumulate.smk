# One job per shard, where a block's measurement is cut into several; else there is no such job.
rule accumulate:
    input:
        raw="<results>/{dataset}/raw.json",
        calibration="<results>/{dataset}/calibration.json",
        plan=ancient("<results>/{dataset}/{reconstruction}/plan.tsv"),
    output:
        share="<results>/{dataset}/{reconstruction}/shares/{block}-{shard}.zarr.zip",
        receipt="<results>/{dataset}/{reconstruction}/receipts/accumulate-{block}-{shard}.json",
    log:
        "<logs>/accumulate/{dataset}/{reconstruction}/{block}-{shard}.log",
    benchmark:
        "<benchmarks>/accumulate/{dataset}/{reconstruction}/{block}-{shard}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    threads: shared_threads
    resources:
        mem_mb=planned("mem_mb"),
        runtime=planned("runtime"),
        gpu=int(USES_GPU),
        device=DEVICE,
    params:
        settings=of_job(RUN.settings_of, "accumulate"),
        code=of_job(RUN.code_of, "accumulate"),
        upstream=of_job(RUN.upstream_of, "accumulate"),
        work=work_of,
    shell:
        "kronufft accumulate --settings {params.settings:q} --dataset {wildcards.dataset}"
        " --reconstruction {wildcards.reconstruction} --raw {input.raw}"
        " --calibration {input.calibration} --plan {input.plan} --block {wildcards.block}"
        " --shard {wildcards.shard} --share {output.share} --receipt {output.receipt}"
        " --device {resources.device} --threads {threads} > {log} 2>&1"
