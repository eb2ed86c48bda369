"""What Triton's errors mean, by the words that it uses."""

import pytest

from consumer.triton_errors import Meaning, meaning

INVALID, UNAVAILABLE, INTERNAL = "StatusCode.INVALID_ARGUMENT", "StatusCode.UNAVAILABLE", "StatusCode.INTERNAL"


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        ("Request for unknown model: 'a@1' is not found", "StatusCode.NOT_FOUND", Meaning.NOT_SERVED),
        ("Request for unknown model: 'a@1' has no available versions", UNAVAILABLE, Meaning.NOT_SERVED),
        ("Request for unknown model: 'a@1' version 2 is not at ready state", UNAVAILABLE, Meaning.NOT_SERVED),
        ("Unable to find shared memory region: 'x-1'", INVALID, Meaning.REGION_UNKNOWN),
        ("Invalid offset + byte size for shared memory region: 'x-1'", INVALID, Meaning.REGION_UNKNOWN),
        ("shared memory region 'x-1' already in manager", "StatusCode.ALREADY_EXISTS", Meaning.REGION_KNOWN),
        (
            "[request id: <id_unknown>] unexpected inference input 'places' for model 'a@1'",
            INVALID,
            Meaning.OTHER_INPUT,
        ),
        ("failed to connect to all addresses", UNAVAILABLE, Meaning.AWAY),
        ("Deadline Exceeded", "StatusCode.DEADLINE_EXCEEDED", Meaning.AWAY),
        ("Locally cancelled by application!", "StatusCode.CANCELLED", Meaning.AWAY),
        ("onnx runtime error 2: the input is out of range", INTERNAL, Meaning.REFUSED),
        ("in ensemble 'a@1', failed", None, Meaning.REFUSED),
    ],
)
def test_each_sentence_has_its_meaning(text: str, status: str | None, expected: Meaning) -> None:
    """Also with the status before it, as its client's exceptions write it."""
    assert meaning(text, status) is expected
    assert meaning(f"[{status}] {text}", status) is expected
