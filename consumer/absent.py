"""Which models give no answers just now: a model that is not loaded, or that answers everything with errors, is no bad
image. Pure: the time is given.

Nobody's patience ends here: a job waits for its model until that is there and well, or until the job is cancelled.
"""

from dataclasses import dataclass

from consumer.hosts import Verdict
from trapstream.core.messages import ModelInfo


@dataclass(frozen=True, slots=True)
class Missing:
    """A model that gives no answers."""

    model: ModelInfo
    since: float
    why: str
    """What the server said last."""
    blank: tuple[int, int, int] | None
    """Height, width, 3 of a blank image that it answered with an error; None for one that is not served."""


class Absent:
    """What is known of each of them, by its label (name@version)."""

    def __init__(self) -> None:
        self._known: dict[str, Missing] = {}

    def missing(self, model: ModelInfo, why: str, now: float, blank: tuple[int, int, int] | None = None) -> None:
        """The server said that it does not serve `model`, or what it answers for `blank`."""
        since = self._known[model.label].since if model.label in self._known else now
        self._known[model.label] = Missing(model, since, why, blank)

    def back(self, model: ModelInfo) -> None:
        """The server has `model` ready, and it is well."""
        self._known.pop(model.label, None)

    def models(self) -> list[Missing]:
        """Those that are missing."""
        return list(self._known.values())

    def is_away(self, label: str) -> bool:
        """Whether the model is missing."""
        return label in self._known

    def away(self) -> dict[str, float]:
        """The models that are missing, and since when."""
        return {label: known.since for label, known in self._known.items()}

    def why(self, label: str) -> str:
        """What the server said."""
        return self._known[label].why if label in self._known else ""

    def failure(self, label: str) -> None:
        """None: no image fails since its model is not there."""

    def verdict(self, label: str, first: float, held: float, now: float) -> Verdict:  # noqa: ARG002 - as that of Hosts
        """What to do with an image that waits for its model."""
        return Verdict.WAIT if label in self._known else Verdict.TRY

    def is_given_up(self, label: str, now: float) -> bool:  # noqa: ARG002 - as that of Hosts
        """Never."""
        return False
