"""What an image's answer is: an entry of its detections, or of its failure. Pure."""

from consumer import boxes, shot
from consumer.detect import Detections
from consumer.work import Answer, Task
from trapstream.core.errors import Permanent
from trapstream.core.failures import failure_entry
from trapstream.core.messages import Outcome


def answered(task: Task, letterbox: boxes.Letterbox, detections: Detections | Permanent) -> Answer:
    """The answer to what the detector said. Permanent where its boxes are none."""
    if isinstance(detections, Permanent):
        raise detections
    ref, spec = task.ref, task.spec
    if task.shots:
        [one] = task.shots
        facts, taken = shot.meta(ref, one), shot.taken(ref, one)
        outcome, entry = boxes.entry(ref.file, facts, letterbox, detections, spec.threshold, spec.model, taken)
    else:
        outcome, entry = boxes.entry(ref.file, ref.meta, letterbox, detections, spec.threshold, spec.model)
    return Answer(task, outcome, None, entry)


def failed(task: Task, error: Permanent) -> Answer:
    """The answer of an image that cannot have another."""
    entry = failure_entry(task.ref.file, task.ref.meta, error.reason, error.detail)
    return Answer(task, Outcome.FAILED, error.reason, entry)
