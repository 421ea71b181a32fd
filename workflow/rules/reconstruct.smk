# One job per block. The image is one file, so a killed job leaves nothing behind. The plan is
# ancient and the block's own row is a param: a new plan reruns only the blocks that it changed.
rule reconstruct:
    input:
        raw="<results>/{dataset}/raw.json",
        calibration="<results>/{dataset}/calibration.json",
        plan=ancient("<results>/{dataset}/{reconstruction}/plan.tsv"),
        shares=shares_of_block,
        # Not ancient, as the plan is: when the job that makes an ancient input runs, Snakemake leaves
        # out this one without looking whether it has reasons of its own, such as new settings.
        start=start_of_block,
    output:
        image="<results>/{dataset}/{reconstruction}/blocks/{block}.zarr.zip",
        receipt="<results>/{dataset}/{reconstruction}/receipts/reconstruct-{block}.json",
    log:
        "<logs>/reconstruct/{dataset}/{reconstruction}/{block}.log",
    benchmark:
        "<benchmarks>/reconstruct/{dataset}/{reconstruction}/{block}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    threads: shared_threads
    resources:
        mem_mb=planned("mem_mb"),
        runtime=planned("runtime"),
        gpu=int(USES_GPU),
        device=DEVICE,
        checkpoint_seconds=CHECKPOINT_SECONDS,
    params:
        settings=of_job(RUN.settings_of, "reconstruct"),
        code=of_job(RUN.code_of, "reconstruct"),
        upstream=of_job(RUN.upstream_of, "reconstruct"),
        work=work_of,
        shares=lambda wildcards, output: Path(output.image).parent.with_name("shares"),
        start=lambda wildcards, input: f"--start {input.start}" if input.start else "",
    shell:
        "kronufft reconstruct --settings {params.settings:q} --dataset {wildcards.dataset}"
        " --reconstruction {wildcards.reconstruction} --raw {input.raw}"
        " --calibration {input.calibration} --plan {input.plan} --block {wildcards.block}"
        " --shares {params.shares} {params.start} --image {output.image} --receipt {output.receipt}"
        " --device {resources.device} --threads {threads}"
        " --checkpoint-seconds {resources.checkpoint_seconds} > {log} 2>&1"
