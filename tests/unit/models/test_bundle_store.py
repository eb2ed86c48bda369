"""The store of models: whole or absent, found by name and version, and nothing outside its root."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.unit import bundles
from trapstream.models import bundle_store, deployed
from trapstream.models.card import Card, CardError, sha256_of
from trapstream.models.onnx_graph import write_graph

CARD = Card(
    name="owl", version="1", family="test", classes={"1": "animal"}, image_size=64, stride=32,
    typical_detection_threshold=0.3, conservative_detection_threshold=0.1, precision="float32", sha256="",
    source="drawn", licence="Apache-2.0", file_sha256="f1",
)  # fmt: skip


def graph(value: float = 1.0) -> onnx.ModelProto:
    """A graph whose bytes follow `value`."""
    constant = numpy_helper.from_array(np.full(3, value, np.float32), "k")
    out = helper.make_tensor_value_info("k", TensorProto.FLOAT, [3])
    return helper.make_model(helper.make_graph([], "none", [], [out], [constant]))


def add(home: Path, version: str = "1", value: float = 1.0, **changes: str) -> bundle_store.Bundle:
    card = msgspec.structs.replace(CARD, version=version, **changes)
    return bundles.add(home, card, graph(value), graph(-value))


def everything(home: Path) -> dict[str, bytes]:
    """Every file of the store by its path, without the lock."""
    files = (path for path in home.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(home)): path.read_bytes() for path in files}


def test_a_bundle_is_found_as_it_was_added(tmp_path: Path) -> None:
    """What was added is found by name, and by name and version, with its three files and the graph's own digest."""
    added = add(tmp_path)
    assert added.folder == tmp_path / "models/owl/1"
    assert sorted(path.name for path in added.folder.iterdir()) == ["card.json", "model.onnx", "raw.onnx"]
    assert added.card.sha256 == sha256_of(added.graph)
    assert onnx.load(str(added.folder / bundle_store.RAW)) == graph(-1.0)
    assert bundle_store.find(tmp_path, "owl") == bundle_store.find(tmp_path, "owl@1") == added
    assert bundle_store.find(tmp_path, "owl").card.info.sha256 == added.card.sha256
    assert added in bundle_store.list_bundles(tmp_path)


def test_the_demonstration_model_is_always_there(tmp_path: Path) -> None:
    """An empty home has the package's model, and asking makes nothing in it."""
    assert bundle_store.find(tmp_path / "none", "demonstration").card.version == "1"
    assert [bundle.card.name for bundle in bundle_store.list_bundles(tmp_path / "none")] == ["demonstration"]
    assert not (tmp_path / "none").exists()


def test_without_a_version_the_default_one_else_the_newest(tmp_path: Path) -> None:
    """The version imported last answers to the bare name until another is made the default."""
    for moment, version in enumerate(("2", "10", "9")):
        os.utime(add(tmp_path, version).folder / "card.json", (moment, moment))
    assert bundle_store.find(tmp_path, "owl").card.version == "9"
    deployed.write(tmp_path, deployed.Deployed().with_default("owl", "2"))
    assert bundle_store.find(tmp_path, "owl").card.version == "2"


def test_the_same_bundle_again_changes_nothing(tmp_path: Path) -> None:
    """Adding the same twice is no error, and leaves the first where it was."""
    first = add(tmp_path)
    before = everything(tmp_path)
    moment = (first.folder / "card.json").stat().st_mtime_ns
    assert add(tmp_path) == first
    assert everything(tmp_path) == before
    assert (first.folder / "card.json").stat().st_mtime_ns == moment


def test_another_bundle_of_the_same_name_is_refused(tmp_path: Path) -> None:
    """Neither another graph nor another card replaces what is there; the message says what to do."""
    add(tmp_path)
    before = everything(tmp_path)
    with pytest.raises(bundle_store.BundleExists, match=r"another owl@1 .*--version"):
        add(tmp_path, value=2.0)
    with pytest.raises(bundle_store.BundleExists, match=r"another owl@1 .*--version"):
        add(tmp_path, licence="MIT")
    assert everything(tmp_path) == before


def test_a_taken_name_is_told_before_the_work(tmp_path: Path) -> None:
    """Another file's bundle takes a name, the same file's does not, and the package's own always does."""
    add(tmp_path)
    bundle_store.unless_taken(tmp_path, "owl", "1", "f1")
    bundle_store.unless_taken(tmp_path, "owl", "2", "f2")
    for name in ("owl", "demonstration"):
        with pytest.raises(bundle_store.BundleExists):
            bundle_store.unless_taken(tmp_path, name, "1", "f2")


@pytest.mark.parametrize(
    "text", ["", ".", "..", "../up", "a/b", "/etc", ".hidden", "a@b", "a\n", "é", "a" * 101, "a b"]
)
def test_a_name_that_is_no_file_name_is_refused(text: str, tmp_path: Path) -> None:
    """Neither a name nor a version can be a path."""
    for name, version in ((text, "1"), ("owl", text)):
        with pytest.raises(bundle_store.StoreError, match="can be no"):
            bundle_store.folder(tmp_path, name, version)


@given(st.text(max_size=12), st.text(max_size=12))
def test_no_label_leads_out_of_the_store(name: str, version: str) -> None:
    """Whatever is asked for, what is looked at lies below the home's models, or the answer is no."""
    home = Path("/nowhere/home")
    try:
        found = bundle_store.folder(home, name, version)
    except bundle_store.StoreError:
        return
    assert Path(os.path.normpath(found)).relative_to(home / "models").parts == (name, version)


def test_a_label_that_is_a_path_finds_nothing(tmp_path: Path) -> None:
    """`find` does not follow a label out of its root, though there is a bundle."""
    outside = add(tmp_path / "other").folder
    add(tmp_path / "home")
    for label in (f"{outside.parent}@1", "../../other/models/owl@1", "owl@../../../other/models/owl/1", "@", "..@1"):
        with pytest.raises(bundle_store.NoSuchModel, match="no model"):
            bundle_store.find(tmp_path / "home", label)


def test_what_check_refuses_is_not_kept(tmp_path: Path) -> None:
    """The check sees the whole bundle; what it raises is raised, and nothing is left."""
    seen = []

    def check(bundle: bundle_store.Bundle) -> None:
        seen.append((bundle.graph.exists(), bundle.card.sha256 == sha256_of(bundle.graph)))
        raise bundle_store.StoreError("not equal")

    with pytest.raises(bundle_store.StoreError, match="not equal"):
        bundle_store.keep(tmp_path, CARD, lambda draft: write_graph(draft / bundle_store.GRAPH, graph()), check)
    assert seen == [(True, True)]
    assert everything(tmp_path) == {}
    assert not (tmp_path / "models/owl").exists()


@pytest.mark.parametrize("limit", [10, 120, 200])
def test_a_full_disk_leaves_nothing(limit: int, tmp_path: Path) -> None:
    """A write that fails, at whichever of the files, ends in one line and an empty store."""
    add(tmp_path, "0")
    before = everything(tmp_path)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        with pytest.raises(bundle_store.StoreError, match=r"could not be written .*make room"):
            add(tmp_path, "1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert everything(tmp_path) == before


def test_what_a_killed_import_left_is_removed(tmp_path: Path) -> None:
    """The draft of a process that was killed goes with the next import."""
    program = """
        import os, signal, sys
        from pathlib import Path
        from tests.unit.models.test_bundle_store import CARD
        from trapstream.models import bundle_store

        def write(draft):
            (draft / "model.onnx").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

        bundle_store.keep(Path(sys.argv[1]), CARD, write)
    """
    models = bundle_store.models_folder(tmp_path)
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), tmp_path], check=False)
    assert len([path for path in models.iterdir() if path.is_dir()]) == 1
    add(tmp_path)
    assert [path.name for path in models.iterdir() if path.is_dir()] == ["owl"]


def test_a_damaged_bundle_does_not_hide_the_others(tmp_path: Path) -> None:
    """A graph that is not the card's is named when it is asked for; another model is found all the same."""
    damaged = add(tmp_path)
    add(tmp_path, name="lynx")
    damaged.graph.write_bytes(b"other")
    with pytest.raises(CardError, match="is not the graph"):
        bundle_store.find(tmp_path, "owl@1")
    (damaged.folder / "card.json").write_text("{")
    with pytest.raises(CardError, match=r"owl/1/card\.json"):
        bundle_store.find(tmp_path, "owl")
    assert bundle_store.find(tmp_path, "lynx").card.name == "lynx"
    with pytest.raises(bundle_store.NoSuchModel, match="model ls"):
        bundle_store.find(tmp_path, "wolf")
