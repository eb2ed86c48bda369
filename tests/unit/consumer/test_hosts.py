"""Which servers of images are away."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.away import DOUBT_SECONDS, IMAGES, Decision, Hosts
from trapstream.core.errors import Permanent, Reason

HOST = "http://camera"
PATIENCE, ANSWER = 600.0, 30.0
REFUSED = Permanent(Reason.HTTP_STATUS, "HTTP 503")

# What happens at a host: an answer (None), or the failure of one of a few images; each after some seconds.
events = st.lists(st.tuples(st.floats(0.01, 20), st.one_of(st.none(), st.integers(0, 9))), max_size=60)


def lived(history: list[tuple[float, int | None]]) -> tuple[Hosts, float]:
    """A host after `history`, asked only as it may be, and the time."""
    hosts, now = Hosts(PATIENCE, ANSWER), 100.0
    for seconds, image in history:
        now += seconds
        if not hosts.admit(HOST, now):
            continue
        if image is None:
            hosts.answered(HOST, now)
        else:
            hosts.failed(HOST, str(image), REFUSED, now, now)
    return hosts, now


def gone(now: float = 100.0) -> Hosts:
    """A host that has just gone away."""
    hosts = Hosts(PATIENCE, ANSWER)
    for image in range(IMAGES):
        hosts.failed(HOST, str(image), REFUSED, now, now)
    return hosts


@given(history=events)
def test_away_means_different_images_in_a_row(history: list[tuple[float, int | None]]) -> None:
    """A host is away only if the last answers were failures of as many different images as the rule asks for."""
    hosts, _ = lived(history)
    answers = [number for number, (_, image) in enumerate(history) if image is None]
    since = {image for _, image in history[answers[-1] + 1 if answers else 0 :]}
    if len(since) < IMAGES:
        # An answer may have been passed over, since nobody was let through: then the host was away before.
        before = {image for _, image in history} - {None}
        assert not hosts.is_away(HOST) or len(before) >= IMAGES


@given(history=events)
def test_an_answer_brings_everything_back(history: list[tuple[float, int | None]]) -> None:
    """After an answer the host is well: all may ask, and who waits is to try again."""
    hosts, now = lived(history)
    hosts.answered(HOST, now + 1)
    assert not hosts.is_away(HOST)
    assert hosts.failure(HOST) is None
    assert all(hosts.admit(HOST, now + 2) for _ in range(50))
    assert hosts.decision(HOST, now, now, now + 2) is Decision.TRY


@given(images=st.lists(st.integers(0, IMAGES - 2), max_size=100))
def test_few_images_are_not_a_host(images: list[int]) -> None:
    """However often fewer images than the rule asks for fail, the host is not away."""
    hosts = Hosts(PATIENCE, ANSWER)
    for second, image in enumerate(images):
        hosts.failed(HOST, str(image), REFUSED, float(second), float(second))
    assert not hosts.is_away(HOST)
    assert hosts.admit(HOST, 200.0)


@given(steps=st.lists(st.floats(0.01, 5), min_size=1, max_size=200))
def test_one_at_a_time_and_ever_more_seldom(steps: list[float]) -> None:
    """While a host is away nobody is let through before the last one has told, and tries come at most so often."""
    hosts, now, tries = gone(), 100.0, []
    for step in steps:
        now += step
        if hosts.admit(HOST, now):
            assert not hosts.admit(HOST, now)
            tries.append(now)
            hosts.failed(HOST, "0", REFUSED, now, now)
    gaps = [after - before for before, after in zip([100.0, *tries], tries, strict=False)]
    assert all(gap >= min(0.5 * 2**number, 15.0) for number, gap in enumerate(gaps))


@given(late=st.integers(1, 100))
def test_those_asked_before_are_no_tries(late: int) -> None:
    """Fetches that were under way when the host went away do not lengthen the back-off."""
    hosts = gone()
    for image in range(late):
        hosts.failed(HOST, f"late {image}", REFUSED, 99.0, 100.1)
    assert hosts.admit(HOST, 100.6)


@given(waited=st.floats(0, 2 * PATIENCE))
def test_patience_ends(waited: float) -> None:
    """Who waits for a host that is away waits until the patience is over, and not longer."""
    hosts, now = gone(), 100.0
    while now < 100.0 + waited:
        now = min(now + 10, 100.0 + waited)
        if hosts.admit(HOST, now):
            hosts.failed(HOST, "0", REFUSED, now, now)
    found = hosts.decision(HOST, 100.0, 100.0, now)
    assert (found is Decision.FAIL) == (now - 100.0 >= PATIENCE)
    assert hosts.failure(HOST) is REFUSED


@given(seconds=st.floats(0, 4 * DOUBT_SECONDS))
def test_a_second_opinion_is_waited_for_and_not_for_long(seconds: float) -> None:
    """One image that failed at a host nothing else is known of waits for the others, then fails."""
    hosts = Hosts(PATIENCE, ANSWER)
    hosts.failed(HOST, "0", REFUSED, 99.5, 100.0)
    assert hosts.in_doubt(HOST, 99.0)
    expected = Decision.FAIL if (100.0 + seconds) - 100.0 >= DOUBT_SECONDS else Decision.WAIT
    assert hosts.decision(HOST, 100.0, 100.0, 100.0 + seconds) is expected


def test_an_image_is_at_fault_where_others_are_answered() -> None:
    """A failure is the image's own when the host has answered for another since its first attempt."""
    hosts = Hosts(PATIENCE, ANSWER)
    hosts.answered(HOST, 100.0)
    hosts.failed(HOST, "0", REFUSED, 99.0, 101.0)
    assert not hosts.in_doubt(HOST, 99.0)
    assert hosts.in_doubt(HOST, 100.5)


@given(bad=st.integers(IMAGES, 100), rounds=st.integers(1, 3))
def test_what_is_left_over_is_not_the_host(bad: int, rounds: int) -> None:
    """Any number of bad images, tried again after the good ones of their time were answered, leave the host well."""
    hosts = Hosts(PATIENCE, ANSWER)
    hosts.answered(HOST, 100.0)
    for attempt in range(rounds):
        for image in range(bad):
            hosts.failed(HOST, str(image), REFUSED, 99.9, 101.0 + attempt)
    assert not hosts.is_away(HOST)


def test_hosts_are_apart() -> None:
    """A host that is away says nothing about another one."""
    hosts = gone()
    assert hosts.admit("http://other", 100.0)
    assert not hosts.is_away("http://other")


def test_old_knowledge_is_forgotten() -> None:
    """A host that nobody asked for a while is asked by all again: it may have come back long ago."""
    hosts = gone()
    assert all(hosts.admit(HOST, 100.0 + PATIENCE + second) for second in range(20))
