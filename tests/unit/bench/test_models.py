"""Which model a benchmark measures, and how its stack comes to serve it."""

from pathlib import Path

import pytest

from bench import models
from bench.models import Model
from tests.unit import bundles
from trapstream.core.triton_names import triton_name
from trapstream.local import repository
from trapstream.models import deployed
from trapstream.models.bundle_store import Bundle, NoSuchModel, folder
from trapstream.models.deployed import Deployed, Deployment


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A small random model among those of a home."""
    return bundles.write(folder(tmp_path, "random", "1"), bundles.random_model())


def test_a_model_is_run_by_what_it_is_deployed_with(tmp_path: Path, bundle: Bundle) -> None:
    """NAME is found in the home and run as it is deployed there, or as asked; without NAME it is the usual one."""
    known = Deployed().with_version("random", "1", Deployment(runtime="openvino-bfloat16"))
    deployed.write(tmp_path, known.with_default("random", "1"))
    found = models.chosen(tmp_path, "random", None)
    assert (found.bundle.folder, found.runtime) == (bundle.folder, "openvino-bfloat16")
    assert models.chosen(tmp_path, "random@1", "openvino").runtime == "openvino"
    assert models.chosen(tmp_path, None, None) == models.demonstration()
    assert models.chosen(tmp_path, None, "openvino").name == "demonstration@1 (openvino)"
    with pytest.raises(NoSuchModel, match="no model other here"):
        models.chosen(tmp_path, "other", None)


def test_a_stack_of_the_benchmark_serves_its_model_alone(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home of the benchmark's own comes up with one entry: that of the model, run by the runtime that was chosen."""
    for name, value in Model(bundle, "openvino").deploy(tmp_path / "bench").items():
        monkeypatch.setenv(name, value)
    served = triton_name("random", "1")
    assert repository.prepare(tmp_path / "bench", print) == (served,)
    [entry] = (tmp_path / "bench" / "triton" / "repository").iterdir()
    assert entry.name == served
    config = (entry / "config.pbtxt").read_text()
    assert 'key: "runtime" value { string_value: "openvino" }' in config
