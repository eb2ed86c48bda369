"""The rendered entries in model_repository/examples: what deploying makes of the demonstration model."""

from pathlib import Path

import onnx
import pytest

import model_repository
from trapstream.models.bundle_store import Bundle
from trapstream.models.card import read_card
from trapstream.models.plan_key import Gpu, PlanKey, profiles
from trapstream.models.repository_entry import CpuServing, render_cpu, render_plan
from trapstream.models.tensorrt_plan import Plan, data_dependent, input_dims

FOLDER = Path(model_repository.__path__[0])
NAME, INSTANCES, BATCH = "demonstration@1", 4, 32
FILES = {
    "cpu": {"config.pbtxt", "1/model.onnx", "1/model.py", "2/model.py"},
    "tensorrt": {"config.pbtxt", "1/model.plan"},
}
"""Of each kind of entry; model_repository/README.md draws them."""


def rendered(kind: str, repository: Path) -> Path:
    """The entry of the demonstration model, by the functions that deploy it; its plan has no content."""
    bundle = Bundle(FOLDER / "demonstration", read_card(FOLDER / "demonstration" / "card.json"))
    if kind == "cpu":
        return render_cpu(bundle.graph, NAME, repository, CpuServing(instances=INSTANCES))
    graph, card = onnx.load(str(bundle.graph)), bundle.card
    shapes = profiles(card.image_size, card.stride, input_dims(graph), BATCH)
    key = PlanKey(
        label=bundle.label, model_sha256=card.sha256, precision=card.precision, tensorrt="11", gpu=Gpu("any", (9, 0)),
        profiles=shapes,
    )  # fmt: skip
    path = repository / "plan"
    path.touch()
    plan = Plan(path, key, recordable=not data_dependent(graph), built=False)
    return render_plan(plan, NAME, repository)


@pytest.mark.parametrize("kind", FILES)
def test_an_example_is_what_is_deployed(kind: str, tmp_path: Path) -> None:
    """The committed configuration is that of a deployed demonstration model, byte for byte."""
    example = FOLDER / "examples" / kind / "config.pbtxt"
    made = rendered(kind, tmp_path) / "config.pbtxt"
    assert example.read_text() == made.read_text(), "`python -m tests.unit.models.test_examples` renders it anew"


@pytest.mark.parametrize("kind", FILES)
def test_an_entry_has_the_files_that_the_readme_draws(kind: str, tmp_path: Path) -> None:
    """Nothing lies in an entry but its configuration and Triton's versions, and the README names each file."""
    entry = rendered(kind, tmp_path)
    found = {str(path.relative_to(entry)) for path in entry.rglob("*") if path.is_file()}
    assert found == FILES[kind]
    assert all(name in (FOLDER / "README.md").read_text() for name in found)


if __name__ == "__main__":
    import tempfile

    for each in FILES:
        with tempfile.TemporaryDirectory() as scratch:
            text = (rendered(each, Path(scratch)) / "config.pbtxt").read_text()
        target = FOLDER / "examples" / each / "config.pbtxt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
