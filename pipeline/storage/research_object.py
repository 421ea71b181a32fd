"""The folder of an image as an RO-Crate, so that other programs can read where it comes from.

References
----------
.. [1] S. Leo et al., "Recording provenance of workflow runs with RO-Crate", PLoS ONE 19(9),
   e0309210 (2024): profile Workflow Run Crate 0.5, on RO-Crate 1.1 and Workflow RO-Crate 1.0.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

RO_CRATE = "ro-crate-metadata.json"

_SPECIFICATION = "https://w3id.org/ro/crate/1.1"
_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
_BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_PROFILES = (
    ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate", "0.5"),
    ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate", "0.5"),
    (_WORKFLOW_CRATE, "Workflow RO-Crate", "1.0"),
)
_DESCRIPTIONS = {
    "image.json": ("Marker of image.zarr: manifest and fingerprint", "application/json"),
    "plan.tsv": ("Blocks and shards, with predicted memory and time", "text/tab-separated-values"),
    "provenance.json": ("Where the image comes from, job by job", "application/json"),
    "image.zarr/": ("Complex images [frame, z, y, x]", "application/vnd+zarr"),
}

Entity = dict[str, Any]


def research_object(
    provenance: Mapping[str, Any], *, workflow: str, outputs: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """Return the content of ``ro-crate-metadata.json``, JSON-LD, from the provenance of an image.

    It has the folder, its files, the script ``workflow`` that makes the image again, the files made
    of the images, ``outputs`` (what each is, and its media type), and one action, the run, with
    source, settings of every stage, results, times and versions.
    """
    stages: Mapping[str, Mapping[str, Any]] = provenance["stages"]
    title = f"{provenance['dataset']} {provenance['reconstruction']}"
    described = {**_DESCRIPTIONS, **outputs}
    files = [_data_entity(name, *about) for name, about in described.items()]
    results = ["image.zarr/", *outputs]
    inputs = list(_inputs(stages))
    versions = _software(stages["merge"])
    ended = stages["merge"]["ended"]
    run = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Reconstruction of {title}",
        "instrument": _reference(workflow),
        "startTime": min(stage["started"] for stage in stages.values()),
        "endTime": ended,
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "object": [_reference(entity["@id"]) for entity in inputs],
        "result": [_reference(name) for name in results],
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Images of {title}",
        "description": f"Images that Kronufft reconstructed of the dataset "
        f"{provenance['dataset']} by the settings `{provenance['reconstruction']}`.",
        "datePublished": ended,
        "license": _reference("#license"),
        "conformsTo": [_reference(identity) for identity, _, _ in _PROFILES],
        "hasPart": [_reference(workflow), *(_reference(file["@id"]) for file in files)],
        "mainEntity": _reference(workflow),
        "mentions": _reference("#run"),
    }
    script = {
        "@id": workflow,
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": f"Makes the images of {title} again, stage by stage",
        "encodingFormat": "application/x-sh",
        "conformsTo": _reference(_BIOSCHEMAS),
        "programmingLanguage": _reference("https://w3id.org/workflowhub/workflow-ro-crate#shell"),
        "version": str(stages["merge"].get("git") or "unknown"),
        "softwareRequirements": [_reference(entity["@id"]) for entity in versions],
    }
    return {
        "@context": [f"{_SPECIFICATION}/context", _TERMS],
        "@graph": [
            {
                "@id": RO_CRATE,
                "@type": "CreativeWork",
                "about": _reference("./"),
                "conformsTo": [_reference(_SPECIFICATION), _reference(_WORKFLOW_CRATE)],
            },
            root,
            script,
            run,
            *files,
            *inputs,
            *versions,
            *_contextual(),
        ],
    }


def _reference(identity: str) -> Entity:
    return {"@id": identity}


def _data_entity(name: str, description: str, encoding: str) -> Entity:
    kind = "Dataset" if name.endswith("/") else "File"
    return {"@id": name, "@type": kind, "name": description, "encodingFormat": encoding}


def _inputs(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[Entity]:
    """Yield the files that were ingested, with their checksums, and the settings of stages."""
    sources = sorted(stages.get("ingest", {}).get("inputs", {}).items())
    for number, (file, checksum) in enumerate(sources, start=1):
        yield _value(f"#source-{number}", file, checksum)
    for name, stage in stages.items():
        if "settings" in stage:
            text = json.dumps(stage["settings"], sort_keys=True)
            yield _value(f"#settings-{name}", f"settings of {name}", text)


def _value(identity: str, name: str, value: str) -> Entity:
    return {"@id": identity, "@type": "PropertyValue", "name": name, "value": value}


def _software(stage: Mapping[str, Any]) -> list[Entity]:
    versions = stage["versions"]
    found: Mapping[str, str] = versions[0] if isinstance(versions, list) else versions
    return [
        {
            "@id": f"#package-{name}",
            "@type": "SoftwareApplication",
            "name": name,
            "softwareVersion": version,
            "url": f"https://pypi.org/project/{name}/{version}/",
        }
        for name, version in found.items()
    ]


def _contextual() -> Iterator[Entity]:
    for identity, name, version in _PROFILES:
        yield {"@id": identity, "@type": "CreativeWork", "name": name, "version": version}
    yield {"@id": _BIOSCHEMAS, "@type": "CreativeWork", "name": "Bioschemas ComputationalWorkflow"}
    yield {
        "@id": "https://w3id.org/workflowhub/workflow-ro-crate#shell",
        "@type": "ComputerLanguage",
        "name": "POSIX shell",
        "url": {"@id": "https://pubs.opengroup.org/onlinepubs/9699919799/utilities/sh.html"},
    }
    yield {
        "@id": "#license",
        "@type": "CreativeWork",
        "name": "Terms of the measured data",
        "description": "Kronufft does not know them; ask who measured the data.",
    }
