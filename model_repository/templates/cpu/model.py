"""Triton's Python backend for an ONNX graph on the CPU: one process for each instance.

Images are run one at a time, whatever batch they arrive in. So the answer for an image does not depend on its company
(result files must have the same bytes after a crash), one bad image cannot fail its neighbours, and it is not slower:
on a CPU the intermediate tensors of one image stay in the cache, those of eight do not.
"""

import contextlib
import ctypes
import functools
import json  # of the standard library: inside Triton nothing of Trapstream can be imported
import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

try:
    import triton_python_backend_utils as pb
except ModuleNotFoundError:  # exists inside Triton only; the rest is tested without it
    pb = None

Array = npt.NDArray[Any]
PLACES = "places"
REFUSAL = "image refused: "
"""Begins the error of an image that the graph refuses. No other error is an answer about an image."""
_GREY = 114
_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's name for POSIX shared memory
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,250}")
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""OpenVINO's names. It takes bfloat16 by itself where the CPU has it, so it is told."""


@dataclass(frozen=True)
class Session:
    """A graph that is ready to run."""

    input: str
    outputs: tuple[str, ...]
    run: Callable[[Array], list[Array]]
    """The outputs for one image [1, H, W, 3]; arrays of their own."""


def open_session(path: Path, threads: int, runtime: str = "onnxruntime", precision: str = "float32") -> Session:
    """The graph, ready to run, with `threads` threads that sleep when idle: spinning instances starve each other.

    Heights and widths may change from call to call. ValueError for a runtime or precision that there is not.
    """
    if runtime == "onnxruntime" and precision == "float32":
        return _onnxruntime(path, threads)
    if runtime == "openvino" and precision in PRECISIONS:
        return _openvino(path, threads, PRECISIONS[precision])
    raise ValueError(f"there is no runtime {runtime} that computes in {precision}")


class Regions:
    """The clients' shared memory, each region mapped once.

    As a tensor an image is copied twice before `execute` sees it, by the server and by the Python backend, which costs
    some 200 microseconds for 640 x 480 pixels. Read where it lies, it is not copied at all.
    """

    def __init__(self) -> None:
        self._mapped: dict[str, tuple[os.stat_result, mmap.mmap]] = {}

    def images(self, places: Iterable[bytes]) -> list[Array]:
        """The image [H, W, 3], uint8, at each `region offset height width`. ValueError for what is no such place.

        FileNotFoundError where a region is gone: then so is its client.
        """
        maps: dict[str, mmap.mmap] = {}
        found = []
        for place in places:
            name, *numbers = place.decode().split(" ")
            offset, height, width = map(int, numbers)
            if name not in maps:
                maps[name] = self._map(name)
            found.append(np.frombuffer(maps[name], np.uint8, height * width * 3, offset).reshape(height, width, 3))
        return found

    def _map(self, name: str) -> mmap.mmap:
        if not _REGION.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a shared memory region")
        now, known = _status(name), self._mapped.get(name)
        if now is None:
            raise FileNotFoundError(f"there is no shared memory region {name}")
        # A client that starts anew may give a new region an old one's name: its process number comes again.
        if known is not None and os.path.samestat(known[0], now) and known[0].st_size == now.st_size:
            return known[1]
        for old in [old for old in self._mapped if _status(old) is None]:
            del self._mapped[old]
        handle = os.open(_MEMORY / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            mapped = mmap.mmap(handle, status.st_size, prot=mmap.PROT_READ)
        finally:
            os.close(handle)
        self._mapped[name] = status, mapped
        return mapped


def _status(name: str) -> os.stat_result | None:
    try:
        return (_MEMORY / name).lstat()
    except FileNotFoundError:
        return None


class RefusedError(Exception):
    """The graph fails on an image, and this same process answers a blank one of its shape."""


def detect(session: Session, images: Iterable[Array]) -> list[Array]:
    """The graph's outputs for a request's images [H, W, 3], uint8. First axis of each output: the images.

    RefusedError where an image is at fault; where it is not, the error is the one that came.
    """
    answers = [_run(session, image[None]) for image in images]
    return answers[0] if len(answers) == 1 else [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _run(session: Session, image: Array) -> list[Array]:
    try:
        return session.run(image)
    except Exception as error:
        session.run(np.full_like(image, _GREY))  # fails as well where the model, the shape or the memory is at fault
        raise RefusedError(f"{type(error).__name__}: {error}") from error


def _onnxruntime(path: Path, threads: int) -> Session:
    import onnxruntime as ort  # noqa: PLC0415 - one of the two is needed, not both

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False  # shapes vary from request to request
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return Session(
        name, tuple(out.name for out in session.get_outputs()), lambda image: session.run(None, {name: image})
    )


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keeps this thread's stack for signals while OpenVINO starts.

    Each of OpenVINO's cores puts a stack of its own in that place, and its end puts back the one before. Where cores
    end in another order than they began, the one that is put back is gone by then, and the next signal for which Python
    has a handler ends the process with SIGSEGV, without a word. A core that is not in its place puts nothing back.
    """
    system, kept = ctypes.CDLL(None), ctypes.create_string_buffer(24)  # a stack_t
    system.sigaltstack(None, kept)
    try:
        yield
    finally:
        system.sigaltstack(kept, None)


def _openvino(path: Path, threads: int, precision: str) -> Session:
    """Compiled once, with free sizes: a size that comes for the first time costs some milliseconds, none a compilation.

    The answer for an image does not depend on the sizes that came before it (tests/integration/local/test_runtimes.py).
    """
    import openvino  # noqa: PLC0415 - as above

    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # else the first thread of every instance is pinned to the same core
    }

    @_signals_kept()
    def compile_anew() -> Any:
        return openvino.Core().compile_model(path, "CPU", options)

    compiled = compile_anew()
    request: Any = compiled.create_infer_request()
    taken = compiled.inputs[0].get_partial_shape()

    def run(image: Array) -> list[Array]:
        nonlocal request
        if 0 in image.shape or not taken.compatible(openvino.PartialShape(list(image.shape))):
            raise ValueError(f"an image of shape {image.shape}, where the graph takes {taken}")
        # OpenVINO computes nothing for a size that comes to nothing in a layer, and nothing for good sizes after it,
        # without a word: what an older image left would be the answer. So nothing is left, and after such a size the
        # graph is compiled anew; another request of the same compilation would go on as this one.
        if request is None:
            request = compile_anew().create_infer_request()
        answer = list(request.infer([image]).values())  # copies
        if any(np.array_equal(array, _blank(array), equal_nan=True) for array in answer):
            request = None
            raise RuntimeError(f"OpenVINO computed nothing for an image of shape {image.shape}")
        for number, array in enumerate(answer):
            request.get_output_tensor(number).data[:] = _blank(array)
        return answer

    names = tuple(output.get_any_name() for output in compiled.outputs)
    return Session(compiled.inputs[0].get_any_name(), names, run)


def _blank(array: Array) -> Array:
    """What no graph answers: not a number, or the smallest integer."""
    return np.full_like(array, np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).min)


class TritonPythonModel:
    """What Triton calls. The names are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the graph. What is for live images loads it with the first of them: many stacks never have one."""
        self._parameters = {
            key: value["string_value"] for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        self._folder = Path(args["model_repository"]) / "1"  # one graph for both versions
        self._regions = Regions()
        if args["model_version"] != self._parameters["live"]:
            os.nice(int(self._parameters["nice"]))  # this thread, and those that it starts
            _ = self._session

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request, in order; an error answers its own request only."""
        return [self._answer(request) for request in requests]

    @functools.cached_property
    def _session(self) -> Session:
        given = self._parameters
        return open_session(self._folder / "model.onnx", int(given["threads"]), given["runtime"], given["precision"])

    def _answer(self, request: Any) -> Any:
        try:
            arrays = detect(self._session, self._images(request))
            tensors = [pb.Tensor(name, array) for name, array in zip(self._session.outputs, arrays, strict=True)]
            return pb.InferenceResponse(output_tensors=tensors)
        except RefusedError as error:
            return pb.InferenceResponse(output_tensors=[], error=pb.TritonError(f"{REFUSAL}{error}"))
        except Exception as error:  # whatever it is, it belongs to this request and to no other
            return pb.InferenceResponse(output_tensors=[], error=pb.TritonError(f"{type(error).__name__}: {error}"))

    def _images(self, request: Any) -> Iterable[Array]:
        places = pb.get_input_tensor_by_name(request, PLACES)
        if places is not None:
            return self._regions.images(places.as_numpy().reshape(-1))
        tensor = pb.get_input_tensor_by_name(request, self._session.input)
        if tensor is None:
            raise ValueError(f"the request has neither {self._session.input} nor {PLACES}")
        pixels: Array = tensor.as_numpy()
        return pixels
