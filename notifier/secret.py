"""The secret that webhooks are signed with: the operator's, or one that is made once and kept."""

import base64
import contextlib
import os
import secrets

from notifier import webhook_rules
from trapstream.core.errors import Fatal
from trapstream.core.settings import NotifierSettings


def signing_key(settings: NotifierSettings) -> bytes:
    """The key. Fatal if there is none that can be used."""
    if settings.webhook_secret is not None:
        try:
            return webhook_rules.key_of(settings.webhook_secret.get_secret_value())
        except webhook_rules.BadSecret as error:
            raise Fatal(f"TRAPSTREAM_WEBHOOK_SECRET cannot be used: {error}") from None
    path = settings.folder / "secret"
    try:
        if not path.exists():
            settings.folder.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".secret.{os.getpid()}")
            _write(fresh)
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(fresh)  # which does not replace: of two that begin together one's is kept
            fresh.unlink()
        return webhook_rules.key_of(path.read_text().strip())
    except OSError as error:
        raise Fatal(f"the secret of webhooks in {path} cannot be kept: {error.strerror}; permit it") from error
    except (webhook_rules.BadSecret, UnicodeDecodeError) as error:
        raise Fatal(f"{path} holds no secret ({error}); move it away, and another one is made") from None


def _write(path: os.PathLike[str]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(webhook_rules.PREFIX + base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
