"""What reaches the log."""

import io
import logging

import pytest

from trapstream.core import log
from trapstream.core.log import Thinned


def _record(line: int, second: float) -> logging.LogRecord:
    record = logging.LogRecord("aiokafka", logging.ERROR, "client.py", line, "no broker", (), None)
    record.created = second
    return record


def test_one_place_is_heard_once_in_a_while() -> None:
    """A message repeated within the interval is dropped; another place's is not, nor the same one later."""
    thinned = Thinned(seconds=10)
    heard = [
        thinned.filter(_record(line, second)) for line, second in ((1, 100), (1, 101), (2, 101), (1, 109), (1, 111))
    ]
    assert heard == [True, False, True, False, True]


def test_a_logger_follows_the_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds a logger from before writes where logging goes now, not to a stream that is closed since."""
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stderr", first)
    log.setup()
    held = log.get_logger()
    held.warning("one")
    said = first.getvalue()
    first.close()
    monkeypatch.setattr("sys.stderr", second)
    log.setup()
    held.warning("two")
    assert "one" in said and "two" in second.getvalue()
