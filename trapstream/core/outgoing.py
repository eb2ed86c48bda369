"""Connections to servers that a user named, made by aiohttp: each address is checked where the connection is made."""

import socket
from typing import Any

from trapstream.core.addresses import is_public


class NotPublic(OSError):
    """A connection to an address that may not be reached. One text for all: aiohttp passes equal errors on as one."""

    def __init__(self) -> None:
        super().__init__("not a public address")


def public_socket(info: tuple[Any, ...]) -> socket.socket:
    """A `socket_factory` of aiohttp's connector that reaches the public internet alone. NotPublic.

    It stands behind DNS, so no second answer can slip past it, and behind every spelling of a numeric address.
    """
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise NotPublic
    return socket.socket(family, kind, protocol)
