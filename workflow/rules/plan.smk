# A checkpoint: how many blocks there are depends on the data that ingest found.
checkpoint plan:
    input:
        raw="<results>/{dataset}/raw.json",
        calibration="<results>/{dataset}/calibration.json",
    output:
        plan="<results>/{dataset}/{reconstruction}/plan.tsv",
        receipt="<results>/{dataset}/{reconstruction}/receipts/plan.json",
    log:
        "<logs>/plan/{dataset}/{reconstruction}.log",
    benchmark:
        "<benchmarks>/plan/{dataset}/{reconstruction}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        device=DEVICE,
        planned_threads=THREADS,
    params:
        settings=of_job(RUN.settings_of, "plan"),
        code=of_job(RUN.code_of, "plan"),
        upstream=of_job(RUN.upstream_of, "plan"),
        files=of_job(RUN.files_of, "plan"),
    shell:
        "kronufft plan --settings {params.settings:q} --dataset {wildcards.dataset}"
        " --reconstruction {wildcards.reconstruction} --raw {input.raw}"
        " --calibration {input.calibration} --plan {output.plan} --receipt {output.receipt}"
        " --device {resources.device} --threads {resources.planned_threads} > {log} 2>&1"
