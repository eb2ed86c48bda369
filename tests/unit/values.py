"""Values for tests: a job, a model, a reference, as small as they may be."""

from typing import Any

import msgspec

from trapstream.core.messages import (
    ImageRef,
    ImageResult,
    JobSpec,
    Lane,
    ModelInfo,
    Outcome,
    StageTimes,
)

MODEL = ModelInfo(
    name="demonstration",
    version="1",
    sha256="0" * 64,
    image_size=640,
    stride=32,
    classes={"1": "animal", "2": "person", "3": "vehicle"},
    typical_threshold=0.5,
    conservative_threshold=0.2,
)

_SPEC = JobSpec(
    job="job-1",
    name="A job",
    lane=Lane.BULK,
    model=MODEL,
    threshold=0.005,
    images=3,
    manifest_sha256="0" * 64,
    created=1_700_000_000.0,
)


def job_spec(**changes: Any) -> JobSpec:
    """A job, with `changes`."""
    return msgspec.structs.replace(_SPEC, **changes)


def image_ref(seq: int = 0, **changes: Any) -> ImageRef:
    """A reference, with `changes`."""
    ref = ImageRef(job="job-1", seq=seq, file=f"{seq}.jpg", uri=f"file:///photos/{seq}.jpg")
    return msgspec.structs.replace(ref, **changes)


def image_result(seq: int = 0, **changes: Any) -> ImageResult:
    """An answer, with `changes`."""
    result = ImageResult(
        job="job-1",
        seq=seq,
        outcome=Outcome.EMPTY,
        reason=None,
        entry=msgspec.Raw(b'{"file":"%d.jpg","detections":[]}' % seq),
        model=MODEL.label,
        ms=StageTimes(),
    )
    return msgspec.structs.replace(result, **changes)
