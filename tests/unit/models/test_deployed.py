"""What is deployed: rules by properties, and a file that two may want to change."""

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import wait_for
from trapstream.models import deployed
from trapstream.models.deployed import Deployed, Deployment

names, versions = st.sampled_from(["owl", "fox"]), st.sampled_from(["1", "2", "2b"])
steps = st.lists(st.tuples(st.booleans(), names, versions), max_size=20)


def lived(history: list[tuple[bool, str, str]]) -> Deployed:
    """What is deployed after `history`: versions noted, or noted and chosen."""
    known = Deployed()
    for chosen, name, version in history:
        known = known.with_version(name, version, Deployment())
        if chosen:
            known = known.with_default(name, version)
    return known


@given(steps)
def test_the_last_one_chosen_is_the_default(history: list[tuple[bool, str, str]]) -> None:
    """The default is the version chosen last, the one before it the last other one, and both stay deployed."""
    known = lived(history)
    for name, found in known.models.items():
        chosen = [version for done, of, version in history if done and of == name]
        assert found.default == (chosen[-1] if chosen else None)
        others = [version for version in chosen if version != found.default]
        assert found.previous == (others[-1] if others else None)
        assert {version for _, of, version in history if of == name} == set(found.versions)


@given(steps, names)
def test_two_rollbacks_are_none(history: list[tuple[bool, str, str]], name: str) -> None:
    """Choosing the default before the present one, twice, ends where it began."""
    known = lived(history)
    previous = known.of(name).previous
    if previous is not None:
        there = known.with_default(name, previous)
        back = there.of(name).previous
        assert back is not None
        assert there.with_default(name, back) == known


@given(steps, st.sets(st.tuples(names, versions)))
def test_what_is_wanted(history: list[tuple[bool, str, str]], in_use: set[tuple[str, str]]) -> None:
    """The defaults are, and what a job uses, but nothing that was never deployed."""
    known = lived(history)
    wanted = known.wanted(in_use)
    assert known.wanted(()) <= wanted
    listed = {(name, version) for name, found in known.models.items() for version in found.versions}
    assert wanted == known.wanted(()) | (in_use & listed)
    assert all(known.of(name).default == version or (name, version) in in_use for name, version in wanted)


@given(steps)
def test_the_file_says_the_same(tmp_path_factory: pytest.TempPathFactory, history: list[tuple[bool, str, str]]) -> None:
    """What was written is what is read."""
    home = tmp_path_factory.mktemp("home")
    assert deployed.read(home) == Deployed()
    deployed.write(home, lived(history))
    assert deployed.read(home) == lived(history)


@pytest.mark.parametrize("text", ["", "{", '{"v": 2}', '{"models": {"owl": {"versions": {"1": {"runtime": "none"}}}}}'])
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    """One line names the file and says what to do; nothing is guessed."""
    deployed.deployed_file(tmp_path).write_text(text)
    with pytest.raises(deployed.DeployedError, match=r"deployed\.json.* again$"):
        deployed.read(tmp_path)


def _hold(home: Path, there: Path) -> None:
    with deployed.alone(home):
        there.touch()
        wait_for("nothing", lambda: False, 600)


def test_one_at_a_time_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    """While one process holds it another is told so at once, and waits if it wants; SIGKILL lets go."""
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path, tmp_path / "there"))
    holder.start()
    wait_for("the holder", (tmp_path / "there").exists)
    with deployed.alone(tmp_path) as held:
        assert not held
    said: list[str] = []

    def wait() -> None:
        said.append("waits")
        holder.kill()

    with deployed.alone(tmp_path, wait) as held:
        assert held
    holder.join()
    assert said == ["waits"]
