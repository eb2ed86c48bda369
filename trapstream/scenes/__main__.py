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
    options = parser.parse_args()
    for done, _ in enumerate(write_scenes(options.folder, options.count, options.seed, options.size), start=1):
        if done % 50 == 0 or done == options.count:
            print(f"{done} of {options.count} scenes drawn", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
