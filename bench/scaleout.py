"""One, two, four, eight consumers against a detector that takes time but no core: does each bring its whole share?"""

import contextlib
from pathlib import Path

from bench import load
from bench.load import Images
from bench.plan import Plan
from bench.records import Record, Runs, record
from bench.services import service
from bench.stacks import Bench

EFFICIENCY = 0.9
_SECONDS = 0.025
"""Of the detector for an image: 40 images/s for each consumer, so that eight of them leave the cores at rest."""
_SETTINGS = {"TRAPSTREAM_SLABS": "1", "TRAPSTREAM_BATCH": "4"}
"""One request at a time for each consumer: its rate is then the detector's time, and not how far it runs ahead. A
larger slab would go as two requests, to two of the instances."""
_FILLING, _DRAINING = 32, 100
"""Of each consumer. With one slab its stages hold about 70 images."""


def scaleout(plan: Plan, bench: Bench) -> list[Record]:
    """The rate of n consumers, divided by n times that of one. `bench` has but a producer."""
    counts = plan.pick([1, 2, 4], [1, 2, 4, 8])
    model = bench.load_model("steady", _SECONDS, instances=counts[-1])
    uris = load.uris(Images(size=(128, 96), count=8), plan.say)
    found: list[Record] = []
    single, started = 0.0, 0
    with contextlib.ExitStack() as running:
        stack = running.enter_context(service(bench, "aggregator", settings={"TRAPSTREAM_STATUS_SECONDS": "0.1"}))
        for count in counts:
            for number in range(started, count):
                running.enter_context(service(stack, "consumer", number, _SETTINGS))
            started = count
            warm = load.write_manifest(plan.work / "warm.jsonl", uris, count * (_FILLING + _DRAINING))
            stack.run(warm, model, count * _FILLING, count * _DRAINING)  # those that came join the group meanwhile
            images = count * (_FILLING + _DRAINING + int(plan.seconds / _SECONDS))
            manifest = load.write_manifest(plan.work / "scaleout.jsonl", uris, images)

            def once(manifest: Path = manifest, count: int = count) -> float:
                return stack.run(manifest, model, count * _FILLING, count * _DRAINING).rate

            runs = plan.repeat(f"{count} consumers", once, most=plan.pick(1, 4))
            single = single or runs.value
            what = f"{count} consumer{'s' * (count > 1)}"
            found.append(record("scaleout", what, runs, "images/s"))
            if count > 1:
                shares = Runs(tuple(value / count / single for value in runs.values))
                found.append(record("scaleout", f"{what} / {count} x 1 consumer", shares, "x", at_least=EFFICIENCY))
    return found
