"""One stack for all integration tests: a real Kafka and a real Triton with a tiny model, no services."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import images, stacks
from tests.stacks import RunningStack
from trapstream.core.triton_names import triton_name
from trapstream.local import control


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny model with a real one's inputs and outputs."""
    return stacks.write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[RunningStack]:
    """Up before the first test that asks for it, down after the last one."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAPSTREAM_BUNDLE", str(bundle))
        up = control.up(home, print, services=(), passing=True)
    try:
        yield RunningStack(
            home=home,
            kafka=up.endpoints["kafka"],
            triton=up.endpoints["triton-grpc"],
            triton_http=up.endpoints["triton-http"],
            shm_prefix=up.shm_prefix,
            model=stacks.NAME,
            entry=triton_name(stacks.NAME, stacks.VERSION),
            graph=bundle / "model.onnx",
        )
    finally:
        control.down(home, print)


@pytest.fixture
def member() -> str:
    """A name that no other test uses, for groups and jobs on the shared broker."""
    return f"test-{os.urandom(4).hex()}"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A dark image."""
    path = tmp_path / "photo.png"
    path.write_bytes(images.encode(images.scene(64, 48).point(lambda level: level // 2), "PNG"))
    return path
