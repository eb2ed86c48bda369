"""What travels between the consumer's stages."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.slabs import Slab
from consumer.work import Group, Task, Times
from tests.unit.values import image_ref, job_spec
from trapstream.core.messages import Lane, StageTimes
from trapstream.images.letterbox import letterbox


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000))
def test_a_group_is_divided_evenly_and_each_part_reads_its_own_pixels(count: int, most: int, offset: int) -> None:
    """Parts hold all images in order, none more than `most` and none twice as many as another; each begins in the
    slab where the last one ends."""
    spec, box = job_spec(), letterbox(64, 48, 64, 32)
    tasks = tuple(Task(ref=image_ref(seq), spec=spec, lane=Lane.BULK, done=lambda: None) for seq in range(count))
    whole = Group(slab=Slab(None), offset=offset, shape=(64, 64, 3), tasks=tasks, letterboxes=(box,) * count)
    parts = whole.parts(most)
    assert tuple(task for part in parts for task in part.tasks) == tasks
    sizes = [len(part.tasks) for part in parts]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert all(len(part.letterboxes) == len(part.tasks) for part in parts)
    place = offset
    for part in parts:
        assert part.offset == place
        place += len(part.tasks) * whole.image_bytes


def test_all_of_an_images_time_belongs_to_a_stage() -> None:
    """Stages follow upon each other without a gap, a stage may come twice, and results tell each but the last."""
    times = Times({"wait": 1000.0})
    began = times.since
    for stage in ("wait", "fetch", "queue", "decode", "queue", "detect", "emit"):
        times.end(stage)
    assert abs(sum(times.spent.values()) - 1000.0 - 1000 * (times.since - began)) < 1e-6
    assert set(times.spent) == {*StageTimes.__struct_fields__, "emit"}
