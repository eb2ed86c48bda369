"""What reaches the log."""

import io
import logging
import subprocess
import sys

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


_DAMAGED = """
from tests import images
from tests.unit.images.tiffs import PICTURE, tiff
from trapstream.core.errors import Permanent
from trapstream.images.header import read_header
from trapstream.images.pillow_decode import pillow_decode
from trapstream.images.shot import read_shot
for data in (images.damaged_exif(), tiff(PICTURE | {277: 4867}), tiff(PICTURE)[:-20], images.palette(transparent=True)):
    read_shot(data)
    try:
        pillow_decode(data, read_header(data, 1_000_000))
    except Permanent:
        pass
"""


@pytest.mark.parametrize("is_set_up", [True, False])
def test_pillows_remarks_stay_unsaid(is_set_up: bool) -> None:
    """Damaged files leave no line of Pillow's, with the paths of its source files, on the terminal."""
    script = f"from trapstream.core import log\nlog.setup()\n{_DAMAGED}" if is_set_up else _DAMAGED
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60).stderr
    assert (told == "") is is_set_up
    if not is_set_up:
        assert "TiffImagePlugin.py" in told and "More samples per pixel" in told, "the files make Pillow speak"
