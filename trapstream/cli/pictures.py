"""The photographs of a job, where they lie on this machine: contact sheets are drawn from them."""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

from trapstream.cli.target import Target
from trapstream.core import result_store as store
from trapstream.core.messages import JobSpec


def places(target: Target, spec: JobSpec, files: set[str]) -> dict[str, Path]:
    """Name in the result to local file, for those of `files` that have one."""
    lines = store.read_manifest(store.manifest_path(target.results, spec.job))
    found = {line.file: local_path(line.uri) for line in lines if line.file in files}
    return {file: path for file, path in found.items() if path is not None}


def local_path(uri: str) -> Path | None:
    """The local file of a reference; None for what lies elsewhere."""
    if not uri.startswith("file://"):
        return None
    return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))
