"""What YOLOv5's modules compute, in plain NumPy and float64: slow, and easy to see to be right."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tests.unit.models.checkpoints import Obj

Array = npt.NDArray[Any]


def predict(model: Obj, image: Array) -> tuple[Array, Array]:
    """Boxes [N, A, 4] and scores [N, A, C] for images [N, 3, H, W]."""
    found = prediction(model, image)
    return found[..., :4], found[..., 4:5] * found[..., 5:]


def prediction(model: Obj, image: Array) -> Array:
    """What YOLOv5 calls so: [N, A, 5 + C] of box, objectness and classes."""
    values: list[Array] = []
    before = image.astype(np.float64)
    for layer in model.modules["model"].modules.values():
        source = layer.plain["f"]
        taken = [before if each == -1 else values[each] for each in (source if isinstance(source, list) else [source])]
        if layer.kind.endswith("Detect"):
            return detect(layer, taken)
        before = np.concatenate(taken, 1) if layer.kind.endswith("Concat") else run(layer, taken[0])
        values.append(before)
    raise AssertionError("no Detect")


def run(module: Obj, x: Array) -> Array:
    """One module."""
    part = module.modules
    match module.kind.rpartition(".")[2]:
        case "Conv":
            found = convolve(part["conv"], x)
            return activate(part["act"], normal(part["bn"], found) if "bn" in part else found)
        case "Focus":
            corners = [x[..., row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
            return run(part["conv"], np.concatenate(corners, 1))
        case "Bottleneck":
            found = run(part["cv2"], run(part["cv1"], x))
            return x + found if module.plain["add"] else found
        case "C3":
            return run(part["cv3"], np.concatenate([run(part["m"], run(part["cv1"], x)), run(part["cv2"], x)], 1))
        case "BottleneckCSP":
            inner = convolve(part["cv3"], run(part["m"], run(part["cv1"], x)))
            both = np.concatenate([inner, convolve(part["cv2"], x)], 1)
            return run(part["cv4"], activate(part["act"], normal(part["bn"], both)))
        case "SPP":
            first = run(part["cv1"], x)
            pools = [maximum(pool.plain["kernel_size"], first) for pool in part["m"].modules.values()]
            return run(part["cv2"], np.concatenate([first, *pools], 1))
        case "SPPF":
            ways = [run(part["cv1"], x)]
            for _ in range(3):
                ways.append(maximum(part["m"].plain["kernel_size"], ways[-1]))
            return run(part["cv2"], np.concatenate(ways, 1))
        case "Upsample":
            return x.repeat(2, 2).repeat(2, 3)
        case "Sequential":
            for each in part.values():
                x = run(each, x)
            return x
    raise AssertionError(module.kind)


def convolve(module: Obj, x: Array) -> Array:
    """Conv2d without groups."""
    weight = module.numbers["weight"].astype(np.float64)
    (step, _), (pad, _) = module.plain["stride"], module.plain["padding"]
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    seen = windows(x, *weight.shape[2:])[:, :, ::step, ::step]
    found: Array = np.einsum("nchwij,ocij->nohw", seen, weight, optimize=True)
    bias = module.numbers.get("bias")
    return found if bias is None else found + bias.astype(np.float64)[:, None, None]


def windows(x: Array, height: int, width: int) -> Array:
    """Each place's neighbourhood: [N, C, H, W, height, width]."""
    return np.lib.stride_tricks.sliding_window_view(x, (1, 1, height, width))[:, :, :, :, 0, 0]


def normal(module: Obj, x: Array) -> Array:
    """BatchNorm2d."""
    gain, shift, mean, spread = (
        module.numbers[name].astype(np.float64)[:, None, None]
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    found: Array = (x - mean) / np.sqrt(spread + module.plain["eps"]) * gain + shift
    return found


def activate(module: Obj, x: Array) -> Array:
    """SiLU and the others."""
    match module.kind.rpartition(".")[2]:
        case "SiLU":
            return x * sigmoid(x)
        case "LeakyReLU":
            return np.where(x > 0, x, x * module.plain["negative_slope"])
        case "Hardswish":
            return x * np.clip(x + 3, 0, 6) / 6
        case "ReLU":
            return np.maximum(x, 0)
    return x


def maximum(size: int, x: Array) -> Array:
    """MaxPool2d with stride 1 that keeps the size."""
    pad = size // 2
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=-np.inf)
    found: Array = windows(x, size, size).max((4, 5))
    return found


def sigmoid(x: Array) -> Array:
    """Between 0 and 1."""
    found: Array = 1 / (1 + np.exp(-x))
    return found


def detect(module: Obj, levels: list[Array]) -> Array:
    """Detect, cell by cell."""
    cells = []
    anchors, strides = module.numbers["anchors"].astype(float), module.plain["stride"].astype(float)
    for head, x, anchor, stride in zip(module.modules["m"].modules.values(), levels, anchors, strides, strict=True):
        answer = sigmoid(convolve(head, x))
        images, _, height, width = answer.shape
        answer = answer.reshape(images, len(anchor), -1, height, width)
        for a, (w, h) in enumerate(anchor * stride):
            for row in range(height):
                for column in range(width):
                    t = answer[:, a, :, row, column]
                    x_y = (t[:, :2] * 2 - 0.5 + (column, row)) * stride
                    cells.append(np.concatenate([x_y, (t[:, 2:4] * 2) ** 2 * (w, h), t[:, 4:]], 1))
    return np.stack(cells, 1)
