"""Settings that were tuned: who goes before whom, and what becomes of a file that cannot be used."""

import os
from pathlib import Path

import pytest

from trapstream.local import entry, plan, state, tuned
from trapstream.local.state import StackError
from trapstream.local.tuned import INSTANCES, NAMES, Tuned

PORTS = {name: 21_000 + number for number, name in enumerate(plan.port_names(state.SERVICES))}
CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the caller's settings."""
    for name in (*NAMES, "TRAPSTREAM_CONSUMERS"):
        monkeypatch.delenv(name, raising=False)


def keep(home: Path, cores: int = CORES, **settings: int) -> None:
    """Writes settings, named without their prefix, for this machine."""
    named = {f"TRAPSTREAM_{name}": value for name, value in settings.items()}
    tuned.write(home, Tuned(model="m@1", cores=cores, gain=1.25, settings=named))


def test_a_stack_takes_what_was_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consumer and Triton take the tuned settings in place of the usual ones; the environment goes before them."""
    keep(tmp_path, DECODERS=7, BATCH=3, TRITON_INSTANCES=5)
    given = plan.service("consumer", tmp_path, PORTS).env
    assert (given["TRAPSTREAM_DECODERS"], given["TRAPSTREAM_BATCH"]) == ("7", "3")
    assert given["TRAPSTREAM_SLABS"] == plan.decoding(CORES, 1)["TRAPSTREAM_SLABS"], "what was not tuned is as usual"
    assert INSTANCES not in given
    assert "TRAPSTREAM_BATCH" not in plan.service("aggregator", tmp_path, PORTS).env
    assert entry.default_serving(home=tmp_path).instances == 5
    monkeypatch.setenv("TRAPSTREAM_DECODERS", "2")
    monkeypatch.setenv(INSTANCES, "1")
    assert "TRAPSTREAM_DECODERS" not in plan.service("consumer", tmp_path, PORTS).env, "it comes from the environment"
    assert entry.default_serving(home=tmp_path).instances == 1
    monkeypatch.setenv("TRAPSTREAM_CONSUMERS", "2")
    assert "TRAPSTREAM_BATCH" not in plan.service("consumer", tmp_path, PORTS).env, "it was found with one consumer"


def test_what_was_tuned_elsewhere_is_told_and_not_used(tmp_path: Path) -> None:
    """Where nothing was tuned, nothing is said; settings for another number of cores are named and left."""
    assert (tuned.said(tmp_path), tuned.defaults(tmp_path)) == (None, {})
    keep(tmp_path, DECODERS=7)
    assert "1.25 x" in (tuned.said(tmp_path) or "")
    keep(tmp_path, CORES + 1, DECODERS=7)
    assert "not used" in (tuned.said(tmp_path) or "")
    assert tuned.defaults(tmp_path) == {}
    assert entry.default_serving(home=tmp_path) == entry.default_serving()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"v": 2, "model": "m@1", "cores": 2, "gain": 1, "settings": {}}',
        '{"model": "m@1", "cores": 2, "gain": 1, "settings": {"TRAPSTREAM_ROOTS": 1}}',
        '{"model": "m@1", "cores": 2, "gain": 1, "settings": {"TRAPSTREAM_BATCH": 0}}',
        '{"model": "m@1", "cores": 2, "gain": 1, "settings": {"TRAPSTREAM_BATCH": "8; rm"}}',
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    """A damaged file, one of another version, and settings that are not to be tuned stop the start, with what to do."""
    tuned.settings_file(tmp_path).write_text(text)
    with pytest.raises(StackError, match="bench tune") as told:
        tuned.defaults(tmp_path)
    assert "\n" not in str(told.value)
    assert str(tuned.settings_file(tmp_path)) in str(told.value)
