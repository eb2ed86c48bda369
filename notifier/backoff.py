"""When a webhook that failed is tried again, and when its event is given up. Pure."""

FIRST_SECONDS, MOST_SECONDS = 1.0, 300.0


def wait(failures: int) -> float:
    """Seconds after the `failures`th failure in a row, of whichever events: 1, 2, 4 and on, at the most 300."""
    return min(FIRST_SECONDS * 2.0 ** min(failures - 1, 30), MOST_SECONDS)


def gives_up(attempts: int, age: float, most_attempts: int, most_age: float) -> bool:
    """Whether an event is left out that is `age` seconds old and failed `attempts` times.

    Each event is tried once at least, however old it is. The wait goes on growing over the events that are given up,
    so a dead receiver is asked once in five minutes.
    """
    return attempts >= most_attempts or age >= most_age
