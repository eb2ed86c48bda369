"""The best setting of this machine for a model: searched on a real stack, and kept where the next start finds it."""

import asyncio

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from bench import load, machine, slowing
from bench.plan import Plan
from bench.records import Record, Runs, record
from bench.search import Found, Setting, search
from bench.services import service
from bench.stacks import Bench, BenchError, environment
from trapstream.core.settings import ConsumerSettings
from trapstream.core.triton_names import entry_name
from trapstream.local import entry, triton, tuned
from trapstream.local.entry import Serving
from trapstream.local.plan import decoding

INSTANCES, DECODERS, THREADS, SLABS, BATCH, FETCHES = tuned.NAMES
_IMAGES = 50_000
"""In the job of each run: more than a run does."""
_FILLING = 150
"""Images done before a rate is taken: with large batches the stages hold a hundred, and while they fill up, time goes
into what is not done yet."""
_ENOUGH = 150
"""Images that a rate is taken over, if they do not take longer than _MOST_SECONDS: batches end together, so that few
of them tell little."""
_MOST_SECONDS = 30.0


def usual(cores: int) -> Setting:
    """What a stack on a machine of so many cores takes where nothing is said."""
    mine = {name: int(value) for name, value in decoding(cores, 1).items()}
    defaults = {name: field.default for name, field in ConsumerSettings.model_fields.items()}
    with environment({}):
        instances = entry.default_serving(cores).instances
    return {
        INSTANCES: instances,
        DECODERS: mine[DECODERS],
        THREADS: defaults["decode_threads"],
        SLABS: mine[SLABS],
        BATCH: defaults["batch"],
        FETCHES: defaults["fetches"],
    }


def axes(cores: int, quick: bool) -> dict[str, tuple[int, ...]]:
    """The values that are tried: for what computes, shares of the cores; for what waits, half and twice the usual.

    A request has at most as many images as an entry takes. How many files are read at once matters least on a disk, so
    a quick search leaves it out.
    """
    default = usual(cores)
    shares = tuple(sorted({max(1, cores // 4), max(1, cores // 2), cores}))
    most = Serving().max_batch_size
    found = {
        INSTANCES: tuple(sorted({min(16, value) for value in shares})),
        DECODERS: shares,
        SLABS: (max(2, default[SLABS] // 2), default[SLABS], 2 * default[SLABS]),
        BATCH: (max(1, most // 4), max(1, most // 2), most),
        THREADS: (1, 2),
        FETCHES: (default[FETCHES] // 2, default[FETCHES], 2 * default[FETCHES]),
    }
    return {name: values for name, values in found.items() if not (quick and name == FETCHES)}


def tune(plan: Plan, bench: Bench) -> list[Record]:
    """Searches, and keeps what is better than the usual settings in the home. `bench` has no consumer."""
    if (others := machine.busy()) > plan.cores / 2 + 1:  # its own stack was started just now
        plan.say(
            f"other work runs here (load {others:g} on {plan.cores} cores): what is best beside it may not be alone"
        )
    trials = _Trials(plan, bench)
    trying = axes(plan.cores, plan.quick)
    default = {name: value for name, value in usual(plan.cores).items() if name in trying}
    try:
        found = search(trying, default, trials.rate, trials.most, plan.pick(3, 5))
    except ValueError as error:
        raise BenchError(f"there is nothing to tune: {error}; see `trapstream bench pipeline`") from error
    keep(plan, found, default)
    if found.tried == default:
        return [record("tune", f"usual settings, {plan.label}", Runs(trials.usual(default)), "images/s", settings={})]
    return [
        record("tune", f"usual settings, {plan.label}", Runs(found.defaults), "images/s", settings=default),
        record("tune", f"{_words(found.tried, default)}, {plan.label}", Runs(found.rates), "images/s"),
        record(
            "tune", "tuned / usual settings", Runs(found.ratios), "x", smallest=round(min(found.ratios), 3),
            largest=round(max(found.ratios), 3), kept=found.best == found.tried, settings=found.tried,
        ),
    ]  # fmt: skip


def keep(plan: Plan, found: Found, default: Setting) -> None:
    """Writes the settings down, or removes older ones where the usual are as good; says which."""
    path = tuned.settings_file(plan.home)
    spread = f"{min(found.ratios):.2f} to {max(found.ratios):.2f}" if found.ratios else ""
    try:
        if found.best != default:
            kept = tuned.Tuned(
                model=plan.model.bundle.label, cores=plan.cores, gain=round(found.gain, 3), settings=found.best
            )
            tuned.write(plan.home, kept)
            plan.say(f"{_words(found.best, default)} gives {found.gain:.2f} x ({spread}): kept in {path}")
            plan.say("the next `trapstream up` or `trapstream run` takes it; the environment goes before it")
            return
        if found.ratios:
            plan.say(
                f"{_words(found.tried, default)} gives {found.gain:.2f} x, which is within the spread ({spread}): "
                "the usual settings stay"
            )
        else:
            plan.say("nothing that was tried is faster: the usual settings stay")
        if path.exists():
            path.unlink()
            plan.say(f"older settings are removed: {path}")
    except OSError as error:
        raise BenchError(f"{path} cannot be written: {error.strerror or error}") from error


def _words(setting: Setting, default: Setting) -> str:
    """What of it is not as usual."""
    other = {name: value for name, value in setting.items() if value != default[name]}
    return ", ".join(f"{name.removeprefix('TRAPSTREAM_')}={value}" for name, value in other.items()) or "as usual"


class _Trials:
    """Runs of a consumer with other settings each time, beside a stack that stays up."""

    def __init__(self, plan: Plan, bench: Bench) -> None:
        self.most = plan.pick(34, 100)
        """Runs."""
        self._plan, self._bench = plan, bench
        self._manifest = load.write_manifest(plan.work / "tune.jsonl", load.uris(plan.images, plan.say), _IMAGES)
        self._instances = 0
        self._seconds = plan.seconds
        self._rates: list[tuple[Setting, float]] = []

    def usual(self, setting: Setting) -> tuple[float, ...]:
        """The rates of the runs with this setting."""
        return tuple(rate for tried, rate in self._rates if tried == setting)

    def rate(self, setting: Setting) -> float:
        """Images a second of one run; 0 where nothing comes out, which is told."""
        changes = _words(setting, usual(self._plan.cores))
        self._plan.tell(f"{changes} (of at most {self.most} runs)", len(self._rates) + 1)
        variables = {name: str(value) for name, value in setting.items() if name != INSTANCES}
        try:
            self._serve(setting[INSTANCES])
            with service(self._bench, "consumer", settings=variables) as seen:
                found = asyncio.run(
                    slowing.sampled(seen, self._manifest, self._plan.model.info, self._seconds, _FILLING)
                ).rate
        except (BenchError, InferenceServerException) as error:
            if not self._rates:
                raise
            self._plan.say(f"{changes} does not work: {error}")
            found = 0.0
        if found:
            self._seconds = max(self._plan.seconds, min(_MOST_SECONDS, _ENOUGH / found))
        self._rates.append((setting, found))
        return found

    def _serve(self, instances: int) -> None:
        """Has Triton serve the model with so many instances, which share the cores."""
        if instances == self._instances:
            return
        card, model = self._plan.model.bundle.card, self._plan.model
        name = entry_name(card.name, card.version)
        serving = Serving(instances=instances, threads=max(1, self._plan.cores // instances))
        entry.render(model.bundle.graph, name, self._bench.home / triton.REPOSITORY, serving, model.runtime)
        client = InferenceServerClient(self._bench.triton)
        try:
            client.load_model(name)
        finally:
            client.close()
        self._instances = instances
