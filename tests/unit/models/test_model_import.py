"""model import: from a file to a bundle that a job can name, or one line and nothing left behind."""

import pickle
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import models
from tests.unit.models import checkpoints, reference
from tests.unit.models.checkpoints import Maker
from trapstream.cli import main
from trapstream.models import bundle_store, known
from trapstream.models.complete import Rule


@dataclass
class Ran:
    """What the command left."""

    status: int
    out: str
    err: str
    home: Path

    @property
    def line(self) -> str:
        """What it said last."""
        return self.err.strip().splitlines()[-1]

    def imported(self) -> bundle_store.Bundle:
        assert self.status == 0, self.err
        return bundle_store.find(self.home, self.out.strip())

    def refused(self) -> str:
        """The one line of a refusal, after which nothing is there."""
        assert (self.status, self.out) == (1, ""), self.err
        left = [path for path in self.home.rglob("*") if path.is_file() and path.name not in {".lock", "cli.log"}]
        assert left == []
        said = [line for line in self.err.splitlines() if not line.startswith("importing: ")]
        assert len(said) == 1
        assert said[0].startswith("trapstream: ")
        assert "unexpected" not in said[0]
        return said[0]


Command = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """`trapstream model import` in a home of its own."""

    def ran(*arguments: str | Path) -> Ran:
        home = tmp_path / "home"
        status = main.main(["--home", str(home), "model", "import", *map(str, arguments)])
        said = capfd.readouterr()
        return Ran(status, said.out, said.err, home)

    return ran


def checkpoint(path: Path, seed: int = 0) -> Path:
    return checkpoints.write(path, checkpoints.checkpoint(checkpoints.p6(Maker(seed))))


def export(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def test_a_published_file_needs_no_flags(run: Command, tmp_path: Path) -> None:
    """MegaDetector's file becomes a bundle by its name alone, and a job finds it."""
    built = checkpoints.p6(Maker())
    for head in built.modules["model"].modules["13"].modules["m"].modules.values():
        head.numbers["bias"][4::8] = -20  # it never finds anything: the check of an untrained one takes long
    ran = run(checkpoints.write(tmp_path / "md_v5a.0.0.pt", checkpoints.checkpoint(built)))
    assert ran.out == "mdv5a@0.0\n"
    card = ran.imported().card
    assert (card.image_size, card.stride, card.licence) == (1280, 64, "AGPL-3.0")
    assert (card.typical_detection_threshold, card.conservative_detection_threshold) == (0.2, 0.05)
    assert card.classes == {"1": "animal", "2": "person", "3": "vehicle"}
    assert card.source == "md_v5a.0.0.pt"  # and not the address of the published one, whose md5 it has not
    assert "not the published file" in ran.err
    assert "no answers were compared" in ran.err
    assert bundle_store.find(ran.home, "mdv5a").card.info.label == "mdv5a@0.0"


def test_the_bundle_answers_as_the_model_does(run: Command, tmp_path: Path) -> None:
    """Pixels in, detections out: those of the plain reference of the same layers and of MegaDetector's rule."""
    built = checkpoints.p6(Maker(4))
    file = checkpoints.write(tmp_path / "fox.pt", checkpoints.checkpoint(built))
    bundle = run(file, "--image-size", "128").imported()
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 128, 3), np.uint8)
    found, count = ort.InferenceSession(bundle.graph).run(None, {"images": image})
    boxes, scores = reference.predict(built, (image.transpose(0, 3, 1, 2) / 255))
    expected = models.detections(boxes[0].astype(np.float32), scores[0].astype(np.float32), Rule())
    assert count[0] == len(expected) > 5
    np.testing.assert_allclose(found[0, : count[0]], expected, atol=1e-2)


def test_half_precision_is_kept_and_checked(run: Command, tmp_path: Path) -> None:
    """--precision float16 makes a smaller graph and a card that says so; what cannot be halved is refused."""
    built = checkpoints.p6(Maker(4))
    file = checkpoints.write(tmp_path / "fox.pt", checkpoints.checkpoint(built))
    whole = run(file, "--image-size", 128).imported()
    half = run(file, "--image-size", 128, "--version", "1-half", "--precision", "float16").imported()
    assert (whole.card.precision, half.card.precision) == ("float32", "float16")
    assert TensorProto.FLOAT16 in {tensor.data_type for tensor in onnx.load(str(half.graph)).graph.initializer}
    assert (half.folder / bundle_store.RAW).read_bytes() == (whole.folder / bundle_store.RAW).read_bytes()
    assert half.graph.stat().st_size < whole.graph.stat().st_size


def test_a_threshold_and_a_version_of_one_s_own(run: Command, tmp_path: Path) -> None:
    """What the user gives goes into the card, and the bundle is found by the name that is printed."""
    ran = run(checkpoint(tmp_path / "fox.pt"), "--image-size", 128, "--version", "3", "--threshold", "0.4")
    assert ran.out == "fox@3\n"
    card = ran.imported().card
    assert (card.typical_detection_threshold, card.source) == (0.4, "fox.pt")
    assert (ran.home / "models/fox/3/card.json").is_file()


def test_an_onnx_export(run: Command, tmp_path: Path) -> None:
    """An export of another family, with a class map that drops and joins its classes."""
    metadata = {"names": {0: "fox", 1: "car", 2: "tree"}, "stride": 32, "imgsz": [64, 64], "task": "detect"}
    file = export(tmp_path / "v8.onnx", models.yolov8(3, metadata=metadata).model)
    wanted = tmp_path / "map.json"
    wanted.write_text('{"fox": "animal", "car": "vehicle"}')
    card = run(file, "--classes", wanted, "--name", "forest").imported().card
    assert (card.name, card.version, card.family) == ("forest", "1", "yolov8")
    assert card.classes == {"1": "animal", "2": "vehicle"}
    assert (card.image_size, card.stride) == (64, 32)
    kept = run(file, "--classes", "keep", "--name", "own").imported().card
    assert list(kept.classes.values()) == ["fox", "car", "tree"]


def test_what_is_known_fills_what_an_export_does_not_say(run: Command, tmp_path: Path) -> None:
    """An RT-DETRv2 export says nothing of itself; called as MegaDetector's is, it needs no flags."""
    file = export(tmp_path / "MDV6-apa-rtdetr-c.onnx", models.rtdetrv2(3, (640, 640)).model)
    card = run(file).imported().card
    assert (card.name, card.licence, card.fixed, card.stretch) == ("mdv6-apa-rtdetr-c", "Apache-2.0", (640, 640), True)
    unknown = export(tmp_path / "other.onnx", models.rtdetrv2(3, (64, 64)).model)
    assert "--names" in run(unknown, "--name", "x").line
    assert run(unknown, "--names", "animal,person,vehicle").imported().card.fixed == (64, 64)


def test_the_same_file_again(run: Command, tmp_path: Path) -> None:
    """Importing twice gives the same answer and changes nothing."""
    file = checkpoint(tmp_path / "md_v5b.0.1.pt")
    first = run(file, "--image-size", 128).imported()
    moment = first.graph.stat().st_mtime_ns
    assert run(file, "--image-size", 128).imported() == first
    assert first.graph.stat().st_mtime_ns == moment


def test_a_name_that_is_taken(run: Command, tmp_path: Path) -> None:
    """Another file, and the same file with another outcome, do not replace a bundle; a version of their own helps."""
    run(checkpoint(tmp_path / "fox.pt"), "--image-size", 128).imported()
    other = checkpoint(tmp_path / "other.pt", seed=1)
    taken = run(other, "--name", "fox", "--image-size", 128)
    assert (taken.status, taken.out) == (1, "")
    assert "another fox@1" in taken.line
    assert "--version" in taken.line
    assert "another fox@1" in run(tmp_path / "fox.pt", "--image-size", 192).line
    assert "another demonstration@1" in run(other, "--name", "demonstration").line
    assert run(other, "--name", "fox", "--version", "2", "--image-size", 128).out == "fox@2\n"
    assert sorted(path.name for path in (taken.home / "models/fox").iterdir()) == ["1", "2"]


# What cannot become a bundle. Each writes its file and gives the flags, and what the one line has to say.


def text(path: Path) -> list[str]:
    path.write_text("I am no model")
    return []


def grey(path: Path) -> list[str]:
    built = checkpoints.p6(Maker())
    built.modules["model"].modules["0"] = Maker().conv(1, 8, 6, 2, 2)
    built.modules["model"].modules["0"].plain["f"] = -1
    checkpoints.write(path, checkpoints.checkpoint(built))
    return []


def classifier(path: Path) -> list[str]:
    built = checkpoints.p6(Maker())
    built.kind = "models.yolo.ClassificationModel"
    checkpoints.write(path, checkpoints.checkpoint(built))
    return []


def broken_weights(path: Path) -> list[str]:
    built = checkpoints.p6(Maker())
    built.modules["model"].modules["1"].modules["conv"].numbers["weight"][0, 0, 0, 0] = np.nan
    checkpoints.write(path, checkpoints.checkpoint(built))
    return []


def cut(writer: Callable[[Path], object]) -> Callable[[Path], list[str]]:
    def write(path: Path) -> list[str]:
        writer(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return []

    return write


def flags(*given: str) -> Callable[[Path], list[str]]:
    def write(path: Path) -> list[str]:
        checkpoint(path)
        return list(given)

    return write


def onnx_file(model: Callable[[], onnx.ModelProto], *given: str) -> Callable[[Path], list[str]]:
    def write(path: Path) -> list[str]:
        export(path, model())
        return list(given)

    return write


def plain_graph(channels: int, shape: list[int]) -> onnx.ModelProto:
    """A graph that answers with zeros of a shape, whatever the image."""
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, channels, 64, 64])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["peak"], keepdims=0),
        helper.make_node("Mul", ["zeros", "peak"], ["out"]),
    ]
    zeros = numpy_helper.from_array(np.zeros(shape, np.float32), "zeros")
    graph = helper.make_graph(nodes, "plain", [image], [out], [zeros])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def nan_export() -> onnx.ModelProto:
    model = models.yolov8(3).model
    tensor = next(each for each in model.graph.initializer if len(each.dims) == 4)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(np.nan), tensor.name))
    return model


BAD: list[tuple[str, Callable[[Path], list[str]], str]] = [
    ("m.pt", text, "no PyTorch checkpoint"),
    ("m.onnx", text, "no ONNX file"),
    ("m.pt", cut(checkpoint), "downloaded completely"),
    ("m.onnx", cut(lambda path: export(path, models.yolov8(3).model)), "cut short|damaged"),
    ("m.pt", classifier, "classifier"),
    ("m.onnx", onnx_file(lambda: plain_graph(3, [1, 1000])), "classifier"),
    ("m.pt", grey, "takes 1 channels .* no detector for colour images"),
    ("m.onnx", onnx_file(lambda: plain_graph(1, [1, 84, 84])), "images of 1 channel"),
    ("m.onnx", onnx_file(lambda: plain_graph(3, [1, 77, 9, 2])), "out"),
    ("m.pt", broken_weights, "NaN"),
    ("m.onnx", onnx_file(nan_export), "not numbers|NaN"),
    ("m.pt", flags("--image-size", "640", "--classes", "birds.json"), "No such file"),
    ("m.pt", flags("--image-size", "640", "--classes", "coco"), "no class"),
    ("m.pt", flags("--image-size", "1000"), "multiple of the stride, 64"),
    ("m.pt", flags("--image-size", "640", "--stride", "32"), "largest stride is 64"),
    ("m.pt", flags("--image-size", "640", "--name", "../up"), "can be no name"),
    ("m.pt", flags("--image-size", "640", "--version", "1/2"), "can be no version"),
    ("m.pt", flags("--image-size", "640", "--names", "a,b,c"), "leave --names away"),
    ("m.pt", flags(), "image size .*--image-size"),
]


@pytest.mark.parametrize(("name", "write", "said"), BAD)
def test_what_cannot_be_a_bundle(
    name: str, write: Callable[[Path], list[str]], said: str, run: Command, tmp_path: Path
) -> None:
    """One line that says what is wrong or what has to be told, and nothing left behind."""
    given = write(tmp_path / name)
    line = run(tmp_path / name, *given).refused()
    assert re.search(said, line), line


def test_files_that_cannot_be_read(run: Command, tmp_path: Path) -> None:
    """A path that is not there, and a folder."""
    assert "No such file" in run(tmp_path / "none.pt").refused()
    assert "directory" in run(tmp_path).refused()


def test_a_map_of_unknown_classes_names_the_nearest(run: Command, tmp_path: Path) -> None:
    """The class that the model does not have is named, with the one that was meant."""
    wanted = tmp_path / "map.json"
    wanted.write_text('{"animals": "animal"}')
    line = run(checkpoint(tmp_path / "m.pt"), "--image-size", 640, "--classes", wanted).refused()
    assert "no class 'animals'; did you mean animal" in line
    wanted.write_text('{"animal": 3}')
    assert "class map" in run(tmp_path / "m.pt", "--image-size", 640, "--classes", wanted).refused()


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code(zipped: bool, run: Command, tmp_path: Path) -> None:
    """It is refused by the name of what it calls, as a checkpoint and as a bare pickle, and it does not run."""
    made, file = tmp_path / "made", tmp_path / "md_v5a.0.0.pt"
    content = pickle.dumps({"model": Evil(made)}, 2)
    if zipped:
        checkpoints.write_zip(file, content, [])
    else:
        file.write_bytes(content)
    assert ("nothing of it was run" if zipped else "no PyTorch checkpoint") in run(file).refused()
    assert not made.exists()
    pickle.loads(content)
    assert made.exists()  # it would have


def test_a_disk_that_fills_in_mid_import(tmp_path: Path) -> None:
    """Where a write fails, at each of the bundle's files, the import says so and leaves nothing."""
    file = checkpoint(tmp_path / "md_v5a.0.0.pt")
    program = """
        import resource, sys
        from trapstream.cli.main import main
        limit = int(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        sys.exit(main(["--home", sys.argv[2], "model", "import", sys.argv[3], "--image-size", "128"]))
    """
    first = _sizes(tmp_path, file)
    for limit in (first["raw.onnx"] // 2, (first["raw.onnx"] + first["model.onnx"]) // 2):
        home = tmp_path / f"home-{limit}"
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), str(limit), str(home), str(file)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "File too large; nothing of it was left there" in done.stderr
        assert [path.name for path in home.rglob("*") if path.name != ".lock"] == ["models"]


def _sizes(tmp_path: Path, file: Path) -> dict[str, int]:
    """The sizes of the bundle's files, from an import that works."""
    home = tmp_path / "works"
    assert main.main(["--home", str(home), "model", "import", str(file), "--image-size", "128"]) == 0
    found = {path.name: path.stat().st_size for path in (home / "models").rglob("*.*") if path.is_file()}
    shutil.rmtree(home)
    assert found["model.onnx"] > found["raw.onnx"]
    return found


def test_published_models_are_told_by_their_bytes_before_their_names() -> None:
    """md5 goes before the name; names are taken whatever their case and ending, and nothing else is recognised."""
    redwood = next(each for each in known.KNOWN if each.name == "mdv1000-redwood")
    assert redwood.md5 is not None
    sure = known.recognise(Path("download.pt"), redwood.md5)
    assert sure == known.Recognised(redwood, certain=True)
    for each in known.KNOWN:
        for name in (each.file, each.file.upper(), f"{Path(each.file).stem}.onnx", each.file.replace("-1280", "")):
            assert known.recognise(Path(name), "0") == known.Recognised(each, certain=False)
    assert known.recognise(Path("yolov5s.pt"), "0") is None


def test_the_table_of_published_models_makes_sense() -> None:
    """Every entry has a name and version of its own that a bundle can have, and sizes that fit."""
    assert len({(each.name, each.version) for each in known.KNOWN}) == len(known.KNOWN)
    digests = [each.md5 for each in known.KNOWN if each.md5]
    assert len(set(digests)) == len(digests) == 9
    assert all(len(each) == 32 and set(each) <= set("0123456789abcdef") for each in digests)
    for each in known.KNOWN:
        bundle_store.folder(Path(), each.name, each.version)
        assert each.image_size % each.stride == 0
        assert 0 < each.conservative < each.typical < 1
        assert each.source.startswith("https://")
