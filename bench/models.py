"""The model that is measured: the demonstration model, or one of the user's."""

from dataclasses import dataclass
from pathlib import Path

import model_repository
from trapstream.core.messages import ModelInfo
from trapstream.models import bundle_store, deployed
from trapstream.models.bundle_store import Bundle
from trapstream.models.card import read_card
from trapstream.models.deployed import RUNTIME, Deployed, Deployment, Runtime

_DEMONSTRATION = Path(model_repository.__path__[0]) / "demonstration"


@dataclass(frozen=True)
class Model:
    """A bundle, and what runs it."""

    bundle: Bundle
    runtime: Runtime = RUNTIME

    @property
    def info(self) -> ModelInfo:
        """The facts of the model that travel with a job."""
        return self.bundle.card.info

    @property
    def name(self) -> str:
        """For people: with its runtime where that is not the usual one."""
        return self.bundle.label if self.runtime == RUNTIME else f"{self.bundle.label} ({self.runtime})"

    def deploy(self, home: Path) -> dict[str, str]:
        """Has a stack that will start in `home` serve this and nothing else; the settings that it needs for that."""
        card = self.bundle.card
        known = Deployed().with_version(card.name, card.version, Deployment(runtime=self.runtime))
        deployed.write(home, known.with_default(card.name, card.version))
        return {"TRAPSTREAM_BUNDLE": str(self.bundle.folder)}


def demonstration() -> Model:
    """The model that is measured where no other is named: every machine has it."""
    return Model(Bundle(_DEMONSTRATION, read_card(_DEMONSTRATION / bundle_store.CARD)))


def chosen(home: Path, label: str | None, runtime: Runtime | None) -> Model:
    """NAME[@VERSION] of `home`, run by what it is deployed with there, unless `runtime` says another. Errors as
    `bundle_store.find`."""
    if label is None:
        return Model(demonstration().bundle, runtime or RUNTIME)
    bundle = bundle_store.find(home, label)
    return Model(bundle, runtime or deployed.read(home).how(bundle.card.name, bundle.card.version).runtime)
