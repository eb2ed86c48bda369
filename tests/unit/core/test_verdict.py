"""What limits the rate, against pipelines whose capacities are known."""

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trapstream.core.verdict import KINDS, Load, Stage, StageTotals, Totals, between, judge, merged

INNER = ("fetch", "decode", "detect", "consumer")
capacities = st.fixed_dictionaries({name: st.floats(1, 10_000) for name in INNER})
workers = st.fixed_dictionaries({name: st.integers(1, 40) for name in INNER})


def pipeline(
    could: dict[str, float], many: dict[str, int], rate: float | None = None, starved: float = 0.0, cpu: float = 0.1
) -> Load:
    """A load in which each stage could do so much, and which runs at `rate`, or as fast as the slowest lets it."""
    rate = rate or min(could.values())
    stages = [Stage(name=name, workers=many[name], busy=rate / could[name], rate=rate) for name in could]
    stages += [
        Stage(name="emit", workers=1, busy=1.0, rate=rate),
        Stage(name="fold", workers=1, busy=1.0, rate=rate),
        Stage(name="slabs", workers=4, busy=1.0, rate=rate),
    ]
    return Load(seconds=10, stages=tuple(stages), starved=starved, cores=2, processor=cpu)


@given(capacities, workers)
def test_the_slowest_stage_is_named_with_what_one_more_gives(could: dict[str, float], many: dict[str, int]) -> None:
    """The slowest stage limits; one more worker gives its share of the rate, as far as the next stage goes."""
    slowest, next_one = sorted(could, key=lambda name: could[name])[:2]
    assume(could[next_one] > could[slowest] * 1.001)
    found = judge(pipeline(could, many))
    assert found is not None
    assert (found.limits, found.busiest) == (slowest, slowest)
    assert found.rate == pytest.approx(could[slowest])
    assert found.could == pytest.approx({name: most for name, most in could.items() if found.rate / most > 0.01})
    wanted = min((many[slowest] + 1) / many[slowest], could[next_one] / could[slowest])
    assert found.gain == pytest.approx(wanted)
    assert found.sentence.startswith(f"{slowest} limits: {many[slowest]} of {many[slowest]} ")


@given(capacities, workers, st.floats(0.93, 1.0))
def test_full_cores_limit_what_computes(could: dict[str, float], many: dict[str, int], cpu: float) -> None:
    """Where all cores are busy a stage that computes gains nothing from one more of it; one that waits is named."""
    slowest = min(could, key=lambda name: could[name])
    found = judge(pipeline(could, many, cpu=cpu))
    assert found is not None
    assert found.limits == ("processor" if KINDS[slowest].computes else slowest)
    assert found.busiest == slowest


@given(capacities, workers, st.floats(0.1, 0.8), st.floats(0.5, 1.0))
def test_a_slow_source_is_named(could: dict[str, float], many: dict[str, int], part: float, starved: float) -> None:
    """Where no stage is busy and fetch waits for references, the source limits."""
    load = pipeline(could, many, rate=part * min(could.values()), starved=starved, cpu=1.0)
    found = judge(load)
    assert found is not None
    assert found.limits == "publish"
    assert found.gain is None


@given(capacities, workers, st.floats(0.1, 0.8))
def test_full_slabs_limit_only_where_nothing_else_does(
    could: dict[str, float], many: dict[str, int], part: float
) -> None:
    """Slabs are full whenever something after them limits; they are named where nothing is busy, yet nothing waits."""
    found = judge(pipeline(could, many, rate=part * min(could.values())))
    assert found is not None
    assert found.limits == "slabs"


@given(capacities, workers)
def test_a_busy_sender_limits_once_work_waits_for_it(could: dict[str, float], many: dict[str, int]) -> None:
    """Emit and fold take more at once the more waits: they limit only where work is held up before them."""
    load = pipeline(could, many, rate=0.5 * min(could.values()))
    for name in ("emit", "fold"):
        held = tuple(msgspec.structs.replace(s, held=1.0) if s.name == name else s for s in load.stages)
        found = judge(msgspec.structs.replace(load, stages=held))
        assert found is not None
        assert found.limits == name


@given(capacities, workers)
def test_the_fold_limits_whatever_the_consumers_do(could: dict[str, float], many: dict[str, int]) -> None:
    """The log lets consumers run ahead, so a busy fold with results waiting is what a job's end waits for."""
    load = pipeline(could, many)
    slow = Stage(name="fold", workers=1, busy=0.95, rate=min(could.values()) / 2, held=0.9)
    found = judge(msgspec.structs.replace(load, stages=(*[s for s in load.stages if s.name != "fold"], slow)))
    assert found is not None
    assert found.limits == "fold"
    assert found.rate == slow.rate


@given(capacities, workers, st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.01, 1.0))
def test_a_gain_is_never_more_than_the_processor_has(
    could: dict[str, float], many: dict[str, int], cpu: float, starved: float, part: float
) -> None:
    """No verdict promises a stage that computes more than the cores have left; every verdict is one line."""
    found = judge(pipeline(could, many, part * min(could.values()), starved, cpu))
    assert found is not None
    assert "\n" not in found.sentence
    if found.gain is not None and found.limits != "processor":
        assert found.gain >= 1.0
        assert not KINDS[found.limits].computes or found.gain <= max(1.0, 1 / max(cpu, 0.01)) + 1e-9


def test_nothing_done_has_no_verdict() -> None:
    """Without an image there is no verdict."""
    assert judge(None) is None
    assert judge(Load(seconds=1, stages=())) is None
    assert judge(Load(seconds=1, stages=(Stage(name="fetch", workers=1, busy=1.0, rate=0.0),))) is None


@given(capacities, workers, st.integers(1, 5))
def test_several_consumers_add_up(could: dict[str, float], many: dict[str, int], count: int) -> None:
    """Consumers side by side have the sum of their rates and workers; the detector that they share counts once."""
    load = pipeline(could, many)
    found = {stage.name: stage for stage in merged([load] * count).stages}  # type: ignore[union-attr]
    for stage in load.stages:
        times = 1 if stage.name == "detect" else count
        assert found[stage.name].rate == pytest.approx(times * stage.rate)
        assert found[stage.name].workers == times * stage.workers
        assert found[stage.name].busy == pytest.approx(stage.busy)
    assert merged([]) is None


def test_the_sentence_says_what_to_do() -> None:
    """The sentence names the stage, its workers, what the next could do, and what one more gives."""
    found = judge(pipeline({"decode": 83.0, "detect": 116.0}, {"decode": 2, "detect": 1}))
    assert found is not None
    assert found.sentence == (
        "decode limits: 2 of 2 threads 100% busy, 83 images/s; detect could do 116; "
        "a third thread (TRAPSTREAM_DECODERS=3) would give about 1.4 x"
    )


def test_totals_become_shares_and_rates() -> None:
    """Between two totals, shares are of the time of all workers, and rates are images a second."""
    before = Totals(at=10, stages={"decode": StageTotals(workers=2, busy=5, images=100)}, processor=30, cores=2)
    after = Totals(
        at=20, stages={"decode": StageTotals(workers=2, busy=15, images=300)}, processor=45, cores=2, starved=2.5
    )
    load = between(before, after)
    assert load == Load(
        seconds=10, stages=(Stage(name="decode", workers=2, busy=0.5, rate=20),), starved=0.25, cores=2, processor=0.75
    )
    assert between(after, after) is None
