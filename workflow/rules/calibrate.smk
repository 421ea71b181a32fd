rule calibrate:
    input:
        raw="<results>/{dataset}/raw.json",
    output:
        calibration="<results>/{dataset}/calibration.json",
        receipt="<results>/{dataset}/receipts/calibrate.json",
    log:
        "<logs>/calibrate/{dataset}.log",
    benchmark:
        "<benchmarks>/calibrate/{dataset}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    threads: THREADS
    resources:
        runtime=an_hour_each,
        mem_mb=lambda wildcards, input, attempt, threads: more_each(
            RUN.calibrate_mb(
                wildcards.dataset, input.raw, threads, on_device=USES_GPU
            ),
            attempt,
        ),
        gpu=int(USES_GPU),
        device=DEVICE,
        host_limit=HOST_LIMIT,
        device_limit=DEVICE_LIMIT,
    params:
        settings=of_job(RUN.settings_of, "calibrate"),
        code=of_job(RUN.code_of, "calibrate"),
        files=of_job(RUN.files_of, "calibrate"),
        upstream=of_job(RUN.upstream_of, "calibrate"),
    shell:
        "kronufft calibrate --settings {params.settings:q} --dataset {wildcards.dataset}"
        " --raw {input.raw} --calibration {output.calibration} --receipt {output.receipt}"
        " --device {resources.device} --threads {threads}"
        " --host-mb {resources.host_limit} --device-mb {resources.device_limit} > {log} 2>&1"
