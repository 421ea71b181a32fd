rule calibrate:
    input:
        raw="results/{dataset}/raw.json",
    output:
        calibration="results/{dataset}/calibration.json",
        receipt="results/{dataset}/receipts/calibrate.json",
    log:
        "logs/calibrate/{dataset}.log",
    benchmark:
        "benchmarks/calibrate/{dataset}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    threads: THREADS
    resources:
        runtime=an_hour_each,
        mem_mb=calibrate_mb,
        gpu=int(USES_GPU),
        device=DEVICE,
        host_limit=HOST_LIMIT,
        device_limit=DEVICE_LIMIT,
    params:
        settings=settings_of("calibrate"),
        code=code_fingerprint("calibrate"),
    shell:
        "kronufft calibrate --settings {params.settings:q} --dataset {wildcards.dataset}"
        " --raw {input.raw} --calibration {output.calibration} --receipt {output.receipt}"
        " --device {resources.device} --threads {threads}"
        " --host-mb {resources.host_limit} --device-mb {resources.device_limit} > {log} 2>&1"
