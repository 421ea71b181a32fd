# A target per stage: `snakemake reconstructed` stops there.
localrules:
    all,
    ingested,
    calibrated,
    planned,
    reconstructed,
    merged,
    measured,
    report_so_far,
    clean,


rule ingested:
    input:
        expand("results/{dataset}/raw.json", dataset=DATASETS),


rule calibrated:
    input:
        expand("results/{dataset}/calibration.json", dataset=DATASETS),


rule planned:
    input:
        of_reconstructions("results/{dataset}/{reconstruction}/plan.tsv"),


rule reconstructed:
    input:
        all_blocks,


rule merged:
    input:
        of_reconstructions("results/{dataset}/{reconstruction}/image.json"),


rule measured:
    input:
        of_reconstructions("results/{dataset}/{reconstruction}/metrics.csv"),


# After a run in which something failed: what the others have made, and why the rest is missing. It
# has no inputs, so that it starts nothing that is missing.
rule report_so_far:
    log:
        "logs/report_so_far.log",
    conda:
        "../../envs/pipeline.yaml"
    params:
        expected=[f"--expected {'/'.join(names)}" for names in RECONSTRUCTIONS],
        metrics=lambda wildcards: found("--metrics", METRICS),
        receipts=lambda wildcards: found("--receipt", SHARED_RECEIPTS),
        images=lambda wildcards: found("--image", IMAGES),
        raws=lambda wildcards: found("--raw", RAWS),
    shell:
        "kronufft report {params.expected} {params.metrics} {params.receipts} {params.images}"
        " {params.raws} --logs logs --report results/report-so-far.html"
        " --table results/metrics-so-far.csv > {log} 2>&1"


# Shares and blocks are copies, in parts, of what image.zarr holds; they are kept so that a stage can
# be repeated alone.
rule clean:
    log:
        "logs/clean.log",
    conda:
        "../../envs/pipeline.yaml"
    shell:
        "rm -rfv results/*/*/shares results/*/*/blocks > {log}"
