"""Objects of S3, Google and Azure buckets, by obstore. Credentials and endpoints come from their usual variables."""

import re
from datetime import timedelta
from functools import lru_cache, partial

import obstore
from obstore import exceptions
from obstore.store import from_url

from consumer.away import Transient
from consumer.http_fetch import status_failure
from consumer.uris import object_name, scheme
from trapstream.core.errors import Permanent, Reason

_MOST_STORES = 64
_STATUS = re.compile(r"status code: (\d{3})")


class ObjectFetcher:
    """Fetches objects for one event loop. It tries once; the caller retries."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        # allow_http matters only where the operator's own endpoint is http://; its retries are off, ours rule.
        options = {"allow_http": True, "timeout": timedelta(seconds=seconds)}
        self._store = lru_cache(_MOST_STORES)(
            partial(from_url, client_options=options, retry_config={"max_retries": 0})
        )

    async def fetch(self, uri: str) -> bytes:
        """The bytes of an s3://, gs:// or az:// address.

        Permanent: UNSUPPORTED_URI, NOT_FOUND, NO_PERMISSION, TOO_LARGE, HTTP_STATUS. Transient for the rest.
        """
        bucket, key = object_name(uri)
        try:
            reply = await obstore.get_async(self._store(f"{scheme(uri)}://{bucket}"), key)
            if reply.meta["size"] > self._max_bytes:
                raise Permanent(Reason.TOO_LARGE, f"the limit is {self._max_bytes} bytes")
            return bytes(await reply.bytes_async())
        except (FileNotFoundError, exceptions.NotFoundError):
            raise Permanent(Reason.NOT_FOUND) from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
            raise Permanent(Reason.NO_PERMISSION) from None
        except (ValueError, exceptions.InvalidPathError):
            raise Permanent(Reason.UNSUPPORTED_URI, "no valid name of an object") from None
        except exceptions.BaseError as error:
            raise _meaning(str(error)) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # Rust's; it is no Exception, and would end the process
                raise
            raise Permanent(Reason.UNREACHABLE, "the object store's client failed") from None


def _meaning(text: str) -> Permanent:
    """The store's own text is not shown: it quotes addresses, and changes between its versions."""
    found = _STATUS.search(text)
    if found is None:
        return Transient(Reason.UNREACHABLE, "the object store gave no answer; are its credentials and region set?")
    return status_failure(int(found[1]))
