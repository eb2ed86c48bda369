"""Triton's words, for users."""

import json

import pytest

from trapstream.local.loading import reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            json.dumps(
                {
                    "error": "load failed for model 'owl@2': version 1 is at UNAVAILABLE state: Internal: "
                    "InvalidGraph: [ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from /x/model.onnx failed:\n"
                    "This is an invalid model.\n\nAt:\n  /x/model.py(33): open_session\n  /x/model.py(5): initialize\n;"
                }
            ),
            "InvalidGraph: [ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from /x/model.onnx failed: "
            "This is an invalid model.",
        ),
        ('{"error": "failed to load \'owl@2\', no such file"}', "failed to load 'owl@2', no such file"),
        ("no JSON\nat all", "no JSON at all"),
        ("", "it gives no reason; `trapstream logs triton` may"),
    ],
)
def test_a_refusal_is_one_line(text: str, said: str) -> None:
    """The reason stays, its preface and the traceback behind it go."""
    assert reason(text) == said


def test_a_refusal_of_any_length_is_a_line() -> None:
    """A graph of a thousand nodes may be named in the error."""
    assert len(reason(json.dumps({"error": "node " * 10_000}))) <= 400
