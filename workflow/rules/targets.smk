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
        RAWS,


rule calibrated:
    input:
        CALIBRATIONS,


rule planned:
    input:
        PLANS,


rule reconstructed:
    input:
        all_blocks,


rule merged:
    input:
        IMAGES,


rule measured:
    input:
        METRICS,


# After a run in which something failed: what the others have made, and why the rest is missing. It
# has no inputs, so that it starts nothing that is missing.
rule report_so_far:
    log:
        "<logs>/report_so_far.log",
    conda:
        "../../envs/pipeline.yaml"
    params:
        command=lambda wildcards: report_of_what_is_there(),
    shell:
        "{params.command} > {log} 2>&1"


# Shares and blocks are copies, in parts, of what image.zarr holds; they are kept so that a stage can
# be repeated alone.
rule clean:
    log:
        "<logs>/clean.log",
    conda:
        "../../envs/pipeline.yaml"
    params:
        copies=lambda wildcards: [
            str(Path(image).parent / copies)
            for image in rules.report.input.images
            for copies in ("shares", "blocks")
        ],
    shell:
        "rm -rfv {params.copies} > {log}"
