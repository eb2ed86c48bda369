"""One attempt at a webhook: a POST that follows no redirect, reaches no private address, and ends in time."""

from collections.abc import Mapping

import aiohttp

from trapstream.core.outgoing import NotPublic, public_socket

_PER_HOST = 8
"""Connections to one receiver: one that hangs holds up its own webhooks only."""


class Poster:
    """Sends to any receiver, for one event loop."""

    def __init__(self, seconds: float, allow_private: bool) -> None:
        """`seconds`: for one attempt. `allow_private`: whether it reaches private addresses too."""
        self._seconds = seconds
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=_PER_HOST, socket_factory=None if allow_private else public_socket
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=seconds),
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "trapstream"},
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Closes every connection."""
        await self._session.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> str | None:
        """None once the receiver has taken it (2xx), else what went wrong, in a few words without the address."""
        try:
            async with self._session.post(url, headers=headers, data=body, allow_redirects=False) as response:
                status = response.status  # its body is not waited for
        except TimeoutError:
            return f"no answer within {self._seconds:g} s"
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, NotPublic):
                return "its address is not in the public internet (TRAPSTREAM_ALLOW_PRIVATE_WEBHOOKS)"
            return "no connection"
        except (aiohttp.ClientError, ValueError) as error:
            return type(error).__name__
        if 200 <= status < 300:
            return None
        return f"HTTP {status}, and redirects are not followed" if 300 <= status < 400 else f"HTTP {status}"
