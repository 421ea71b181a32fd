# A target per stage: `snakemake reconstructed` stops there.
localrules:
    all,
    ingested,
    calibrated,
    planned,
    reconstructed,
    merged,
    measured,
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


# Shares and blocks are copies, in parts, of what image.zarr holds; they are kept so that a stage can
# be repeated alone.
rule clean:
    log:
        "logs/clean.log",
    conda:
        "../../envs/pipeline.yaml"
    shell:
        "rm -rfv results/*/*/shares results/*/*/blocks > {log}"
