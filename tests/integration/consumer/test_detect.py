"""The detector on a real Triton: pixels in shared memory and by gRPC, sick servers and refused images."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
import psutil
import pytest
import tritonclient.grpc.aio as triton

from consumer.detect import Detector, ModelAwayError
from consumer.slabs import Slab, SlabPool, sweep
from consumer.work import Group, Task
from tests.stacks import RunningStack
from tests.unit.values import image_ref, job_spec
from tests.waiting import eventually
from trapstream.core.errors import Permanent, Reason
from trapstream.core.messages import Lane, ModelInfo
from trapstream.core.triton_names import BULK_NICE, LIVE_VERSION, TRITON_VERSION, triton_name
from trapstream.images.letterbox import letterbox
from trapstream.local import control

SHAPE = (64, 96, 3)


def _model(name: str) -> ModelInfo:
    return ModelInfo(
        name=name, version="1", sha256="0" * 64, image_size=96, stride=32, classes={"1": "animal"},
        typical_threshold=0.2, conservative_threshold=0.1,
    )  # fmt: skip


def _group(slab: Slab, images: list[np.ndarray], model: str, lane: Lane = Lane.BULK) -> Group:  # type: ignore[type-arg]
    slab.hold(sum(image.nbytes for image in images))
    slab.pixels(0, (len(images), *SHAPE))[:] = images
    spec = job_spec(model=_model(model))
    tasks = tuple(
        Task(ref=image_ref(job=spec.job, seq=seq), spec=spec, lane=lane, done=lambda: None)
        for seq in range(len(images))
    )
    boxes = tuple(letterbox(96, 64, 96, 32) for _ in images)
    return Group(slab=slab, offset=0, shape=SHAPE, tasks=tasks, letterboxes=boxes)


def _images(count: int) -> list[np.ndarray]:  # type: ignore[type-arg]
    random = np.random.default_rng(3)
    return [random.integers(0, 100, SHAPE, np.uint8) for _ in range(count)]


@pytest.fixture
def prefix(stack: RunningStack, member: str) -> Iterator[str]:
    """Begins the names of this test's shared memory."""
    name = f"{stack.shm_prefix}{member}"
    yield name
    sweep(name)


@pytest.mark.parametrize("shared", [True, False], ids=["shared memory", "gRPC"])
async def test_answers_are_the_graphs_own(stack: RunningStack, prefix: str, shared: bool) -> None:
    """What Triton answers is, to the bit, what ONNX Runtime says of each image alone."""
    images = _images(5)
    session = ort.InferenceSession(str(stack.graph))
    pool = SlabPool(1, prefix if shared else None)
    async with Detector(stack.triton, prefix if shared else None) as detector:
        slab = pool.take(Lane.BULK)
        found = await detector.detect(_group(slab, images, stack.model))
    for image, answer in zip(images, found, strict=True):
        detections, count = session.run(None, {"images": image[None]})
        assert isinstance(answer, np.ndarray)
        np.testing.assert_array_equal(answer, detections[0][: count[0]])
    pool.close()


async def test_each_lane_has_instances_of_its_own(stack: RunningStack, prefix: str) -> None:
    """Live images are answered by instances to which those of bulk images give way, with the same answers."""
    pool, images = SlabPool(1, prefix), _images(3)

    async def answered(client: triton.InferenceServerClient) -> dict[str, int]:
        told = await client.get_inference_statistics(triton_name(stack.model, "1"))
        return {model.version: model.inference_count for model in told.model_stats}

    found = {}
    async with triton.InferenceServerClient(stack.triton) as client, Detector(stack.triton, prefix) as detector:
        for lane, version in ((Lane.BULK, TRITON_VERSION), (Lane.LIVE, LIVE_VERSION)):
            before = await answered(client)
            found[lane] = await detector.detect(_group(pool.take(lane), images, stack.model, lane))
            expected = before | {version: before[version] + 3}

            async def counted(expected: dict[str, int] = expected) -> bool:
                return await answered(client) == expected

            await eventually(f"the images of {lane} in version {version}", counted)
    for bulk, live in zip(found[Lane.BULK], found[Lane.LIVE], strict=True):
        assert isinstance(bulk, np.ndarray)
        assert isinstance(live, np.ndarray)
        np.testing.assert_array_equal(bulk, live)
    running = control.running(stack.home)
    assert running is not None
    stubs = psutil.Process(running.process("triton").pid).children(recursive=True)
    nice = Counter(stub.nice() for stub in stubs if f"/{stack.entry}/" in " ".join(stub.cmdline()))
    assert nice.keys() == {min(nice), min(nice) + BULK_NICE}, nice
    pool.close()


async def test_a_slab_that_grows_is_registered_anew(stack: RunningStack, prefix: str, tensor_only: str) -> None:
    """A larger batch in the same slab is answered, and the server keeps no region of the smaller one."""
    pool = SlabPool(1, prefix)
    async with Detector(stack.triton, prefix) as detector:
        slab = pool.take(Lane.BULK)
        for count in (1, 8):
            assert len(await detector.detect(_group(slab, _images(count), tensor_only))) == count
        client = triton.InferenceServerClient(stack.triton)
        known = (await client.get_system_shared_memory_status()).regions
        assert [name for name in known if name.startswith(prefix)] == [slab.name]
        await client.close()
    pool.close()


async def test_pixels_that_are_read_in_place_give_the_same_answers(
    stack: RunningStack, prefix: str, tensor_only: str
) -> None:
    """A model that reads the slab itself answers as one that is given a tensor, also after the slab has grown, and the
    server knows of no region then."""
    pool = SlabPool(1, prefix)
    client = triton.InferenceServerClient(stack.triton)
    async with Detector(stack.triton, prefix) as detector:
        slab = pool.take(Lane.BULK)
        for count in (2, 5):
            found = await detector.detect(_group(slab, _images(count), stack.model))
            assert slab.name not in (await client.get_system_shared_memory_status()).regions
            expected = await detector.detect(_group(slab, _images(count), tensor_only))
            for one, other in zip(found, expected, strict=True):
                assert isinstance(one, np.ndarray)
                assert isinstance(other, np.ndarray)
                np.testing.assert_array_equal(one, other)
    await client.close()
    pool.close()


async def test_a_refused_image_fails_alone(stack: RunningStack, prefix: str, picky: str) -> None:
    """A model that fails on one image of a batch costs that image's entry and no other."""
    images = _images(4)
    images[2] = np.full(SHAPE, 255, np.uint8)
    pool = SlabPool(1, prefix)
    async with Detector(stack.triton, prefix) as detector:
        found = await detector.detect(_group(pool.take(Lane.BULK), images, picky))
    assert [isinstance(answer, Permanent) for answer in found] == [False, False, True, False]
    assert isinstance(found[2], Permanent)
    assert found[2].reason is Reason.MODEL_REFUSED
    pool.close()


async def test_a_model_that_is_not_served_is_told_apart(stack: RunningStack, prefix: str, picky: str) -> None:
    """Never heard of, or unloaded, and whatever the image: it is the model that is away; once loaded it answers."""
    entry = triton_name(picky, "1")
    client = triton.InferenceServerClient(stack.triton)
    pool = SlabPool(1, prefix)
    async with Detector(stack.triton, prefix) as detector:
        slab = pool.take(Lane.BULK)
        with pytest.raises(ModelAwayError):
            await detector.detect(_group(slab, _images(2), "unheard-of"))
        assert not await detector.serves(_model("unheard-of"))
        await client.unload_model(entry)
        await eventually("the model's end", lambda: _is_gone(client, entry))
        with pytest.raises(ModelAwayError):
            await detector.detect(_group(slab, [np.full(SHAPE, 255, np.uint8)], picky))
        assert not await detector.serves(_model(picky))
        await client.load_model(entry)
        assert await detector.serves(_model(picky))
        assert not any(
            isinstance(answer, Permanent) for answer in await detector.detect(_group(slab, _images(2), picky))
        )
    await client.close()
    pool.close()


async def test_a_model_that_comes_and_goes_costs_no_image(stack: RunningStack, prefix: str, picky: str) -> None:
    """Asked without a pause while the model is unloaded and loaded again and again, each image is answered or the
    model is away: never is the image refused."""
    entry, answered, away = triton_name(picky, "1"), 0, 0
    client = triton.InferenceServerClient(stack.triton)
    pool = SlabPool(1, prefix)
    async with Detector(stack.triton, prefix) as detector:
        group = _group(pool.take(Lane.BULK), _images(4), picky)

        async def come_and_go() -> None:
            for _ in range(2):
                await client.unload_model(entry)
                await client.load_model(entry)

        coming = asyncio.create_task(come_and_go())
        while not coming.done() or not answered:
            try:
                answers = await detector.detect(group)
            except ModelAwayError:
                away += 1
            else:
                assert not any(isinstance(answer, Permanent) for answer in answers)
                answered += 1
        await coming
    assert away
    await client.close()
    pool.close()


async def _is_gone(client: triton.InferenceServerClient, model: str) -> bool:
    return not await client.is_model_ready(model)


async def test_a_server_that_is_killed_is_waited_for(stack: RunningStack, prefix: str) -> None:
    """Triton killed between two requests: the second is answered by the next one, from the same slab."""
    pool = SlabPool(1, prefix)
    async with Detector(stack.triton, prefix) as detector:
        slab = pool.take(Lane.BULK)
        group = _group(slab, _images(3), stack.model)
        before = await detector.detect(group)
        running = control.running(stack.home)
        assert running is not None
        pid = running.process("triton").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        after = await detector.detect(group)
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    for one, other in zip(before, after, strict=True):
        assert isinstance(one, np.ndarray)
        assert isinstance(other, np.ndarray)
        np.testing.assert_array_equal(one, other)
    pool.close()
