"""The drawn scenes: repeatable, truthful about their boxes, and varied."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trapstream.scenes.scene import CATEGORIES, Scene, draw_scene, write_scenes

SEEDS = range(700, 740)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(seed, (320, 240)) for seed in SEEDS]


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again, other = draw_scene(5, (320, 240)), draw_scene(5, (320, 240)), draw_scene(6, (320, 240))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.boxes == again.boxes
    assert first.taken == again.taken
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("size", [(1280, 960), (640, 480), (480, 640), (640, 360), (97, 65)])
def test_a_scene_has_the_size_it_was_asked_for(size: tuple[int, int]) -> None:
    scene = draw_scene(11, size)
    assert scene.image.size == size
    assert scene.image.mode == "RGB"


def test_boxes_lie_in_the_image(scenes: list[Scene]) -> None:
    for scene in scenes:
        width, height = scene.image.size
        for box in scene.boxes:
            assert box.category in CATEGORIES
            assert 0 <= box.x_min < box.x_min + box.width <= width
            assert 0 <= box.y_min < box.y_min + box.height <= height
            assert min(box.width, box.height) >= 3


def test_there_are_empty_scenes_and_full_ones_by_day_and_by_night(scenes: list[Scene]) -> None:
    empty = sum(not scene.boxes for scene in scenes)
    assert 0.25 * len(scenes) < empty < 0.65 * len(scenes)
    assert {scene.night for scene in scenes} == {True, False}
    assert any(len(scene.boxes) > 1 for scene in scenes)


def test_a_figure_changes_the_pixels_of_its_box(scenes: list[Scene]) -> None:
    for scene in scenes:
        for box in scene.boxes:
            region = (box.x_min, box.y_min, box.x_min + box.width, box.y_min + box.height)
            grey = np.asarray(scene.image.convert("L").crop(region))
            assert int(grey.max()) - int(grey.min()) > 10


def test_a_folder_of_scenes(tmp_path: Path) -> None:
    paths = list(write_scenes(tmp_path / "camera", 12, seed=40, size=(160, 120)))
    assert [path.name for path in paths] == [f"scene-{number:06d}.jpg" for number in range(12)]
    with Image.open(paths[0]) as image:
        assert image.size == (160, 120)
        exif = image.getexif()
        assert exif[0x010F] == "Drawn"
        assert exif.get_ifd(0x8769)[0x9003] == f"{draw_scene(40, (160, 120)).taken:%Y:%m:%d %H:%M:%S}"


def test_the_same_folder_twice_has_the_same_bytes(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_scenes(tmp_path / "a", 3, seed=9, size=(160, 120))]
    second = [path.read_bytes() for path in write_scenes(tmp_path / "b", 3, seed=9, size=(160, 120))]
    assert first == second
