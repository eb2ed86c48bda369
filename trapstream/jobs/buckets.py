"""The images below a prefix of S3, Google Cloud Storage or Azure, listed as a stream."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError, InvalidPathError

from trapstream.core.result_store import ManifestLine
from trapstream.jobs.kinds import BINS, MOST_BINS, is_image_name, left_out
from trapstream.jobs.manifest import Notes, SourceError, as_text, is_exact_key, path_text, url_uri

_CHUNK = 1000
_UNREADABLE = "begins with /, or holds //, a step . or .., or a control character: the store's client cannot read it"
_ODD = (
    f"objects have a name that {_UNREADABLE}; rename them, since images whose names come before them in their folder "
    "may be missing"
)
_NAMED = re.compile(r'path: "((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]+)\}|(.))")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


def images(url: str, notes: Notes, open_store: Callable[[str], Any] | None = None) -> Iterator[ManifestLine]:
    """The images below `url`, in the store's own order, which is by key; or the one object that `url` names.

    Credentials come from the environment, as the store's own tools read them. SourceError if it cannot be listed.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    is_folder = not prefix or prefix.endswith("/")
    prefix = prefix.removesuffix("/")
    root = f"{scheme.lower()}://{bucket}"
    if not bucket:
        raise SourceError(f"{url}: the bucket's name is missing")
    if prefix and not is_exact_key(prefix):
        raise SourceError(f"{url}: this name {_UNREADABLE}")
    try:
        store = (open_store or _open)(root)
        if not is_folder and is_image_name(prefix.encode()):
            yield _line(root, prefix, prefix.rpartition("/")[2])
            return
        for key in _keys(store, prefix, root, notes):
            name = key[len(prefix) + 1 :] if prefix else key
            if (found := left_out(name.encode())) is None:
                yield _line(root, key, name)
            elif is_exact_key(key):
                kind, shown = found
                notes.add(kind, path_text(shown), MOST_BINS if kind is BINS else None)
    except (BaseError, OSError, ValueError) as error:
        raise SourceError(f"{url}: cannot list it: {_first_line(error)}") from None


def _open(root: str) -> Any:
    return obstore.store.from_url(
        root,
        client_options={"allow_http": True, "timeout": timedelta(seconds=30)},
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=60)},
    )


def _keys(store: Any, folder: str, root: str, notes: Notes, after: str | None = None) -> Iterator[str]:
    """The keys below a folder, behind `after`.

    A page of a listing that holds one name which the client cannot read is lost to it. Then each folder is listed by
    itself; only in the folder of that name the listing goes on behind it.
    """
    listed_whole = bool(folder) or not _has_leading_slashes(store)
    while True:
        try:
            if listed_whole:
                for key in _listed(store, folder, after):
                    after = key
                    yield key
                return
        except InvalidPathError as error:
            odd = _named(error)
        try:
            level = obstore.list_with_delimiter(store, folder or None)
            break
        except InvalidPathError:
            if not listed_whole:
                raise
            notes.add(_ODD, f"{root}/{odd}")
            yield odd
            after = _behind(odd, after)
    below = [f"{name}/" for name in level["common_prefixes"]]
    for key in sorted([*below, *_paths(level["objects"])]):
        if key == "/":
            notes.add(_ODD, f"{root}//")
        elif not key.endswith("/"):
            if after is None or key > after:
                yield key
        elif after is None or key > after or after.startswith(key):
            yield from _keys(store, key[:-1], root, notes, after)


def _listed(store: Any, folder: str, after: str | None) -> Iterator[str]:
    for chunk in obstore.list(store, folder or None, offset=after, chunk_size=_CHUNK):
        yield from _paths(chunk)


def _paths(entries: Sequence[Any]) -> list[str]:
    """Their keys, but not of what stands for a folder, as some tools leave it: empty, and by its name no file."""
    return [each["path"] for each in entries if each["size"] or "." in each["path"].rpartition("/")[2]]


def _has_leading_slashes(store: Any) -> bool:
    """Whether keys of the bucket begin with a slash: a listing names them without it, as if they were other objects."""
    try:
        return bool(_first_behind(store, ".\U0010ffff") != _first_behind(store, "0"))
    except InvalidPathError:
        return True


def _first_behind(store: Any, key: str) -> Any:
    return next((chunk[0] for chunk in obstore.list(store, offset=key, chunk_size=1)), None)


def _named(error: InvalidPathError) -> str:
    """The key that the client could not read, as it is."""
    found = _NAMED.search(str(error))
    if found is None:
        raise error
    return _ESCAPE.sub(lambda one: chr(int(one[1], 16)) if one[1] else _ESCAPES.get(one[2], one[2]), found[1])


def _behind(odd: str, after: str | None) -> str:
    """A name that the client can read behind `odd` and what begins like it. SourceError if that is no step forward."""
    steps = odd.split("/")
    number = next(number for number, step in enumerate(steps) if not is_exact_key(step))
    step = steps[number]
    if step in ("", ".", ".."):
        step += "0"  # comes next after a slash
    else:
        at = next(at for at, sign in enumerate(step) if not is_exact_key(f"x{sign}"))
        step = step[:at] + (" " if step[at] < " " else "\x80")
    found = "/".join([*steps[:number], step])
    if after is not None and found <= after:  # this store does not list from a name on
        raise SourceError(f"cannot list it: the name of {odd!r} cannot be read; rename it, or give a list")
    return found


def _line(root: str, key: str, name: str) -> ManifestLine:
    return ManifestLine(file=as_text(name.encode()), uri=url_uri(f"{root}/{key}".encode()))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
