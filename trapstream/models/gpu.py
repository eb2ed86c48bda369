"""The GPU of this machine, as NVIDIA's driver tells it."""

import ctypes

from trapstream.core.errors import TrapstreamError
from trapstream.models.plan_key import Gpu

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h


class NoGpu(TrapstreamError):
    """No NVIDIA GPU can be used here. One line that says what to do."""


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
