"""Free ports on 127.0.0.1, kept from one start to the next."""

import random
import socket
from collections.abc import Iterable, Mapping

HOST = "127.0.0.1"
_RANGE = range(20_000, 32_000)
"""Below the range from which outgoing connections take theirs, so that a restarted child finds its port free."""


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT does not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose(names: Iterable[str], kept: Mapping[str, int]) -> dict[str, int]:
    """A port for each name: the one it had where that is free, else a new one."""
    chosen: dict[str, int] = {}
    for name in names:
        port = kept.get(name)
        if port is None or port in chosen.values() or not is_free(port):
            port = next(p for p in random.sample(_RANGE, len(_RANGE)) if p not in chosen.values() and is_free(p))
        chosen[name] = port
    return chosen
