"""Pixels read where they lie: what a place names, and what is no place."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model_repository.templates.cpu.model import Regions

MEMORY = Path("/dev/shm")
SHAPE = (4, 6, 3)


@pytest.fixture
def region() -> Iterator[Path]:
    """A name that is free, and gone afterwards."""
    path = MEMORY / f"trapstream-test-{os.getpid()}-places"
    yield path
    path.unlink(missing_ok=True)


def _images(seed: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).integers(0, 255, (2, *SHAPE), np.uint8)


def test_an_image_is_read_where_it_lies(region: Path) -> None:
    """Each place gives the bytes that its client wrote, also those that it writes later."""
    regions, images = Regions(), _images(1)
    region.write_bytes(images.tobytes())
    for number in range(2):
        [found] = regions.images([f"{region.name} {number * images[0].nbytes} 4 6".encode()])
        np.testing.assert_array_equal(found, images[number])
    with region.open("r+b") as file:
        file.write(_images(2).tobytes())
    np.testing.assert_array_equal(regions.images([f"{region.name} 0 4 6".encode()])[0], _images(2)[0])


def test_a_new_region_of_an_old_name_is_another(region: Path) -> None:
    """A client that died and came again may have its process number again: what it writes is read, not what was."""
    regions = Regions()
    for seed in (3, 4):
        region.unlink(missing_ok=True)
        region.write_bytes(_images(seed).tobytes())
        np.testing.assert_array_equal(regions.images([f"{region.name} 0 4 6".encode()])[0], _images(seed)[0])


def test_a_region_that_is_gone_says_so(region: Path) -> None:
    """As the server does of its own regions: by that the consumer tells it from a bad image."""
    with pytest.raises(FileNotFoundError, match="shared memory region"):
        Regions().images([f"{region.name} 0 4 6".encode()])


@pytest.mark.parametrize("place", ["../etc/passwd 0 1 1", "/etc/passwd 0 1 1", ". 0 1 1", " 0 1 1", "x 0 1", "x", ""])
def test_what_is_no_place_is_refused(place: str) -> None:
    """No path leads out of the shared memory."""
    with pytest.raises((ValueError, FileNotFoundError)):
        Regions().images([place.encode()])


@pytest.mark.parametrize("numbers", ["0 4 13", "100 4 6", "-1 4 6", "1000000 1 1", "0 -4 -6"])
def test_no_byte_beyond_the_region_is_read(region: Path, numbers: str) -> None:
    """A place that leaves its region is refused."""
    region.write_bytes(_images(5).tobytes())
    with pytest.raises(ValueError):
        Regions().images([f"{region.name} {numbers}".encode()])
