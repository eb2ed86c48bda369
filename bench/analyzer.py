"""NVIDIA's perf_analyzer beside our own closed loop, by turns, where it is installed: do they agree?

It comes with Triton's SDK; the package perf-analyzer has it for systems with glibc 2.38, and the packages tritonclient
up to 2.50 for older ones.
"""

import base64
import csv
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.stacks import BenchError
from bench.timed import entry_of
from trapstream.core.messages import ModelInfo

_COMMAND = "perf_analyzer"
_PATIENCE = 600.0


def there() -> bool:
    """Whether it is installed."""
    return shutil.which(_COMMAND) is not None


def closed_loop(
    server: str, model: ModelInfo, pixels: NDArray[np.uint8], in_flight: int, seconds: float, work: Path
) -> float:
    """Images a second with `in_flight` requests of `pixels` [n, h, w, 3] at any time, by perf_analyzer's count.

    Three windows of a third of `seconds`, whether they agree or not: how far runs agree is told by repeating them.
    BenchError where it fails.
    """
    work.mkdir(parents=True, exist_ok=True)
    data, table = work / "pixels.json", work / "perf_analyzer.csv"
    images = [
        {"images": {"content": {"b64": base64.b64encode(image.tobytes()).decode()}, "shape": list(image.shape)}}
        for image in pixels
    ]
    data.write_text(json.dumps({"data": images}))
    command = [
        _COMMAND, "-m", entry_of(model), "-u", server, "-i", "grpc", "-b", str(len(pixels)), "-f", str(table),
        "--concurrency-range", str(in_flight), "--shared-memory", "system", "--input-data", str(data),
        "--shape", f"images:{','.join(map(str, pixels.shape[1:]))}", "--stability-percentage", "999",
        "--measurement-interval", str(int(1000 * seconds / 3)),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode or not table.exists():
        raise BenchError(f"perf_analyzer failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    [row] = csv.DictReader(table.read_text().splitlines())
    return float(row["Inferences/Second"])
