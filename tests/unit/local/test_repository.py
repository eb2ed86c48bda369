"""What a starting stack serves: its own model, or what was deployed, and nothing that was left behind."""

from pathlib import Path

import msgspec
import pytest

from tests import stacks
from trapstream.local import repository, triton
from trapstream.local.state import StackError
from trapstream.models import bundle_store, deployed
from trapstream.models.card import read_card, write_card
from trapstream.models.deployed import Deployed, Deployment


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with demonstration@2 and owl@1 imported, beside the package's demonstration@1."""
    monkeypatch.delenv("TRAPSTREAM_BUNDLE", raising=False)
    for name, version in (("demonstration", "2"), ("owl", "1")):
        target = stacks.write_bundle(bundle_store.folder(tmp_path, name, version), name)
        card = read_card(target / bundle_store.CARD)
        write_card(target / bundle_store.CARD, msgspec.structs.replace(card, version=version))
    return tmp_path


def entries(home: Path) -> set[str]:
    return {path.name for path in (home / triton.REPOSITORY).iterdir()}


def deploy(home: Path, *labels: str) -> None:
    """Each becomes the default of its name, in this order."""
    known = Deployed()
    for label in labels:
        name, _, version = label.partition("@")
        known = known.with_version(name, version, Deployment()).with_default(name, version)
    deployed.write(home, known)


def test_its_own_model_where_nothing_was_deployed(home: Path) -> None:
    """It must be served, and entries that an earlier run had left are gone."""
    (home / triton.REPOSITORY / "left@1").mkdir(parents=True)
    assert repository.prepare(home, pytest.fail) == ("demonstration@1",)
    assert entries(home) == {"demonstration@1"}


def test_the_default_versions_and_no_older_ones(home: Path) -> None:
    """Another version of its own model takes that one's place; other names come beside it."""
    deploy(home, "owl@1")
    assert repository.prepare(home, pytest.fail) == ("demonstration@1",)
    assert entries(home) == {"demonstration@1", "owl@1"}
    deploy(home, "demonstration@1", "demonstration@2", "owl@1")
    assert repository.prepare(home, pytest.fail) == ()
    assert entries(home) == {"demonstration@2", "owl@1"}


def test_the_bundle_that_is_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRAPSTREAM_BUNDLE is served whatever was deployed, and instead of the package's."""
    monkeypatch.setenv("TRAPSTREAM_BUNDLE", str(stacks.write_bundle(home / "elsewhere", "fox")))
    assert repository.prepare(home, pytest.fail) == ("fox@1",)
    deploy(home, "fox@3", "demonstration@2")
    said: list[str] = []
    assert repository.prepare(home, said.append) == ("fox@1",)
    assert entries(home) == {"fox@1", "demonstration@2"}
    assert [line[:20] for line in said] == ["fox@3 is not served:"], "a bundle that is gone is said, and stops nothing"


def test_a_model_of_its_own_that_cannot_be_served_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the stack cannot be called up."""
    bundle = stacks.write_bundle(home / "elsewhere", "fox")
    (bundle / bundle_store.GRAPH).write_bytes(b"nothing of the kind")
    monkeypatch.setenv("TRAPSTREAM_BUNDLE", str(bundle))
    with pytest.raises(StackError, match="cannot be served"):
        repository.prepare(home, pytest.fail)
