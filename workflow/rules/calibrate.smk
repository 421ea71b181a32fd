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
        gpu=int(USES_GPU),
        device=DEVICE,
    params:
        settings=settings_of("calibrate"),
        code=code_fingerprint("calibrate"),
    shell:
        "kronufft calibrate --settings {params.settings:q} --dataset {wildcards.dataset}"
        " --raw {input.raw} --calibration {output.calibration} --receipt {output.receipt}"
        " --device {resources.device} --threads {threads} > {log} 2>&1"
