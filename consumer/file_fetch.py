"""Local files: below the configured folders only, regular ones only, and never a wait on anything else."""

import errno
import io
import os
import stat
import time
from collections.abc import Sequence

from consumer.away import Transient
from consumer.uris import is_inside, local_path
from trapstream.core.errors import Permanent, Reason

_REASONS = {
    errno.ENOENT: (Reason.NOT_FOUND, ""),
    errno.ENOTDIR: (Reason.NOT_FOUND, ""),
    errno.ENAMETOOLONG: (Reason.NOT_FOUND, "the name is too long"),
    errno.ELOOP: (Reason.NOT_FOUND, "a symbolic link that leads back to itself"),
    errno.EACCES: (Reason.NO_PERMISSION, ""),
    errno.EPERM: (Reason.NO_PERMISSION, ""),
    errno.EISDIR: (Reason.NOT_A_FILE, "a folder"),
    errno.ENXIO: (Reason.NOT_A_FILE, "a socket or a device"),
}
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def real_roots(roots: Sequence[os.PathLike[str]]) -> list[bytes]:
    """The roots with their symbolic links resolved, once."""
    return [os.fsencode(os.path.realpath(root)) for root in roots]


def read_file(uri: str, roots: Sequence[bytes], max_bytes: int) -> bytes:
    """The bytes of a file:// address; `roots` are resolved. It blocks: call it in a thread.

    Permanent: UNSUPPORTED_URI, FORBIDDEN, NOT_FOUND, NO_PERMISSION, NOT_A_FILE, TOO_LARGE, EMPTY_FILE. Transient for
    an error of the disk or of the network file system.
    """
    path = local_path(uri)
    anywhere = b"/" in roots
    if not anywhere:
        # The same answer whether or not it exists: what lies outside must not be probed.
        path = os.path.realpath(path)
        if not is_inside(path, roots):
            raise Permanent(Reason.FORBIDDEN, "outside the folders that may be read")
    try:
        return _read(path, 0 if anywhere else os.O_NOFOLLOW, max_bytes)
    except OSError as error:
        if error.errno in _REASONS:
            raise Permanent(*_REASONS[error.errno]) from None
        raise Transient(Reason.UNREACHABLE, os.strerror(error.errno or 0)) from None


def read_files(
    uris: Sequence[str], roots: Sequence[bytes], max_bytes: int, seconds: float, read: list[bytes | Permanent | None]
) -> None:
    """Fills `read` with what `read_file` gives for each of `uris`, in their order, for as long as that goes quickly.

    After `seconds` it ends: the rest is better read by several threads at once. None, too, is to be read by itself.
    """
    until = time.monotonic() + seconds
    for uri in uris:
        try:
            read.append(read_file(uri, roots, max_bytes))
        except Exception as error:  # whoever reads it by itself tries it again, or says what it is
            read.append(error if isinstance(error, Permanent) and not isinstance(error, Transient) else None)
        if time.monotonic() > until:
            return


def _read(path: bytes, flags: int, max_bytes: int) -> bytes:
    # O_NONBLOCK: opening a named pipe without a writer would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | flags)
    with io.FileIO(descriptor) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Permanent(Reason.NOT_A_FILE, next((name for is_it, name in _KINDS if is_it(status.st_mode)), ""))
        _require_size(status.st_size, max_bytes)
        data = file.read(status.st_size + 1) or b""
        while part := file.read(1 << 20):  # a short read, or a file that grows
            data += part
            _require_size(len(data), max_bytes)
    if not data:
        raise Permanent(Reason.EMPTY_FILE)
    return data


def _require_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise Permanent(Reason.TOO_LARGE, f"the limit is {max_bytes} bytes")
