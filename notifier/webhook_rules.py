"""How a webhook is signed, when it is tried again, and when its event is given up. Pure.

The signature is that of Standard Webhooks (specification 1.0), so that its libraries can check it.
"""

import base64
import hmac

PREFIX = "whsec_"
"""Begins a secret that is written in base64."""
_FIRST_DELAY, _MOST_DELAY = 1.0, 300.0


class BadSecret(ValueError):
    """A secret that cannot be used, and why, in one line."""


def key_of(secret: str) -> bytes:
    """The bytes to sign with: those that stand in base64 after `whsec_`, else the text's own. BadSecret."""
    if not secret.startswith(PREFIX):
        key = secret.encode()
    else:
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except ValueError:
            raise BadSecret("after whsec_ stands the secret in base64") from None
    if len(key) < 16:
        raise BadSecret("the secret has fewer than 16 bytes")
    return key


def headers(key: bytes, event: str, now: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt. `event`: the same for each attempt; `now`: seconds since 1970."""
    content = f"{event}.{now}.".encode() + body
    digest = base64.b64encode(hmac.digest(key, content, "sha256")).decode()
    return {"webhook-id": event, "webhook-timestamp": str(now), "webhook-signature": f"v1,{digest}"}


def retry_delay(failures: int) -> float:
    """Seconds after the `failures`th failure in a row, of whichever events: 1, 2, 4 and on, at the most 300.

    It goes on growing over the events that are given up, so a dead receiver is asked once in five minutes.
    """
    return min(_FIRST_DELAY * 2.0 ** min(failures - 1, 30), _MOST_DELAY)


def gives_up(attempts: int, age: float, most_attempts: int, most_age: float) -> bool:
    """Whether an event is given up that is `age` seconds old and failed `attempts` times: once at least."""
    return attempts >= most_attempts or age >= most_age
