"""What an image's answer is: an entry of its detections, or of its failure. It does no I/O of its own."""

from consumer.detect import Detections
from consumer.work import Answer, Task
from trapstream.core.errors import Permanent
from trapstream.core.messages import Outcome
from trapstream.images import shot
from trapstream.images.letterbox import Letterbox, to_source
from trapstream.results.entry import entry, failure_entry


def answered(task: Task, letterbox: Letterbox, detections: Detections | Permanent) -> Answer:
    """The answer to what the detector said. Permanent where its boxes are none."""
    if isinstance(detections, Permanent):
        raise detections
    ref, spec = task.ref, task.spec
    size, rows = (letterbox.source_width, letterbox.source_height), to_source(letterbox, detections)
    if task.shots:
        [one] = task.shots
        facts, taken = shot.meta(ref, one), shot.taken(ref, one)
        outcome, value = entry(ref.file, facts, size, rows, spec.threshold, spec.model, taken)
    else:
        outcome, value = entry(ref.file, ref.meta, size, rows, spec.threshold, spec.model)
    return Answer(task, outcome, None, value)


def failed(task: Task, error: Permanent) -> Answer:
    """The answer of an image that cannot have another."""
    value = failure_entry(task.ref.file, task.ref.meta, error.reason, error.detail)
    return Answer(task, Outcome.FAILED, error.reason, value)
