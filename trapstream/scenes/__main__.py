"""Draws a folder of camera-trap scenes: `python -m trapstream.scenes FOLDER --count 300`."""

import argparse
import sys
from pathlib import Path

from trapstream.scenes.scene import parse_size, write_scenes


def main() -> None:
    """Writes a folder of scenes."""
    parser = argparse.ArgumentParser(prog="python -m trapstream.scenes", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=parse_size, default=(1280, 960), help="WIDTHxHEIGHT, 1280x960 if not given")
    parser.add_argument("--quality", type=int, default=88, help="of the JPEG, 88 if not given")
    parser.add_argument("--truth", action="store_true", help="write truth.json beside them")
    options = parser.parse_args()
    paths = write_scenes(options.folder, options.count, options.seed, options.size, options.quality, options.truth)
    step = 1 if sys.stderr.isatty() else 50
    for done, _ in enumerate(paths, start=1):
        if done % step == 0 or done == options.count:
            end = "\r" if step == 1 else "\n"
            print(f"{done} of {options.count} scenes drawn", end=end, file=sys.stderr, flush=True)
    if step == 1:
        print(file=sys.stderr)


if __name__ == "__main__":
    main()
