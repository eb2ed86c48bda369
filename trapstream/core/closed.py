"""A mend of aiokafka's connection: on uvloop a write to a transport that has just been closed is a RuntimeError.

asyncio's own transports drop it, and aiokafka expects no more than an OSError there, as others have found. So a broker
that died in that very moment ended whoever asked, where all others wait for it to come back.
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


def _mended(self: Any, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        if not self._writer.transport.is_closing():
            raise
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} is closed") from error


def mend() -> None:
    """Has every client of this process meet a closed connection as one that is broken."""
    AIOKafkaConnection.send = _mended
