"""Which opsets of ONNX are read, and how older ones become newer."""

import onnx

OLDEST_READ = 11
OLDEST, NEWEST = 17, 23
"""What a raw graph has. The nodes around it mean the same in all of them."""


class OpsetError(ValueError):
    """An opset that cannot be read. One line that says what to do."""


def opset_of(model: onnx.ModelProto) -> int | None:
    """The version of ONNX's own operators in the model; None where it tells none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)


def brought_to_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in an opset from OLDEST to NEWEST; itself where it is in one. OpsetError where that cannot be."""
    version = opset_of(model)
    if version is None:
        raise OpsetError("the graph tells no opset")
    if not OLDEST_READ <= version <= NEWEST:
        raise OpsetError(
            f"opset {version} cannot be read, {OLDEST_READ} to {NEWEST} can: export the model with opset {OLDEST}"
        )
    if version >= OLDEST:
        return model
    try:
        return onnx.version_converter.convert_version(model, OLDEST)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise OpsetError(
            f"opset {version} cannot be brought to {OLDEST} ({reason}): export the model with opset {OLDEST}"
        ) from error
