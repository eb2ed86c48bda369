"""TensorRT itself, through its Python API: the one file that needs a GPU to do its work.

TensorRT for RTX has the same API and compiles without a GPU, for GPUs of its own kind.
"""

import ctypes
import importlib
from collections import deque
from types import ModuleType
from typing import Any

from trapstream.core.errors import TrapstreamError
from trapstream.models.complete import INPUT
from trapstream.models.plan_key import Gpu, Profile
from trapstream.models.tensorrt_plan import PlanError

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h
_OLDEST = 10
_KEPT = 5
"""Complaints of TensorRT that are kept for the user."""


class NoGpu(TrapstreamError):
    """No NVIDIA GPU can be used here. One line that says what to do."""


class TensorRT:
    """The compiler of plans. `api` is the module, such as `tensorrt`."""

    def __init__(self, api: ModuleType, gpu: Gpu) -> None:
        self._api, self.gpu = api, gpu
        self.version: str = api.__version__

    def compile(self, graph: bytes, shapes: tuple[Profile, ...]) -> bytes:
        """The plan of an ONNX graph, strongly typed. PlanError says why there is none."""
        api = self._api
        complaints: deque[str] = deque(maxlen=_KEPT)
        log = _logger(api, complaints)
        try:
            builder = api.Builder(log)
        except TypeError as error:  # the binding's word for a null pointer
            raise PlanError(_line("TensorRT cannot start; does nvidia-smi list a GPU here?", complaints)) from error
        network = builder.create_network(_strongly_typed(api))
        parser = api.OnnxParser(network, log)
        if not parser.parse(graph):
            reasons = "; ".join(_described(parser.get_error(number)) for number in range(parser.num_errors))
            raise PlanError(f"TensorRT {self.version} does not take the graph: {reasons}")
        config = builder.create_builder_config()
        if hasattr(api.BuilderFlag, "TF32"):
            config.clear_flag(api.BuilderFlag.TF32)  # float32 is float32: who wants speed imports FP16
        for shape in shapes:
            profile = builder.create_optimization_profile()
            profile.set_shape(INPUT, shape.smallest, shape.tuned, shape.largest)
            config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise PlanError(_line(f"TensorRT {self.version} could not build the plan", complaints))
        return bytes(plan)


def find_gpu() -> Gpu:
    """The first GPU that CUDA_VISIBLE_DEVICES leaves, which is the one that TensorRT builds for."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise NoGpu(
            "no NVIDIA driver here: a plan is built on the machine that serves it; run this where the GPU is "
            "(in a container: with the NVIDIA container toolkit)"
        ) from None
    device = ctypes.c_int()
    _ask(driver.cuInit(0), "cuInit")
    _ask(driver.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
    name = ctypes.create_string_buffer(256)
    _ask(driver.cuDeviceGetName(name, len(name), device), "cuDeviceGetName")
    found = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        _ask(driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device), "cuDeviceGetAttribute")
        found.append(value.value)
    return Gpu(name.value.decode(errors="replace"), (found[0], found[1]))


def _ask(status: int, what: str) -> None:
    if status != 0:
        raise NoGpu(f"the NVIDIA driver gives no GPU ({what}: error {status}); does nvidia-smi list one here?")


def here() -> TensorRT:
    """TensorRT and the GPU of this machine. NoGpu or PlanError says what is missing, in one line."""
    gpu = find_gpu()
    api = _module()
    if int(api.__version__.split(".")[0]) < _OLDEST:
        raise PlanError(f"TensorRT {api.__version__} is too old: {_OLDEST} or later builds strongly typed plans")
    return TensorRT(api, gpu)


def _module() -> ModuleType:
    reasons = []
    for name in ("tensorrt", "tensorrt_bindings"):
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            reasons.append(f"{name}: {error}")
    raise PlanError(
        f"TensorRT's Python API is not here ({'; '.join(reasons)}); "
        "use the image of deploy/docker/triton.Dockerfile, or `pip install 'trapstream[gpu]'`, with the version of "
        "TensorRT that the server has"
    )


def _strongly_typed(api: ModuleType) -> int:
    """The flag of a network whose precision is the graph's. What knows no other kind of network has no flag."""
    flag = getattr(api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _logger(api: ModuleType, complaints: deque[str]) -> Any:
    """A logger that keeps the last errors and says nothing itself."""
    serious = (api.ILogger.Severity.INTERNAL_ERROR, api.ILogger.Severity.ERROR)

    class Log(api.ILogger):  # type: ignore[misc, name-defined]  # the module is known at run time only
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in serious:
                complaints.append(" ".join(message.split()))

    return Log()


def _described(error: Any) -> str:
    operator = getattr(error, "node_operator", None)
    where = f" (operation {operator()}, node {error.node_name()})" if callable(operator) else ""
    return f"{' '.join(error.desc().split())}{where}"


def _line(what: str, complaints: deque[str]) -> str:
    return what if not complaints else f"{what}: {'; '.join(complaints)}"
