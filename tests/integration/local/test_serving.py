"""Triton answers what ONNX Runtime answers, bit for bit, however the pixels come and whoever shares the batch."""

import asyncio
from multiprocessing import shared_memory

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import stamina
from tritonclient.grpc.aio import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.stacks import RunningStack
from tests.waiting import patient

OUTPUTS = [InferRequestedOutput("detections"), InferRequestedOutput("count")]


def pictures(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def direct(stack: RunningStack, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.generic]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(stack.graph), options, providers=["CPUExecutionProvider"])
    answers = [session.run(None, {"images": image[None]}) for image in images]
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def plain(images: npt.NDArray[np.generic]) -> InferInput:
    tensor = InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    return tensor


async def test_plain_grpc(stack: RunningStack) -> None:
    images = pictures(1, 8, 96, 128, 3)
    async with InferenceServerClient(stack.triton) as client:
        answer = await client.infer(stack.entry, [plain(images)], outputs=OUTPUTS)
    detections, count = direct(stack, images)
    assert answer.as_numpy("detections").shape == (8, 300, 6)
    np.testing.assert_array_equal(answer.as_numpy("detections"), detections)
    np.testing.assert_array_equal(answer.as_numpy("count").reshape(-1), count)


async def test_system_shared_memory(stack: RunningStack) -> None:
    images = pictures(2, 4, 64, 96, 3)
    name = f"{stack.shm_prefix}test-region"
    region = shared_memory.SharedMemory(name, create=True, size=images.nbytes)
    try:
        np.ndarray(images.shape, np.uint8, region.buf)[:] = images
        tensor = InferInput("images", list(images.shape), "UINT8")
        tensor.set_shared_memory(name, images.nbytes)
        async with InferenceServerClient(stack.triton) as client:
            await client.register_system_shared_memory(name, f"/{name}", images.nbytes)
            answer = await client.infer(stack.entry, [tensor], outputs=OUTPUTS)
            # The server lets go of a region a moment after its answer: until then it refuses.
            async for attempt in stamina.retry_context(
                InferenceServerException, timeout=patient(10), wait_initial=0.01
            ):
                with attempt:
                    await client.unregister_system_shared_memory(name)
    finally:
        region.close()
        region.unlink()
    np.testing.assert_array_equal(answer.as_numpy("detections"), direct(stack, images)[0])


async def test_the_company_in_a_batch_changes_no_bit(stack: RunningStack) -> None:
    """Many requests at once, of several shapes and sizes: the dynamic batcher mixes them, the answers stay."""
    shapes = [(1, 96, 128, 3), (3, 96, 128, 3), (1, 128, 96, 3), (2, 64, 64, 3), (8, 96, 128, 3)] * 4
    batches = [pictures(10 + number, *shape) for number, shape in enumerate(shapes)]
    async with InferenceServerClient(stack.triton) as client:
        answers = await asyncio.gather(*(client.infer(stack.entry, [plain(each)], outputs=OUTPUTS) for each in batches))
    for images, answer in zip(batches, answers, strict=True):
        np.testing.assert_array_equal(answer.as_numpy("detections"), direct(stack, images)[0])


async def test_a_request_that_fails_costs_its_neighbours_nothing(stack: RunningStack) -> None:
    """A picture too small for the graph fails in the model; requests beside it are answered."""
    good, bad = pictures(3, 1, 64, 64, 3), np.zeros((1, 0, 64, 3), np.uint8)
    async with InferenceServerClient(stack.triton) as client:
        answers = await asyncio.gather(
            *(client.infer(stack.entry, [plain(each)], outputs=OUTPUTS) for each in (good, bad, good, bad, good)),
            return_exceptions=True,
        )
    fine = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(fine) == 3
    assert all(isinstance(answers[place], InferenceServerException) for place in (1, 3))
    for answer in fine:
        np.testing.assert_array_equal(answer.as_numpy("detections"), direct(stack, good)[0])


async def test_wrong_input_is_refused(stack: RunningStack) -> None:
    async with InferenceServerClient(stack.triton) as client:
        with pytest.raises(InferenceServerException):
            await client.infer(stack.entry, [plain(pictures(4, 1, 64, 64, 4))], outputs=OUTPUTS)
