"""The public detectors of the MegaDetector family: where they are, and what their files do not say of themselves.

Sources: the releases v5.0 and v1000.0 of https://github.com/agentmorris/MegaDetector, its table of known models
(megadetector/detection/run_detector.py: addresses, md5, the thresholds of version 5) and its release notes
(docs/release-notes/mdv1000-release.md: sizes, licences, "0.3 or even 0.4" as a threshold); for version 6 the model zoo
of https://github.com/microsoft/MegaDetector, whose files are in https://zenodo.org/records/15398270. Licences are those
that the makers state for their models or for the code that runs them. A threshold that they do not publish is
MegaDetector's own for models that it does not know.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from trapstream.models.classes import MEGADETECTOR

_MORRIS = "https://github.com/agentmorris/MegaDetector/releases/download"
_ZENODO = "https://zenodo.org/records/15398270/files"


@dataclass(frozen=True, kw_only=True)
class Known:
    """A published model."""

    name: str
    version: str
    file: str
    """The name of the published file. An ONNX export of it has the same name with another ending."""
    address: str
    """Of the folder where the file is."""
    licence: str
    image_size: int
    stride: int
    md5: str | None = None
    """Of the published file; None where its makers state none."""
    typical: float = 0.2
    conservative: float = 0.1
    classes: tuple[str, ...] = MEGADETECTOR

    @property
    def source(self) -> str:
        """Where the file is to be had."""
        return f"{self.address}/{self.file}"


def _v5(letter: str, patch: str, md5: str) -> Known:
    return Known(
        name=f"mdv5{letter}", version=f"0.{patch}", file=f"md_v5{letter}.0.{patch}.pt", address=f"{_MORRIS}/v5.0",
        md5=md5, licence="AGPL-3.0", image_size=1280, stride=64, typical=0.2, conservative=0.05,
    )  # fmt: skip


def _v1000(tree: str, md5: str, size: int, licence: str, *, stride: int = 32) -> Known:
    return Known(
        name=f"mdv1000-{tree}", version="0.0", file=f"md_v1000.0.0-{tree}.pt", address=f"{_MORRIS}/v1000.0", md5=md5,
        licence=licence, image_size=size, stride=stride, typical=0.3,
    )  # fmt: skip


def _v6(file: str, licence: str, size: int, *, name: str | None = None) -> Known:
    return Known(
        name=(name or file.rpartition(".")[0]).lower(), version="1", file=file, address=_ZENODO, licence=licence,
        image_size=size, stride=32,
    )  # fmt: skip


KNOWN = (
    _v5("a", "0", "ec1d7603ec8cf642d6e0cd008ba2be8c"),
    _v5("b", "0", "bc235e73f53c5c95e66ea0d1b2cbf542"),
    _v5("a", "1", "60f8e7ec1308554df258ed1f4040bc4f"),
    _v5("b", "1", "f17ed6fedfac2e403606a08c89984905"),
    _v1000("redwood", "74474b3aec9cf1a990da38b37ddf9197", 1280, "GPL-3.0", stride=64),
    _v1000("spruce", "1c9d1d2b3ba54931881471fdd508e6f2", 640, "GPL-3.0"),
    _v1000("cedar", "3d6472c9b95ba687b59ebe255f7c576b", 640, "GPL-3.0"),
    _v1000("larch", "cab94ebd190c2278e12fb70ffd548b6d", 640, "AGPL-3.0"),
    _v1000("sorrel", "4339a2c8af7a381f18ded7ac2a4df03e", 960, "AGPL-3.0"),
    _v6("MDV6-yolov9-c.pt", "AGPL-3.0", 1280),
    _v6("MDV6-yolov9-e-1280.pt", "AGPL-3.0", 1280, name="mdv6-yolov9-e"),
    _v6("MDV6-yolov10-c.pt", "AGPL-3.0", 1280),
    _v6("MDV6-yolov10-e-1280.pt", "AGPL-3.0", 1280, name="mdv6-yolov10-e"),
    _v6("MDV6-rtdetr-c.pt", "AGPL-3.0", 1280),
    _v6("MDV6-mit-yolov9-c.ckpt", "MIT", 640),
    _v6("MDV6-mit-yolov9-e.ckpt", "MIT", 640),
    _v6("MDV6-apa-rtdetr-c.pth", "Apache-2.0", 640),
    _v6("MDV6-apa-rtdetr-e.pth", "Apache-2.0", 640),
)


@dataclass(frozen=True)
class Recognised:
    """Which of the known models a file is."""

    known: Known
    certain: bool
    """Its bytes are those of the published file; else it is only called so."""


def recognise(file: Path, md5: str) -> Recognised | None:
    """The known model that a file is by its bytes, or else by its name, whatever its ending."""
    for known in KNOWN:
        if md5 == known.md5:
            return Recognised(known, certain=True)
    for known in KNOWN:
        if _stem(file.name) == _stem(known.file):
            return Recognised(known, certain=False)
    return None


def digests(file: Path) -> tuple[str, str]:
    """md5, by which the makers name their files, and sha256, in lower-case hex. OSError as the disk gives it."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            md5.update(block)
            sha256.update(block)
    return md5.hexdigest(), sha256.hexdigest()


def _stem(name: str) -> str:
    """A file's name in lower case, without the ending of a model file."""
    lower = name.lower()
    for ending in (".pt", ".pth", ".ckpt", ".onnx", "-1280"):  # two of the published names end in their size
        lower = lower.removesuffix(ending)
    return lower
