"""The images below a prefix of S3, Google Cloud Storage or Azure, listed as a stream."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError

from trapstream.core.result_store import ManifestLine
from trapstream.jobs.manifest import SourceError, as_text, is_image_name, is_left_out, url_uri

_CHUNK = 1000


def images(url: str, open_store: Callable[[str], Any] | None = None) -> Iterator[ManifestLine]:
    """The images below `url`, in the store's own order, which is by key; or the one object that `url` names.

    Credentials come from the environment, as the store's own tools read them. SourceError if it cannot be listed.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    root = f"{scheme.lower()}://{bucket}"
    if not bucket:
        raise SourceError(f"{url}: the bucket's name is missing")
    try:
        store = (open_store or _open)(root)
        if is_image_name(prefix.encode()):
            yield _line(root, prefix, prefix.rpartition("/")[2])
            return
        for chunk in obstore.list(store, prefix or None, chunk_size=_CHUNK):
            for entry in chunk:
                key: str = entry["path"]
                name = key.removeprefix(prefix).lstrip("/") if prefix else key
                if _is_wanted(name.encode()):
                    yield _line(root, key, name)
    except (BaseError, OSError, ValueError) as error:
        raise SourceError(f"{url}: cannot list it: {_first_line(error)}") from None


def _open(root: str) -> Any:
    return obstore.store.from_url(
        root,
        client_options={"allow_http": True, "timeout": timedelta(seconds=30)},
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=60)},
    )


def _is_wanted(name: bytes) -> bool:
    return is_image_name(name) and not any(is_left_out(step) for step in name.split(b"/"))


def _line(root: str, key: str, name: str) -> ManifestLine:
    return ManifestLine(file=as_text(name.encode()), uri=url_uri(f"{root}/{key}".encode()))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
