# The store itself is a folder, whose contents Snakemake does not see: its marker stands for it. Nor
# does it see the source, whose date may be of a clock that was wrong: `files` tells whether it changed.
rule ingest:
    output:
        raw="<results>/{dataset}/raw.json",
        receipt="<results>/{dataset}/receipts/ingest.json",
    log:
        "<logs>/ingest/{dataset}.log",
    benchmark:
        "<benchmarks>/ingest/{dataset}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        runtime=an_hour_each,
        mem_mb=lambda wildcards, attempt: more_each(RUN.ingest_mb(), attempt),
        # As a string, so that Snakemake does not count it.
        ingest_limit=str(SETTINGS.memory.of_ingest),
    params:
        settings=of_job(RUN.settings_of, "ingest"),
        code=of_job(RUN.code_of, "ingest"),
        files=of_job(RUN.files_of, "ingest"),
    shell:
        "kronufft ingest --settings {params.settings:q} --dataset {wildcards.dataset}"
        " --raw {output.raw} --receipt {output.receipt}"
        " --ingest-mb {resources.ingest_limit} > {log} 2>&1"
