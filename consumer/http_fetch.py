"""Images of any web server, by aiohttp. Every connection is checked where it is made."""

import os

import aiohttp
from yarl import URL

from consumer.away import Transient
from trapstream.core.errors import Permanent, Reason
from trapstream.core.outgoing import NotPublic, public_socket

MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN = frozenset({408, 425, 429})
_MEANINGS = {401: Reason.NO_PERMISSION, 403: Reason.NO_PERMISSION, 404: Reason.NOT_FOUND, 410: Reason.NOT_FOUND}


class HttpFetcher:
    """Fetches http:// and https:// for one event loop. It tries once; the caller retries and limits the time."""

    def __init__(self, connections: int, max_bytes: int, allow_private_networks: bool) -> None:
        self._max_bytes = max_bytes
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, socket_factory=None if allow_private_networks else public_socket
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"Accept-Encoding": "identity", "User-Agent": "trapstream"},
        )

    async def close(self) -> None:
        """Closes every connection."""
        await self._session.close()

    async def fetch(self, uri: str) -> bytes:
        """The bytes behind `uri`, through at most five redirects, each checked like the first address.

        Permanent: UNSUPPORTED_URI, FORBIDDEN, NOT_FOUND, NO_PERMISSION, HTTP_STATUS, TOO_LARGE, EMPTY_FILE,
        UNREACHABLE for a bad certificate. Transient for what may go away.
        """
        url = _parse(uri)
        for _ in range(MOST_REDIRECTS + 1):
            found = await self._get(url)
            if isinstance(found, bytes):
                return found
            url = found
        raise Permanent(Reason.HTTP_STATUS, f"more than {MOST_REDIRECTS} redirects")

    async def _get(self, url: URL) -> bytes | URL:
        """The body, or where the server sends us."""
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in _REDIRECTS and "Location" in response.headers:
                    return _checked(url.join(_parse(response.headers["Location"], relative=True)))
                if not 200 <= response.status < 300 or response.status == 206:
                    raise status_failure(response.status)
                return await self._body(response)
        except aiohttp.ClientConnectorCertificateError:
            raise Permanent(Reason.UNREACHABLE, f"{_server(url)}: its certificate is not valid") from None
        except aiohttp.ClientConnectorDNSError:
            raise Transient(Reason.UNREACHABLE, f"{_server(url)}: its name is not known") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, NotPublic):
                raise Permanent(Reason.FORBIDDEN, f"{_server(url)} is not in the public internet") from None
            raise Transient(Reason.UNREACHABLE, f"{_server(url)}: {_cause(error.os_error)}") from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise Permanent(Reason.UNSUPPORTED_URI, "no valid web address") from None
        except aiohttp.ClientError:
            raise Transient(Reason.UNREACHABLE, f"{_server(url)}: the connection broke") from None

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        data = bytearray()
        expected = response.content_length or 0
        while len(data) <= self._max_bytes >= expected:
            part = await response.content.readany()
            if not part:
                break
            data += part
        else:
            raise Permanent(Reason.TOO_LARGE, f"the limit is {self._max_bytes} bytes")
        if not data:
            raise Permanent(Reason.EMPTY_FILE)
        return bytes(data)


def _parse(text: str, relative: bool = False) -> URL:
    try:
        # Signed addresses must stay as they are, to the byte; only what no server accepts is encoded.
        url = URL(text, encoded=text.isascii() and text.isprintable() and " " not in text)
    except ValueError:
        raise Permanent(Reason.UNSUPPORTED_URI, "no valid web address") from None
    return url if relative else _checked(url)


def _checked(url: URL) -> URL:
    if url.scheme not in {"http", "https"}:
        raise Permanent(Reason.UNSUPPORTED_URI, "the server redirects to something that is no web address")
    if not url.host:
        raise Permanent(Reason.UNSUPPORTED_URI, "no valid web address")
    return url


def status_failure(status: int) -> Permanent:
    """What an image fails with whose server answers with this status, which is no success."""
    if status >= 500 or status in _TRY_AGAIN:
        return Transient(Reason.HTTP_STATUS, f"HTTP {status}")
    return Permanent(_MEANINGS.get(status, Reason.HTTP_STATUS), f"HTTP {status}")


def _server(url: URL) -> str:
    return f"{url.host}:{url.port}"


def _cause(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else "no connection"
