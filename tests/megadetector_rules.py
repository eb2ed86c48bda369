"""The rules of MegaDetector's result validator, and this project's own stricter ones, for tests."""

import json
import re
from pathlib import Path
from typing import Any

VIDEOS = (".mp4", ".avi", ".mpeg", ".mpg", ".mov", ".mkv", ".flv")


def check(path: Path) -> list[str]:
    """Every rule of the format that the file breaks, a line each."""
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        return [f"not JSON: {error}"]
    return check_data(data)


def check_data(data: Any) -> list[str]:
    """As `check`, for a file that was read already."""
    problems = [f"no {key}" for key in ("info", "detection_categories", "images") if key not in data]
    if problems:
        return problems
    known = {
        "info",
        "detection_categories",
        "images",
        "classification_categories",
        "classification_category_descriptions",
    }
    problems += [f"unknown key {key}" for key in data if key not in known]
    problems += _check_info(data["info"]) + _check_categories(data["detection_categories"])
    names: set[str] = set()
    for number, image in enumerate(data["images"]):
        problems += [f"image {number}: {fault}" for fault in _check_image(image, data["detection_categories"])]
        if image.get("file") in names:
            problems.append(f"image {number}: {image['file']} stands twice")
        names.add(image.get("file"))
    return problems


def _check_info(info: dict[str, Any]) -> list[str]:
    version = info.get("format_version")
    if not isinstance(version, str):
        return ["format_version is not a string"]
    if float(version) < 1.3:
        return [f"format_version {version} is too old"]
    problems = [] if isinstance(info.get("detector", ""), str) else ["detector is not a string"]
    thresholds = ("typical_detection_threshold", "conservative_detection_threshold")
    metadata = info.get("detector_metadata", {})
    return problems + [f"{key} is not a float" for key in thresholds if not isinstance(metadata.get(key, 0.0), float)]


def _check_categories(categories: dict[str, str]) -> list[str]:
    problems = [f"category id {key!r}" for key in categories if not re.fullmatch(r"\d+", key)]
    return problems + [f"category {key} has no name" for key, name in categories.items() if not name.strip()]


def _check_image(image: dict[str, Any], categories: dict[str, str]) -> list[str]:
    name = image.get("file")
    if not isinstance(name, str) or not name:
        return ["no file"]
    problems = []
    failure = image.get("failure")
    if failure is not None:
        if not isinstance(failure, str):
            problems.append("failure is not a string")
        if "detections" not in image:
            problems.append("a failure without detections: null")
        elif image["detections"] is not None:
            problems.append("a failure with detections")
        return problems
    if not isinstance(image.get("detections"), list):
        return ["no detections and no failure"]
    if name.lower().endswith(VIDEOS) and ("frame_rate" not in image or "frames_processed" not in image):
        problems.append("a video without frame_rate and frames_processed")
    for detection in image["detections"]:
        problems += _check_detection(detection, categories)
    confidences = [detection.get("conf", 0.0) for detection in image["detections"]]
    if confidences != sorted(confidences, reverse=True):
        problems.append("detections are not sorted by confidence")
    return problems


def _check_detection(detection: dict[str, Any], categories: dict[str, str]) -> list[str]:
    problems = []
    if detection.get("category") not in categories:
        problems.append(f"unknown category {detection.get('category')!r}")
    conf = detection.get("conf")
    if not isinstance(conf, float) or not 0.0 <= conf <= 1.0:
        problems.append(f"illegal confidence value {conf!r}")
    box = detection.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, int | float) for side in box):
        problems.append(f"bbox {box!r}")
    return problems
