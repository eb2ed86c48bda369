"""The zip that torch.save writes: a pickle beside one member for each tensor's bytes.

The layout is PyTorch's: https://github.com/pytorch/pytorch/blob/main/docs/source/notes/serialization.rst
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from trapstream.core import json_codec
from trapstream.models.yolov5 import CheckpointError

_PICKLE = 32 << 20
"""Bytes of the pickle, at most. It has no weights in it."""
_INFO = 1 << 20
"""Bytes of what MegaDetector's tools say of a model, at most."""
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch.save began a file before its version 1.6."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, struct.error)
"""What zipfile raises of a file that is damaged. RuntimeError is of one that claims to be encrypted and, as
NotImplementedError, of one that claims a version or a compression that zipfile does not know."""


class Archive:
    """An open checkpoint. Everything in it is read with a limit."""

    def __init__(self, path: Path) -> None:
        """Opens the file. Raises CheckpointError where it is no zip of torch.save, OSError as the disk gives it."""
        self._file = path.open("rb")
        try:
            _look(self._file)
            self._zip = zipfile.ZipFile(self._file)
            self._prefix = self._find_pickle()
            self._refuse_others()
        except (*_DAMAGE, UnicodeDecodeError) as error:
            self._file.close()
            raise CheckpointError(f"the file is damaged, or was not downloaded completely: {error}") from error
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()
        self._file.close()

    def pickle(self) -> bytes:
        """The pickle that describes the model."""
        return self._read("data.pkl", _PICKLE)

    def storage(self, key: str, size: int) -> bytes:
        """The bytes of a tensor's storage, which are `size`, and whose checksum is right."""
        if not key.isdecimal() or not key.isascii():
            raise CheckpointError(f"a storage is called {key[:40]!r}: no checkpoint has that")
        content = self._read(f"data/{key}", size)
        if len(content) != size:
            raise CheckpointError(f"storage {key} has {len(content)} bytes and should have {size}: the file is damaged")
        return content

    def megadetector_info(self) -> Any:
        """What MegaDetector's own tools added to the file, which is JSON (`add_metadata_to_megadetector_model_file` of
        its pytorch_detector.py); None where they added nothing."""
        try:
            with self._zip.open(f"{self._prefix}/megadetector_info.json") as member:
                content = member.read(_INFO + 1)  # it is compressed: its size in the list of members may be a lie
            if len(content) > _INFO:
                raise CheckpointError(f"megadetector_info.json in the file has more than {_INFO:,} bytes")
            return json_codec.decode(content)
        except KeyError:
            return None
        except (ValueError, *_DAMAGE) as error:
            raise CheckpointError(f"megadetector_info.json in the file cannot be read: {error}") from error

    def _read(self, name: str, most: int) -> bytes:
        try:
            member = self._zip.getinfo(f"{self._prefix}/{name}")
            if member.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError(f"{name} is compressed, which torch.save does not do; take the original file")
            if member.file_size > most:
                raise CheckpointError(
                    f"{name} in the file has {member.file_size:,} bytes, more than the {most:,} it may"
                )
            return self._zip.read(member)
        except KeyError as error:
            raise CheckpointError(f"{name} is missing from the file: it is damaged") from error
        except _DAMAGE as error:
            raise CheckpointError(f"{name} in the file cannot be read, it is damaged: {error}") from error

    def _find_pickle(self) -> str:
        found = [name.removesuffix("/data.pkl") for name in self._zip.namelist() if name.endswith("/data.pkl")]
        found = [name for name in found if "/" not in name]
        if len(found) != 1:
            raise CheckpointError("the file is a zip, but none that torch.save wrote: it has no data.pkl")
        return found[0]

    def _refuse_others(self) -> None:
        names = set(self._zip.namelist())
        if f"{self._prefix}/constants.pkl" in names:
            raise CheckpointError(
                "the file is a TorchScript export; import the checkpoint that it was made from, or an ONNX export"
            )
        if f"{self._prefix}/byteorder" in names and self._read("byteorder", 16) != b"little":
            raise CheckpointError("the file was written on a big-endian machine; save it again on another")


def _look(file: BinaryIO) -> None:
    """Refuses what is no zip."""
    start = file.read(len(_LEGACY))
    if start == _LEGACY:
        raise CheckpointError(
            "the file is in the format that PyTorch wrote before version 1.6; where it was made, load it with "
            "torch.load and write it again with torch.save, or export it to ONNX"
        )
    if start[:4] != b"PK\x03\x04":
        raise CheckpointError("the file is no PyTorch checkpoint: it does not begin as the zip that torch.save writes")
    file.seek(0)
