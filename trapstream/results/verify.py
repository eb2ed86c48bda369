"""Behind `trapstream verify`: a result file on disk held against its manifest."""

from collections.abc import Callable, Iterable
from pathlib import Path

from trapstream.results.ledger import Account, account
from trapstream.results.read import ResultFile, open_result
from trapstream.results.write import FileState

_TYPICAL = 0.2  # what MegaDetector's tools take for a model they do not know


def verify(path: Path, manifest: Callable[[], Iterable[str]]) -> Account:
    """The account of the file at `path`.

    `manifest` gives the names of the images from the first on, and may be called twice. BadMessage if the file is no
    result file, or damaged; OSError as the disk gives it.
    """
    result = open_result(path)
    return account(manifest, result.entries(), threshold_of(result))


def threshold_of(result: ResultFile) -> float:
    """The confidence from which the file's model calls it a detection."""
    metadata = result.info.get("detector_metadata")
    found = metadata.get("typical_detection_threshold") if isinstance(metadata, dict) else None
    return float(found) if isinstance(found, int | float) else _TYPICAL


def explanation(found: Account, result: ResultFile) -> str | None:
    """Why images are missing, as the file says itself; None where it does not."""
    state, missing = result.account.get("state"), f"{found.missing.total:,} of {found.published:,} images are missing"
    if state == FileState.CANCELLED:
        return f"the job was cancelled: {missing}, and what was done until then is here"
    if state == FileState.FAILED:
        return f"the job could not be published: {missing}"
    if state == FileState.PARTIAL:
        return f"the file was written while the job ran: {missing} so far"
    return None


def disagreements(found: Account, result: ResultFile) -> list[str]:
    """Where a file's own account differs from its entries, a line each. None for files of other programs."""
    own = result.account
    if not own:
        return []
    real = {"detected": found.detected, "empty": found.empty, "failed": found.failed}
    if own.get("complete"):
        real["images"] = found.published
    return [
        f"the file says {key} {own.get(key)}, its entries say {value}"
        for key, value in real.items()
        if own.get(key) != value
    ]
