"""What is said of a job that waits for its model."""

from trapstream.cli import account


def test_a_wait_says_what_helps() -> None:
    """A model that is not served wants a deploy; one that answers with errors wants a look at the server's log."""
    served, well = account.waits("a", "m@1", ""), account.waits("a", "m@1", "index out of range")
    assert "m@1, which is not served: `trapstream model deploy m@1` loads it" in served
    assert "m@1, which is loaded but not well (index out of range): `trapstream logs triton`" in well
    for line in (served, well):
        assert "`trapstream cancel a` ends the wait" in line
        assert "\n" not in line
