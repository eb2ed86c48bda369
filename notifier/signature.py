"""How a webhook is signed: as Standard Webhooks says (specification 1.0), so that its libraries can check it. Pure."""

import base64
import binascii
import hmac

PREFIX = "whsec_"
"""Begins a secret that is written in base64."""


class BadSecret(ValueError):
    """A secret that cannot be used, and why, in one line."""


def key_of(secret: str) -> bytes:
    """The bytes to sign with: those that stand in base64 after `whsec_`, else the text's own. BadSecret."""
    if not secret.startswith(PREFIX):
        key = secret.encode()
    else:
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise BadSecret("after whsec_ stands the secret in base64") from None
    if len(key) < 16:
        raise BadSecret("the secret has fewer than 16 bytes")
    return key


def headers(key: bytes, event: str, now: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt. `event`: the same for each attempt; `now`: seconds since 1970."""
    content = f"{event}.{now}.".encode() + body
    digest = base64.b64encode(hmac.digest(key, content, "sha256")).decode()
    return {"webhook-id": event, "webhook-timestamp": str(now), "webhook-signature": f"v1,{digest}"}
