"""The benchmark's own rules: when runs agree, what a record says, what a table and a page hold."""

import json
import random
import re
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench import compare, load, report
from bench.cameras import due_times
from bench.records import Book, Record, Runs, record, until_stable
from bench.tools import tensorrt_table
from trapstream.models.plan_key import Gpu, PlanKey, profiles

values = st.floats(0.1, 1e6)


@given(st.lists(values, min_size=8, max_size=8))
def test_runs_repeat_until_the_last_three_agree(given: list[float]) -> None:
    """There are as many runs as it takes for three in a row to lie within 5 % of their median, at most the limit."""
    left = iter(given)
    runs = until_stable(lambda: next(left), 8)
    agree = [
        number
        for number in range(3, 9)
        for low, median, high in [sorted(given[number - 3 : number])]
        if (high - low) / median <= 0.05
    ]
    assert len(runs.values) == (agree[0] if agree else 8)
    assert runs.stable == bool(agree)
    assert runs.value == sorted(runs.values[-3:])[1]


@given(values, values)
def test_a_target_is_reached_or_not(value: float, target: float) -> None:
    """A figure is held against what it should be at least, or at most."""
    assert record("x", "x", Runs((value,)), "x", at_least=target).reached is (value >= target)
    assert record("x", "x", Runs((value,)), "x", at_most=target).reached is (value <= target)
    assert record("x", "x", Runs((value,)), "x").reached is None


def book(tmp_path: Path) -> Book:
    """Two records that were told."""
    made = Book(tmp_path / "lines.jsonl", {"quick": True})
    made.add(record("pipeline", "pipeline / loop, 1280 x 960", Runs((0.9, 0.95, 0.92)), "x", at_least=0.9))
    made.add(
        Record(
            bench="loop", what="<loop>", value=140, unit="images/s", runs=(140.0, 150.0), details={"verdict": "a < b"}
        )
    )
    return made


def test_a_record_is_a_line_with_all_that_it_depends_on(tmp_path: Path) -> None:
    """Each record is one JSON line, written at once, with commit, versions, machine, load and configuration."""
    book(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [line["what"] for line in lines] == ["pipeline / loop, 1280 x 960", "<loop>"]
    for line in lines:
        assert {"commit", "processor", "cores", "memory_gb", "gpu", "versions"} <= set(line["machine"])
        assert line["configuration"] == {"quick": True}
        assert line["load"] >= 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["at"])


def test_a_page_stands_alone(tmp_path: Path) -> None:
    """The page holds every figure, a bar for each and the verdict, refers to nothing outside, and no text breaks it."""
    made = book(tmp_path)
    page = report.write(made, tmp_path / "report").read_text()
    assert "&lt;loop&gt;" in page
    assert "<loop>" not in page
    assert "a &lt; b" in page
    assert page.count("\N{FULL BLOCK}" * 19) == 2, "the largest of each unit has the whole width"
    assert str(made.machine["processor"])[:20] in page
    assert not re.search(r"(src|href)=|@import|url\(", page)


def test_a_table_of_a_benchmark_shows_value_target_and_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed has each figure with its runs and target, whether that is reached, and the verdict below."""
    report.show(book(tmp_path))
    header, ratio, loop, verdict = capsys.readouterr().out.rstrip().splitlines()
    assert header.split() == ["measure", "value", "unit", "runs", "target"]
    assert re.search(r"1280 x 960 .* 0\.92 +x +0\.9 0\.95 0\.92 +>= 0\.9 .*reached", ratio)
    assert re.search(r"<loop> .* 140 +images/s +140 150", loop)
    assert verdict == "<loop>: a < b"


def test_sides_of_a_comparison_are_settings() -> None:
    """A side is `default` or settings, with or without the prefix; anything else is told."""
    assert compare.settings_of("default") == {}
    assert compare.settings_of("DECODERS=2,TRAPSTREAM_BATCH=4") == {"TRAPSTREAM_DECODERS": "2", "TRAPSTREAM_BATCH": "4"}
    for wrong in ("decoders", "=2", "A=1,,B=2"):
        with pytest.raises(click.UsageError, match="no side"):
            compare.settings_of(wrong)


@pytest.mark.parametrize("text", ["1280", "axb", "0x0", "32x32", "640x480x3"])
def test_a_size_that_is_none_is_told(text: str) -> None:
    """What is no size is wrong usage."""
    with pytest.raises(click.BadParameter, match="no size"):
        load.parse_size(text)


def test_a_load_names_images_again_and_again(tmp_path: Path) -> None:
    """A manifest names each image in turn under names of their own; of spoiled ones so many in a hundred are bad."""
    path = load.write_manifest(tmp_path / "list.jsonl", ["file:///a", "file:///b"], 5)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["uri"][-1] for line in lines] == ["a", "b", "a", "b", "a"]
    assert len({line["file"] for line in lines}) == 5
    image = tmp_path / "one image.jpg"
    Image.new("RGB", (64, 48)).save(image)
    found = load.spoiled([image.as_uri()], tmp_path / "bad", 0.01)
    assert [uri for uri in found if uri != image.as_uri()] == [found[99]]
    assert load.local(found[99]).read_bytes() != image.read_bytes()


@given(st.floats(0.5, 200), st.floats(0.1, 20), st.integers(0, 99))
def test_live_images_are_due_at_the_rate_and_keep_no_step(rate: float, seconds: float, seed: int) -> None:
    """One image is due at a moment by chance in each interval of the rate, in order, for as long as is asked."""
    dues = due_times(rate, seconds, random.Random(seed))
    assert len(dues) == round(rate * seconds)
    assert all(number <= at * rate * (1 + 1e-9) and at * rate <= number + 1 for number, at in enumerate(dues))


def test_the_table_of_a_plan_says_where_it_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a GPU, and without the model: one line, and no table."""

    def missing(_: str) -> None:
        raise OSError

    monkeypatch.setattr("ctypes.CDLL", missing)
    for model, said in (("demonstration", "run this where the GPU is"), ("yeti", "no model yeti here")):
        assert tensorrt_table.main([model, "--home", str(tmp_path)]) == 1
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert said in err


def test_what_is_measured_of_a_plan() -> None:
    """Each usual shape by the number of its profile, with one image, eight and the most; not the open profile."""
    made = profiles(1280, 64, (None, None, None, 3), 32)
    key = PlanKey("m@1", "0", "float16", "11", Gpu("a GPU", (9, 0)), made)
    found = tensorrt_table.shapes(key)
    assert len(found) == 3 * (len(made) - 1)
    assert {shape[0] for _, shape in found} == {1, 8, 32}
    assert all(made[number].smallest[1:] == shape[1:] == made[number].largest[1:] for number, shape in found)


@given(st.floats(0.01, 1e6))
def test_trtexec_is_read(rate: float) -> None:
    """Its throughput is found among its lines; where there is none the last line is what the user gets."""
    said = f"[I] === Performance summary ===\n[I] Throughput: {rate:.4f} qps\n[I] Latency: min = 1 ms"
    assert tensorrt_table.runs_per_second(said) == pytest.approx(rate, abs=1e-4)
    with pytest.raises(tensorrt_table.NotMeasuredError, match="Engine could not be loaded"):
        tensorrt_table.runs_per_second("[I] Starting\n[E] Engine could not be loaded\n")
