"""A checkpoint's pickle is read, never executed, whatever is in it; and a damaged file is one line."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.models import checkpoints
from tests.unit.models.checkpoints import Call, Maker, Pickler
from trapstream.models.yolov5 import CheckpointError, pickles
from trapstream.models.yolov5.checkpoint import read_checkpoint
from trapstream.models.yolov5.pickled_names import CLASSES, FUNCTIONS, STORAGES


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def evil_zip(path: Path, content: bytes) -> Path:
    return checkpoints.write_zip(path, content, [])


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_would_run_code_does_not(protocol: int, tmp_path: Path) -> None:
    """The name of what it would have called is in the message, and it was not called."""
    made = tmp_path / "made"
    content = pickle.dumps({"model": Evil(made)}, protocol)
    with pytest.raises(CheckpointError, match=r"names (_?io\.open|builtins\.open): .*nothing of it was run"):
        read_checkpoint(evil_zip(tmp_path / "m.pt", content))
    assert not made.exists()
    pickle.loads(content)["model"].close()  # it would have
    assert made.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "builtins.eval",
        "builtins.getattr",
        "subprocess.Popen",
        "nt.system",
        "operator.call",
    ],
)
def test_every_other_name_is_refused(name: str) -> None:
    """A name that no list has ends the reading where it stands, called or not."""
    for value in (Call(name, ("echo",)), checkpoints.Obj(name)):
        with pytest.raises(CheckpointError, match=name):
            pickles.read(Pickler().dump(value))


def test_names_are_only_used_for_what_they_are() -> None:
    """A class is not called, a function makes no object, and nothing is called that is not a name."""
    with pytest.raises(CheckpointError, match=r"calls models\.common\.Conv"):
        pickles.read(Pickler().dump(Call("models.common.Conv", ())))
    with pytest.raises(CheckpointError, match=r"makes a _codecs\.encode"):
        pickles.read(Pickler().dump(checkpoints.Obj("_codecs.encode")))
    with pytest.raises(CheckpointError, match="a Name is missing"):
        pickles.read(b"\x80\x02X\x02\x00\x00\x00os)R.")


def test_no_name_in_the_lists_does_anything() -> None:
    """Whatever is named, the answer is plain: no class of the interpreter comes out."""
    for name in sorted(FUNCTIONS - {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"}):
        found = pickles.read(Pickler().dump(Call(name, ("a", "b"))))
        assert type(found) is dict or found.kind == name
    assert not any(name.startswith(("os.", "builtins.eval")) for name in CLASSES | FUNCTIONS | set(STORAGES))


def test_ultralytics_checkpoints_are_told_apart() -> None:
    """The message for a newer relative says how to export it."""
    for name, hint in (("ultralytics.nn.tasks.DetectionModel", "yolo export"), ("models.yolo.DualDDetect", "YOLOv9")):
        with pytest.raises(CheckpointError, match=f"{name}: .*{hint}"):
            pickles.read(Pickler().dump(checkpoints.Obj(name)))


def test_what_differs_between_releases_is_the_same() -> None:
    """Old and new places of a name are one."""
    assert pickles.read(Pickler().dump(checkpoints.Obj("yolov5.models.yolo.Model"))).kind == "models.yolo.Model"
    scalar = pickles.read(Pickler().dump(Call("numpy._core.multiarray.scalar", (1,))))
    assert scalar.kind == "numpy.core.multiarray.scalar"


def tiny() -> tuple[bytes, list[bytes]]:
    pickler = Pickler()
    return pickler.dump(checkpoints.checkpoint(checkpoints.p6(Maker()))), pickler.storages


CONTENT, STORED = tiny()


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_damaged_pickle_is_one_line(data: st.DataObject) -> None:
    """Whatever bytes are changed, cut or added: a value, or an error that says so."""
    start = data.draw(st.integers(0, len(CONTENT) - 1))
    length = data.draw(st.integers(0, 8))
    content = CONTENT[:start] + data.draw(st.binary(max_size=8)) + CONTENT[start + length :]
    try:
        pickles.read(content)
    except CheckpointError as error:
        assert "\n" not in str(error)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(CONTENT) - 1), st.binary(min_size=1, max_size=4))
def test_a_damaged_model_is_one_line(tmp_path_factory: pytest.TempPathFactory, start: int, new: bytes) -> None:
    """A pickle that can be read and makes no sense is refused, or the model is as good as it was."""
    content = CONTENT[:start] + new + CONTENT[start + len(new) :]
    path = checkpoints.write_zip(tmp_path_factory.mktemp("damaged") / "m.pt", content, STORED)
    try:
        assert read_checkpoint(path).graph.graph.node
    except CheckpointError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 0.999])
def test_a_file_that_was_cut_short(share: float, tmp_path: Path) -> None:
    """A download that broke off is told as one, wherever it did."""
    path = checkpoints.write_zip(tmp_path / "m.pt", CONTENT, STORED)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"downloaded completely|no PyTorch checkpoint"):
        read_checkpoint(path)


def test_a_file_of_before_zip(tmp_path: Path) -> None:
    """The format of old PyTorch is told, with what to do."""
    path = tmp_path / "m.pt"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + CONTENT)
    with pytest.raises(CheckpointError, match=r"before version 1\.6.*torch\.save"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", pickle.dumps({"a": 1}), b"PK\x03\x04"])
def test_what_is_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    """Any other file is refused by its first bytes, or by its lack of an end."""
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"no PyTorch checkpoint|downloaded completely"):
        read_checkpoint(path)


def members(path: Path, files: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def test_zips_of_something_else(tmp_path: Path) -> None:
    """Another zip, a TorchScript export, a big-endian one, a compressed one: each is told."""
    for files, said in (
        ({"word/document.xml": b""}, r"no data\.pkl"),
        ({"a/data.pkl": b"", "b/data.pkl": b""}, r"no data\.pkl"),
        ({"a/data.pkl": CONTENT, "a/constants.pkl": b""}, "TorchScript"),
        ({"a/data.pkl": CONTENT, "a/byteorder": b"big"}, "big-endian"),
        ({"a/data.pkl": CONTENT}, "data/0 is missing"),
    ):
        with pytest.raises(CheckpointError, match=said):
            read_checkpoint(members(tmp_path / "m.pt", files))
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(members(tmp_path / "m.pt", {"a/data.pkl": b"\0" * 10**8}, zipfile.ZIP_DEFLATED))


def test_a_bit_that_turned_is_found(tmp_path: Path) -> None:
    """Weights are held against their checksum."""
    path = checkpoints.write_zip(tmp_path / "m.pt", CONTENT, STORED)
    whole = bytearray(path.read_bytes())
    whole[whole.index(STORED[0]) + 5] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"data/0 .*damaged"):
        read_checkpoint(path)


def tensor(count: int, offset: int, shape: tuple[Any, ...], strides: tuple[Any, ...]) -> bytes:
    """The pickle of one tensor, made by hand."""
    made = Pickler()
    storage = (
        b"("
        + made._of("storage")
        + b"ctorch\nFloatStorage\n"
        + made._of("0")
        + made._of("cpu")
        + made._of(count)
        + b"tQ"
    )
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + made._of(offset) + made._of(shape)
        + made._of(strides) + b"\x89N" + b"tR."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(1, (8,), (1,)), (0, (9,), (1,)), (0, (2, 2), (7, 1)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (2, 2), (1,)),
     (0, (1,) * 9, (1,) * 9), (0, (True,), (1,)), (0, (2.0,), (1,)), (0, ("2",), (1,)), (9, (1,), (1,))],
)  # fmt: skip
def test_a_tensor_outside_its_storage(offset: int, shape: tuple[Any, ...], strides: tuple[Any, ...]) -> None:
    """Offset, shape and strides are checked before a byte is looked at; a storage of 8 numbers here."""
    with pytest.raises(CheckpointError, match="damaged"):
        pickles.read(tensor(8, offset, shape, strides))


def test_weights_larger_than_their_storage(tmp_path: Path) -> None:
    """A stride of 0 may show one number a thousand times, but not as weights: the memory would be the file's choice."""
    built = checkpoints.p6(Maker(precision="float32"))
    pickler = Pickler()
    content = pickler.dump(checkpoints.checkpoint(built))
    before = pickler._of((8, 3, 6, 6)) + pickler._of((108, 36, 6, 1))
    assert before in content
    content = content.replace(before, pickler._of((1 << 20, 3, 6, 6)) + pickler._of((0, 0, 0, 0)), 1)
    with pytest.raises(CheckpointError, match="larger than its storage"):
        read_checkpoint(checkpoints.write_zip(tmp_path / "m.pt", content, pickler.storages))


def test_a_pickle_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of a pickle are counted, and one that goes on and on is refused."""
    monkeypatch.setattr(pickles, "_OPS", 1000)
    with pytest.raises(CheckpointError, match="more than 1,000 steps"):
        pickles.read(b"\x80\x02" + b"]" * 2000 + b".")


def test_modules_within_themselves(tmp_path: Path) -> None:
    """A module that is in itself is refused, and not followed."""
    inner = b"ctorch.nn.modules.container\nSequential\n)\x81q\x01}(X\x08\x00\x00\x00_modules}X\x01\x00\x00\x000h\x01sub"
    layers = b"ctorch.nn.modules.container\nSequential\n)\x81}(X\x08\x00\x00\x00_modules}X\x01\x00\x00\x000"
    pickler = Pickler()
    inner = inner[:-2] + b"X\x01\x00\x00\x00f" + pickler._of(-1) + b"ub"
    model = b"cmodels.yolo\nModel\n)\x81}X\x08\x00\x00\x00_modules}X\x05\x00\x00\x00model" + layers + inner + b"subssb"
    content = b"\x80\x02}X\x05\x00\x00\x00model" + model + b"s."
    with pytest.raises(CheckpointError, match="without end"):
        read_checkpoint(evil_zip(tmp_path / "m.pt", content))


def test_modules_in_many_others(tmp_path: Path) -> None:
    """Twenty sequences, each of which has the next one twice, are refused in a moment."""
    chain = b"ctorch.nn.modules.container\nSequential\n)\x81}X\x08\x00\x00\x00_modules}sb"
    for _ in range(20):
        head = b"ctorch.nn.modules.container\nSequential\n)\x81}(X\x08\x00\x00\x00_modules}(X\x01\x00\x00\x00a"
        chain = head + chain + b"q\x05X\x01\x00\x00\x00bh\x05uX\x01\x00\x00\x00fJ\xff\xff\xff\xffub"
    layers = (
        b"ctorch.nn.modules.container\nSequential\n)\x81}X\x08\x00\x00\x00_modules}X\x01\x00\x00\x000" + chain + b"ssb"
    )
    model = b"cmodels.yolo\nModel\n)\x81}X\x08\x00\x00\x00_modules}X\x05\x00\x00\x00model" + layers + b"ssb"
    content = b"\x80\x02}X\x05\x00\x00\x00model" + model + b"s."
    with pytest.raises(CheckpointError, match="more than 5,000 modules"):
        read_checkpoint(evil_zip(tmp_path / "m.pt", content))


def test_deep_nesting_is_no_crash() -> None:
    """A tuple in a tuple, a hundred thousand times, is a value or a refusal; as a key it is refused."""
    nest = b")" + b"\x85" * 100_000
    pickles.read(b"\x80\x02" + nest + b".")
    with pytest.raises(CheckpointError, match="key"):
        pickles.read(b"\x80\x02}" + nest + b"Ns.")
