"""How long a slab is in use: from its batch's decoding to the last answer."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.slabs import SlabPool
from trapstream.core.messages import Lane


@given(st.integers(0, 20))
def test_a_slab_is_free_after_its_last_request_and_not_before(requests: int) -> None:
    """It is free again, and that is said, once all requests that read it are answered; at once where there are none."""
    freed: list[bool] = []
    pool = SlabPool(1, None, lambda: freed.append(pool.has(Lane.LIVE)))
    slab = pool.take(Lane.LIVE)
    assert (pool.has(Lane.LIVE), pool.has(Lane.BULK)) == (False, True)
    pool.share(slab, requests)
    for _ in range(requests):
        assert not freed
        pool.release(slab)
    assert freed == [True]
    assert pool.take(Lane.LIVE) is slab
    pool.close()
