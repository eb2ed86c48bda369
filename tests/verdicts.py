"""The verdict on a job that runs, waited for: on a machine with other work one window may be spoilt by a pause."""

from bench.stacks import Bench
from tests.waiting import eventually
from trapstream.core.messages import JobSpec
from trapstream.core.verdict import Verdict

SECONDS = 2.0
"""Of a window: several batches of the slowest stage."""


async def named(bench: Bench, spec: JobSpec, *limits: str, filling: int = 16) -> Verdict:
    """The verdict, once one of `limits` limits and the first of them is the busiest stage."""
    seen: list[str] = []

    async def told() -> Verdict | None:
        found = (await bench.sample(spec, SECONDS, filling, end=False)).verdict
        seen.append(found.sentence if found is not None else "nothing was done")
        return found if found is not None and found.limits in limits and found.busiest == limits[0] else None

    try:
        return await eventually(f"the verdict on {limits[0]}", told, 30.0)
    except AssertionError as error:
        raise AssertionError(f"{error}; it said: {seen}") from None
