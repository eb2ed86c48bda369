"""Whether a server is ready: asked over its own protocol, never guessed from an open port."""

import asyncio
import logging

import aiohttp
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from trapstream.local.child import Health
from trapstream.local.ports import HOST

_SECONDS = 2.0
_LATE_SECONDS = 60.0


async def http_status(port: int, path: str, seconds: float | None = _SECONDS) -> int | None:
    """The status of a GET, or None where nobody answers within `seconds`."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
            session.get(f"http://{HOST}:{port}{path}") as answer,
        ):
            return answer.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


def http_ok(port: int, path: str) -> Health:
    """Ready once `path` answers 200."""

    async def ready() -> bool:
        return await http_status(port, path) == 200

    return ready


def http_alive(port: int, path: str) -> Health:
    """Alive while `path` is answered, whatever the status and however late: the caller bounds the time."""

    async def alive() -> bool:
        return await http_status(port, path, None) is not None

    return alive


def kafka_ready(port: int) -> Health:
    """Ready once Metadata names a live broker: a fenced one (just restarted) is not in it."""

    async def ready() -> bool:
        return bool(await _brokers(port, _SECONDS))

    return ready


def kafka_alive(port: int) -> Health:
    """Alive while Metadata is answered, also without a broker in it and however late: the caller bounds the time."""

    async def alive() -> bool:
        return await _brokers(port, _LATE_SECONDS) is not None

    return alive


async def _brokers(port: int, seconds: float) -> int | None:
    """How many brokers Metadata names; None where nobody answers within `seconds`."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # this process only probes
    if not await _listens(port):
        return None  # asking aiokafka would log each refusal
    client = AIOKafkaClient(bootstrap_servers=f"{HOST}:{port}", request_timeout_ms=round(1000 * seconds))
    try:
        await client.bootstrap()
        return len(client.cluster.brokers())
    except (KafkaError, OSError):
        return None
    finally:
        await client.close()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True
