"""The journal of one live job: its manifest while it grows. A line that was appended survives whatever comes."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from trapstream.core import faults, messages
from trapstream.core.result_store import ManifestLine, sync_folder

_decoder = msgspec.json.Decoder(ManifestLine)


class JournalFile:
    """One file, with one writer. `size` bytes of it and `lines` lines are on the disk for good. It blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.lines = 0
        self._digest = hashlib.sha256()
        self._torn = False

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of its bytes."""
        return self._digest.hexdigest()

    def load(self, take: Callable[[ManifestLine], None]) -> None:
        """Reads what is there, gives each line to `take`, and cuts off the part behind the last whole line.

        A death left it there. It was never acknowledged to a sender, since the sync that goes before an answer covers
        all lines before it. OSError as the disk gives it.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                try:
                    entry = _decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    break
                if not line.endswith(b"\n"):
                    break
                take(entry)
                self._count([line])
        self._torn = self.path.stat().st_size > self.size
        self._mend()
        # The bytes that a killed process wrote may be in the system's memory only: they are synced before they count.
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        sync_folder(self.path.parent)

    def append(self, entries: Sequence[ManifestLine]) -> None:
        """Adds lines; they are on the disk for good when this returns. OSError: none of them counts."""
        new = [messages.encode(entry) + b"\n" for entry in entries]
        whole = b"".join(new)
        self._mend()
        self._torn = True  # until it is known to be whole
        first = self.lines == 0
        try:
            with self.path.open("ab") as file:
                file.write(whole[: len(whole) // 2])
                file.flush()
                faults.reach("arrive.within-3")
                file.write(whole[len(whole) // 2 :])
                file.flush()
                os.fsync(file.fileno())
            if first:
                sync_folder(self.path.parent)
        except OSError:
            self._mend()
            raise
        self._torn = False
        self._count(new)

    def _count(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            self._digest.update(line)
            self.size += len(line)
            self.lines += 1

    def _mend(self) -> None:
        """Cuts off the bytes behind the last line that counts. OSError: the next write tries again."""
        if self._torn and self.path.exists():
            with self.path.open("r+b") as file:
                file.truncate(self.size)
                os.fsync(file.fileno())
        self._torn = False
