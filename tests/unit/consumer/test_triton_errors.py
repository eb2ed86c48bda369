"""What Triton's errors mean, by the words that it uses."""

import pytest

from consumer.triton_errors import MARKING, REFUSAL, Meaning, meaning
from model_repository.templates.cpu import model as served

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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Stub process 'a@1_0_1' is not healthy.", Meaning.FAULT),
        ("Failed to process the request(s) for model instance 'a@1_0_0', message: No space left", Meaning.FAULT),
        ("MemoryError: ", Meaning.FAULT),
        ("image refused: RuntimeError: indices element out of data bounds", Meaning.REFUSED),
        ("image refused: RuntimeError: Stub process is not healthy, unknown model", Meaning.REFUSED),
        ("Request for unknown model: 'a@1' is not found", Meaning.NOT_SERVED),
        ("failed to connect to all addresses", Meaning.FAULT),
    ],
)
def test_of_instances_that_may_die_a_marked_error_alone_is_about_the_image(text: str, expected: Meaning) -> None:
    """Whatever else they answer with, the image is sent again."""
    assert meaning(text, INTERNAL, MARKING) is expected


def test_an_instance_that_dies_is_away_where_the_status_says_so() -> None:
    assert meaning("failed to connect to all addresses", UNAVAILABLE, MARKING) is Meaning.AWAY


def test_the_entry_marks_its_refusals_with_the_words_that_are_looked_for() -> None:
    """Inside Triton nothing of ours can be imported, so the words stand in two files."""
    assert served.REFUSAL == REFUSAL
