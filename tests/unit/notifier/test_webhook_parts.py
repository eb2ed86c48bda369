"""What a webhook is made of: its signature, its secret, its patience, and the file of cursors."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from notifier import secret, webhook_rules
from notifier.webhook_cursors import FILE, Cursor, WebhookCursors
from trapstream.core.errors import Fatal
from trapstream.core.settings import NotifierSettings


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example that the specification's libraries are tested with."""
    key = webhook_rules.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = webhook_rules.headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")


@given(st.binary(), st.binary(), st.integers(0, 1 << 33), st.integers(0, 1 << 33))
def test_another_body_or_another_time_is_another_signature(one: bytes, other: bytes, then: int, later: int) -> None:
    """And the same ones give the same."""
    key = b"k" * 32
    same = (one, then) == (other, later)
    assert (webhook_rules.headers(key, "a/0", then, one) == webhook_rules.headers(key, "a/0", later, other)) == same


@pytest.mark.parametrize("text", ["", "short", "whsec_", "whsec_!!!", "whsec_YWJj"])
def test_a_secret_that_is_none(tmp_path: Path, text: str) -> None:
    """The notifier does not start, and its line does not have the secret."""
    with pytest.raises(Fatal, match="TRAPSTREAM_WEBHOOK_SECRET") as error:
        secret.signing_key(NotifierSettings(home=tmp_path, webhook_secret=SecretStr(text)))
    assert not text or text not in str(error.value).replace("after whsec_ stands", "")
    assert "sixteen" not in repr(NotifierSettings(home=tmp_path, webhook_secret=SecretStr("sixteen bytes long")))


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    """For its owner's eyes only, and the same after a restart; one that was damaged is told."""
    settings = NotifierSettings(home=tmp_path)
    made = secret.signing_key(settings)
    path = settings.folder / "secret"
    assert len(made) == 32 and path.stat().st_mode & 0o777 == 0o600
    assert secret.signing_key(settings) == made and [each.name for each in settings.folder.iterdir()] == ["secret"]
    path.write_text("whsec_?")
    with pytest.raises(Fatal, match="move it away"):
        secret.signing_key(settings)


@given(st.integers(1, 10_000))
def test_the_wait_grows_and_has_an_end(failures: int) -> None:
    """It doubles from a second, up to five minutes."""
    assert webhook_rules.retry_delay(failures) == (min(2 ** (failures - 1), 300) if failures < 10 else 300)


@given(st.integers(1, 100), st.floats(0, 1e6))
def test_an_event_is_given_up(attempts: int, age: float) -> None:
    """After so many attempts, or so long: not before, and for certain then."""
    assert webhook_rules.gives_up(attempts, age, 20, 3600.0) == (attempts >= 20 or age >= 3600.0)


def test_cursors_survive(tmp_path: Path) -> None:
    """What was saved is there after a restart, without the address; jobs that are gone are forgotten."""
    cursors = WebhookCursors(tmp_path)
    assert cursors.get("a", "https://x/secret") is None
    cursor = Cursor(7, {"C7": 5.0, None: 6.0})
    cursors.put("a", "https://x/secret", cursor)
    cursors.put("b", "https://x/secret", Cursor(1, {}, done=True))
    again = WebhookCursors(tmp_path)  # as after a kill: nothing was closed
    assert again.get("a", "https://x/secret") == cursor and again.get("b", "https://x/secret") == Cursor(1, {}, True)
    again.keep_only({"b"})
    assert again.get("a", "https://x/secret") is None
    again.close()
    cursors.close()
    assert b"secret" not in (tmp_path / FILE).read_bytes()


def test_a_damaged_file_of_cursors_is_told(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / FILE).write_bytes(b"no database, and longer than a header of one" * 100)
    with pytest.raises(Fatal, match="move it away"):
        WebhookCursors(tmp_path)
