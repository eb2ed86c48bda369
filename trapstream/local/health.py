"""Whether a server is ready: asked over its own protocol, never guessed from an open port."""

import logging

import aiohttp
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

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


async def http_ok(port: int, path: str) -> bool:
    """Ready once `path` answers 200."""
    return await http_status(port, path) == 200


async def http_alive(port: int, path: str) -> bool:
    """Alive while `path` is answered, whatever the status and however late: the caller bounds the time."""
    return await http_status(port, path, None) is not None


async def kafka_ready(port: int) -> bool:
    """Ready once Metadata names a live broker: a fenced one (just restarted) is not in it."""
    return bool(await _brokers(port, _SECONDS))


async def kafka_alive(port: int) -> bool:
    """Alive while Metadata is answered, also without a broker in it and however late: the caller bounds the time."""
    return await _brokers(port, _LATE_SECONDS) is not None


async def _brokers(port: int, seconds: float) -> int | None:
    """How many brokers Metadata names; None where nobody answers within `seconds`."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # this process only probes
    client = AIOKafkaClient(bootstrap_servers=f"{HOST}:{port}", request_timeout_ms=round(1000 * seconds))
    try:
        await client.bootstrap()
        return len(client.cluster.brokers())
    except (KafkaError, OSError):
        return None
    finally:
        await client.close()
