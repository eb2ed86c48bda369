"""Which models the server does not serve just now: a model that is not loaded is no bad image. Pure: the time is given.

Nobody's patience ends here: a job waits for its model until that is loaded, or until the job is cancelled.
"""

from consumer.hosts import Verdict
from trapstream.core.messages import ModelInfo


class Absent:
    """What is known of each model that is not served, by its label (name@version)."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._why: dict[str, str] = {}
        self._models: dict[str, ModelInfo] = {}

    def missing(self, model: ModelInfo, why: str, now: float) -> None:
        """The server said that it does not serve `model`."""
        self._since.setdefault(model.label, now)
        self._why[model.label] = why
        self._models[model.label] = model

    def back(self, model: ModelInfo) -> None:
        """The server says that `model` is ready."""
        for known in (self._since, self._why, self._models):
            known.pop(model.label, None)

    def models(self) -> list[ModelInfo]:
        """Those that are missing."""
        return list(self._models.values())

    def is_away(self, label: str) -> bool:
        """Whether the model is missing."""
        return label in self._since

    def away(self) -> dict[str, float]:
        """The models that are missing, and since when."""
        return dict(self._since)

    def why(self, label: str) -> str:
        """What the server said."""
        return self._why.get(label, "")

    def failure(self, label: str) -> None:
        """None: no image fails since its model is not loaded."""

    def verdict(self, label: str, first: float, held: float, now: float) -> Verdict:  # noqa: ARG002 - as that of Hosts
        """What to do with an image that waits for its model."""
        return Verdict.WAIT if label in self._since else Verdict.TRY

    def is_given_up(self, label: str, now: float) -> bool:  # noqa: ARG002 - as that of Hosts
        """Never."""
        return False
