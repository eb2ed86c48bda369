"""Whether a server is ready: asked over its own protocol, never guessed from an open port."""

import asyncio
import logging

import aiohttp
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from trapstream.local.child import Health
from trapstream.local.ports import HOST

_SECONDS = aiohttp.ClientTimeout(total=2)


async def http_status(port: int, path: str) -> int | None:
    """The status of a GET, or None where nobody answers."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_SECONDS) as session,
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


def kafka_ready(port: int) -> Health:
    """Ready once Metadata names a live broker: a fenced one (just restarted) is not in it."""

    async def ready() -> bool:
        if not await _listens(port):
            return False  # asking aiokafka would log each refusal
        client = AIOKafkaClient(bootstrap_servers=f"{HOST}:{port}", request_timeout_ms=2000)
        try:
            await client.bootstrap()
            return bool(client.cluster.brokers())
        except (KafkaError, OSError):
            return False
        finally:
            await client.close()

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # this process only probes
    return ready


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True
