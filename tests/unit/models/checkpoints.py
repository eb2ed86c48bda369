"""Small YOLOv5 checkpoints with random weights, written byte by byte as torch.save writes them, without PyTorch."""

import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
KINDS = {"float16": "HalfStorage", "float32": "FloatStorage", "int64": "LongStorage", "float64": "DoubleStorage"}
NN = "torch.nn.modules."


@dataclass
class Obj:
    """A module: its class, the modules and the numbers in it, and its plain attributes."""

    kind: str
    modules: dict[str, "Obj"] = field(default_factory=dict)
    numbers: dict[str, Array] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        return {
            "training": False, "_parameters": dict(self.numbers), "_buffers": {}, "_modules": dict(self.modules),
            **self.plain,
        }  # fmt: skip


@dataclass
class Call:
    """A function and its arguments, for pickles that are up to no good."""

    name: str
    args: tuple[Any, ...]


class Pickler:
    """The opcodes of protocol 2 for plain values, modules and arrays; the arrays' bytes are kept for the zip.

    With `brain`, what is float32 is written as bfloat16: its upper half.
    """

    def __init__(self, brain: bool = False) -> None:
        self.storages: list[bytes] = []
        self.brain = brain

    def dump(self, value: Any) -> bytes:
        return b"\x80\x02" + self._of(value) + b"."

    def _of(self, value: Any) -> bytes:
        match value:
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int():
                return b"J" + struct.pack("<i", value)
            case float():
                return b"G" + struct.pack(">d", value)
            case str():
                return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
            case tuple():
                return b"(" + b"".join(map(self._of, value)) + b"t"
            case list():
                return b"](" + b"".join(map(self._of, value)) + b"e"
            case dict():
                return b"}(" + b"".join(self._of(part) for pair in value.items() for part in pair) + b"u"
            case Obj():
                return self._name(value.kind) + b")\x81" + self._of(value.state()) + b"b"
            case Call():
                return self._name(value.name) + self._of(value.args) + b"R"
            case np.ndarray():
                return self._array(value)
        raise TypeError(type(value))

    def _name(self, text: str) -> bytes:
        module, _, name = text.rpartition(".")
        return f"c{module}\n{name}\n".encode()

    def _array(self, array: Array) -> bytes:
        key = str(len(self.storages))
        kind, content = KINDS[array.dtype.name], array.tobytes()
        if self.brain and array.dtype == np.float32:
            kind, content = "BFloat16Storage", (array.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        self.storages.append(content)
        strides = tuple(stride // array.itemsize for stride in np.ascontiguousarray(array).strides)
        storage = (
            b"(" + self._of("storage") + self._name(f"torch.{kind}") + self._of(key)
            + self._of("cpu") + self._of(array.size) + b"tQ"
        )  # fmt: skip
        hooks = self._name("collections.OrderedDict") + b")R"
        shape = self._of(0) + self._of(array.shape) + self._of(strides) + b"\x89" + hooks
        return self._name("torch._utils._rebuild_tensor_v2") + b"(" + storage + shape + b"tR"


def write_zip(path: Path, pickle: bytes, storages: list[bytes]) -> Path:
    """The zip of torch.save."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", pickle)
        file.writestr("archive/byteorder", "little")
        for key, content in enumerate(storages):
            file.writestr(f"archive/data/{key}", content)
        file.writestr("archive/version", "3\n")
    return path


def write(path: Path, value: Any, brain: bool = False) -> Path:
    """What torch.save(value, path) would have written."""
    pickler = Pickler(brain)
    content = pickler.dump(value)
    return write_zip(path, content, pickler.storages)


class Maker:
    """Makes modules with random weights of one precision."""

    def __init__(self, seed: int = 0, precision: str = "float16") -> None:
        self.random = np.random.default_rng(seed)
        self.brain = precision == "bfloat16"
        self.type = np.dtype("float32" if self.brain else precision)

    def numbers(self, *shape: int, low: float = -1.0, high: float = 1.0) -> Array:
        found = self.random.uniform(low, high, shape).astype(self.type)
        return (found.view(np.uint32) & 0xFFFF0000).view(np.float32) if self.brain else found

    def conv2d(
        self, c1: int, c2: int, k: int = 1, s: int = 1, p: int | None = None, g: int = 1, bias: bool = False
    ) -> Obj:
        reach = (1.5 / (c1 // g * k * k)) ** 0.5 * 1.7
        numbers = {"weight": self.numbers(c2, c1 // g, k, k, low=-reach, high=reach)}
        if bias:
            numbers["bias"] = self.numbers(c2)
        p = k // 2 if p is None else p
        plain = {"stride": (s, s), "padding": (p, p), "dilation": (1, 1), "groups": g, "padding_mode": "zeros"}
        return Obj(f"{NN}conv.Conv2d", {}, numbers, plain)

    def norm(self, c: int) -> Obj:
        numbers = {
            "weight": self.numbers(c, low=0.6, high=1.4), "bias": self.numbers(c, low=-0.3, high=0.3),
            "running_mean": self.numbers(c, low=-0.3, high=0.3), "running_var": self.numbers(c, low=0.5, high=1.5),
        }  # fmt: skip
        return Obj(f"{NN}batchnorm.BatchNorm2d", {}, numbers, {"eps": 1e-3, "affine": True})

    def conv(self, c1: int, c2: int, k: int = 1, s: int = 1, p: int | None = None, act: Obj | None = None) -> Obj:
        parts = {"conv": self.conv2d(c1, c2, k, s, p), "bn": self.norm(c2), "act": act or silu()}
        return Obj("models.common.Conv", parts)

    def fused(self, c1: int, c2: int) -> Obj:
        return Obj("models.common.Conv", {"conv": self.conv2d(c1, c2, bias=True), "act": silu()})

    def focus(self, c2: int) -> Obj:
        return Obj("models.common.Focus", {"conv": self.conv(12, c2, 3)})

    def bottleneck(self, c: int, add: bool) -> Obj:
        return Obj("models.common.Bottleneck", {"cv1": self.conv(c, c), "cv2": self.conv(c, c, 3)}, {}, {"add": add})

    def c3(self, c1: int, c2: int, n: int = 1, add: bool = True) -> Obj:
        half = c2 // 2
        chain = sequence(*(self.bottleneck(half, add) for _ in range(n)))
        parts = {"cv1": self.conv(c1, half), "cv2": self.conv(c1, half), "cv3": self.conv(c2, c2), "m": chain}
        return Obj("models.common.C3", parts)

    def csp(self, c1: int, c2: int) -> Obj:
        half = c2 // 2
        parts = {
            "cv1": self.conv(c1, half), "cv2": self.conv2d(c1, half), "cv3": self.conv2d(half, half),
            "cv4": self.conv(c2, c2), "bn": self.norm(c2), "act": leaky(), "m": sequence(self.bottleneck(half, True)),
        }  # fmt: skip
        return Obj("models.common.BottleneckCSP", parts)

    def sppf(self, c1: int, c2: int) -> Obj:
        parts = {"cv1": self.conv(c1, c1 // 2), "cv2": self.conv(c1 * 2, c2), "m": pool(5)}
        return Obj("models.common.SPPF", parts)

    def spp(self, c1: int, c2: int) -> Obj:
        pools = Obj(f"{NN}container.ModuleList", {str(i): pool(k) for i, k in enumerate((5, 9, 13))})
        return Obj("models.common.SPP", {"cv1": self.conv(c1, c1 // 2), "cv2": self.conv(c1 * 2, c2), "m": pools})

    def detect(self, channels: list[int], strides: list[int], classes: int) -> Obj:
        heads = [self.conv2d(c, 3 * (classes + 5), bias=True) for c in channels]
        numbers = {"anchors": self.numbers(len(strides), 3, 2, low=1.0, high=8.0)}
        plain = {
            "nc": classes,
            "no": classes + 5,
            "nl": len(strides),
            "na": 3,
            "stride": np.asarray(strides, self.type),
        }
        modules = {"m": Obj(f"{NN}container.ModuleList", {str(i): head for i, head in enumerate(heads)})}
        return Obj("models.yolo.Detect", modules, numbers, plain)


def silu() -> Obj:
    return Obj(f"{NN}activation.SiLU", {}, {}, {"inplace": True})


def leaky() -> Obj:
    return Obj(f"{NN}activation.LeakyReLU", {}, {}, {"negative_slope": 0.1, "inplace": True})


def plain_act(name: str) -> Obj:
    """ReLU, Hardswish, Identity."""
    return Obj(f"{NN}{'linear' if name == 'Identity' else 'activation'}.{name}")


def pool(k: int) -> Obj:
    plain = {
        "kernel_size": k,
        "stride": 1,
        "padding": k // 2,
        "dilation": 1,
        "return_indices": False,
        "ceil_mode": False,
    }
    return Obj(f"{NN}pooling.MaxPool2d", {}, {}, plain)


def upsample() -> Obj:
    return Obj(f"{NN}upsampling.Upsample", {}, {}, {"size": None, "scale_factor": 2.0, "mode": "nearest"})


def concat() -> Obj:
    return Obj("models.common.Concat", {}, {}, {"d": 1})


def sequence(*modules: Obj) -> Obj:
    return Obj(f"{NN}container.Sequential", {str(i): module for i, module in enumerate(modules)})


def model(layers: list[tuple[Any, Obj]], names: Any, kind: str = "models.yolo.Model") -> Obj:
    """A model of layers, each with the numbers of those that it takes from."""
    for number, (source, layer) in enumerate(layers):
        layer.plain |= {"i": number, "f": source, "type": layer.kind}
    return Obj(kind, {"model": sequence(*(layer for _, layer in layers))}, {}, {"names": names})


def p6(maker: Maker, classes: int = 3) -> Obj:
    """Today's modules, four levels, as MegaDetector v5 has them."""
    layers: list[tuple[Any, Obj]] = [
        (-1, maker.conv(3, 8, 6, 2, 2)),
        (-1, maker.conv(8, 8, 3, 2)),
        (-1, maker.c3(8, 8, n=2)),
        (-1, maker.conv(8, 16, 3, 2)),
        (-1, maker.c3(16, 16)),
        (-1, maker.conv(16, 16, 3, 2)),
        (-1, maker.conv(16, 16, 3, 2)),
        (-1, maker.conv(16, 16, 3, 2)),
        (-1, maker.sppf(16, 16)),
        (-1, maker.fused(16, 8)),
        (-1, upsample()),
        ([-1, 6], concat()),
        (-1, maker.c3(24, 16, add=False)),
        ([4, 5, 12, 8], maker.detect([16, 16, 16, 16], [8, 16, 32, 64], classes)),
    ]
    return model(layers, ["animal", "person", "vehicle"][:classes])


def p5(maker: Maker) -> Obj:
    """The modules of the first releases, three levels, each activation once."""
    layers: list[tuple[Any, Obj]] = [
        (-1, maker.focus(8)),
        (-1, maker.conv(8, 8, 3, 2, act=leaky())),
        (-1, maker.csp(8, 8)),
        (-1, sequence(maker.bottleneck(8, True), maker.bottleneck(8, False))),
        (-1, maker.conv(8, 16, 3, 2, act=plain_act("Hardswish"))),
        (-1, maker.conv(16, 16, 3, 2, act=plain_act("ReLU"))),
        (-1, maker.conv(16, 16, 3, 2, act=plain_act("Identity"))),
        (-1, maker.spp(16, 16)),
        (-1, upsample()),
        ([-1, 5], concat()),
        (-1, maker.conv(32, 16)),
        ([4, -1, 7], maker.detect([16, 16, 16], [8, 16, 32], 2)),
    ]
    return model(layers, {0: "cat", 1: "dog"}, "models.yolo.DetectionModel")


def checkpoint(built: Obj, **more: Any) -> dict[str, Any]:
    """What YOLOv5 saves."""
    return {"epoch": -1, "best_fitness": None, "model": built, "ema": None, "optimizer": None, "date": "", **more}
