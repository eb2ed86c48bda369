"""Every name that the pickle of a checkpoint that can be read may have, and what to say of one that is not among them.

The lists follow YOLOv5's releases 1.0 to 7.0 and what PyTorch and NumPy write for them. Some have changed their place:
YOLOv5 6.2 renamed `Model` to `DetectionModel`, its package on its own puts `yolov5.` before all, NumPy 2 an underscore.
"""

MODELS = ("models.yolo.Model", "models.yolo.DetectionModel")
CLASSIFIERS = ("models.yolo.ClassificationModel", "models.common.Classify")
_COMMON = (
    "Bottleneck", "BottleneckCSP", "C3", "Concat", "Conv", "DWConv", "Focus", "SPP", "SPPF", "Classify", "SiLU",
    "Hardswish",
)  # fmt: skip
_TORCH = (
    "activation.Hardswish", "activation.LeakyReLU", "activation.ReLU", "activation.SiLU", "batchnorm.BatchNorm2d",
    "batchnorm.SyncBatchNorm", "container.ModuleList", "container.Sequential", "conv.Conv2d", "dropout.Dropout",
    "flatten.Flatten", "linear.Identity", "linear.Linear", "pooling.AdaptiveAvgPool2d", "pooling.MaxPool2d",
    "upsampling.Upsample",
)  # fmt: skip
_VALUES = (
    "argparse.Namespace", "datetime.datetime", "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath", "pathlib.WindowsPath", "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
    "numpy.ndarray", "numpy.dtype", "torch.Size", "torch.device", "torch.float16", "torch.float32", "torch.bfloat16",
    "torch.int64", "torch.strided",
)  # fmt: skip
CLASSES = frozenset({
    *MODELS, *CLASSIFIERS, "models.yolo.Detect", "models.yolo.Segment", "models.yolo.SegmentationModel",
    *(f"models.common.{name}" for name in _COMMON),
    "utils.activations.Hardswish", "utils.activations.SiLU",
    *(f"torch.nn.modules.{name}" for name in _TORCH), *_VALUES,
})  # fmt: skip
"""What may be made. All become records that do nothing."""
FUNCTIONS = frozenset({
    "collections.OrderedDict", "collections.defaultdict", "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter", "numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
    "_codecs.encode", "builtins.set", "builtins.dict", "builtins.list", *_VALUES,
})  # fmt: skip
"""What may be called. Nothing is: the result is written down instead."""
STORAGES = {
    "torch.HalfStorage": "float16", "torch.FloatStorage": "float32", "torch.DoubleStorage": "float64",
    "torch.BFloat16Storage": "bfloat16", "torch.LongStorage": "int64", "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16", "torch.CharStorage": "int8", "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}  # fmt: skip
"""Storage class to the kind of its numbers."""

_EXPORT = "export it to ONNX with the software that made it, and import the ONNX file"
_HINTS = {
    "ultralytics.": f"it is a checkpoint of Ultralytics' package; {_EXPORT} (yolo export format=onnx dynamic=True)",
    "models.yolo.": f"it is a checkpoint of a relative of YOLOv5, such as YOLOv7 or YOLOv9; {_EXPORT}",
    "models.": f"it has a module that is not YOLOv5's own; {_EXPORT}",
    "torchvision.": f"it is a model of torchvision, not YOLOv5; if it is a detector, {_EXPORT}",
    "torch.nn.": f"it has a module that YOLOv5 does not have; {_EXPORT}",
}


def plain(text: str) -> str:
    """A name as the lists have it: without what differs between releases of the same thing."""
    text = text.removeprefix("yolov5.")
    for old, new in (("__builtin__.", "builtins."), ("numpy._core.", "numpy.core.")):
        if text.startswith(old):
            text = new + text.removeprefix(old)
    return text


def refusal(text: str) -> str:
    """Why a name that is in no list ends the import, in one line."""
    shown = text if text.isprintable() and len(text) <= 120 else repr(text[:120])
    hint = next((hint for start, hint in _HINTS.items() if text.startswith(start)), "")
    why = hint or "no YOLOv5 checkpoint needs that, so the file may be made to run it"
    return f"the pickle in the file names {shown}: {why}; nothing of it was run"
