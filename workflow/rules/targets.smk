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


# The blocks are copies of what image.zarr holds, kept so that merge can be repeated alone.
rule clean:
    log:
        "logs/clean.log",
    conda:
        "../../envs/pipeline.yaml"
    shell:
        "rm -rfv results/*/*/blocks > {log}"
