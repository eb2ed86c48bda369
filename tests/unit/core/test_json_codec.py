"""JSON without a typed struct."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapstream.core import json_codec

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)  # fmt: skip


@given(plain)
def test_it_says_what_the_standard_library_says(value: object) -> None:
    """Each value comes back as it was, also through Python's own reader and writer."""
    assert json_codec.decode(json_codec.encode(value)) == value
    assert json.loads(json_codec.encode_indented(value)) == value
    assert json_codec.decode(json.dumps(value)) == value


def test_no_number_is_null() -> None:
    """NaN and infinity have no form in JSON: they are written as null, and refused where they are read."""
    assert json_codec.encode([math.nan, math.inf]) == b"[null,null]"
    for text in ("NaN", "Infinity", "", "{", b"\xff"):
        with pytest.raises(ValueError, match="line 1"):
            json_codec.decode(text)
