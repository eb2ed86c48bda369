"""A bundle as a running Triton serves it: one side of a check."""

from __future__ import annotations

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from trapstream.core.errors import TrapstreamError
from trapstream.core.triton_names import TRITON_VERSION, entry_name
from trapstream.models.agreement import Rows
from trapstream.models.card import Card
from trapstream.models.check import Side, rows_of
from trapstream.models.original import Pixels

_ASK_SECONDS = 10.0
_ANSWER_SECONDS = 600.0
"""For one image: a large model on few cores, which others use too."""


class NotServed(TrapstreamError):
    """Triton does not serve this bundle. One line that says why."""


def in_triton(server: str, card: Card) -> Side:
    """The bundle of `card` as it is served at `server` (host:port). Raises NotServed."""
    client = triton.InferenceServerClient(server)
    entry = entry_name(card.name, card.version)
    try:
        config = client.get_model_config(entry, TRITON_VERSION, client_timeout=_ASK_SECONDS).config
    except InferenceServerException as error:
        raise NotServed(f"it does not serve {card.name}@{card.version}: {' '.join(str(error).split())}") from error
    told = config.parameters["precision"].string_value if "precision" in config.parameters else "float32"
    runtime = config.parameters["runtime"].string_value if "runtime" in config.parameters else config.backend

    def answer(pixels: Pixels) -> Rows:
        given = triton.InferInput("images", [1, *pixels.shape], "UINT8")
        given.set_data_from_numpy(pixels[None])
        outputs = [triton.InferRequestedOutput(name) for name in ("detections", "count")]
        answered = client.infer(entry, [given], TRITON_VERSION, outputs, client_timeout=_ANSWER_SECONDS)
        return rows_of(answered.as_numpy("detections"), answered.as_numpy("count"))

    return Side(f"Triton ({runtime})", card.precision if told == "float32" else told, answer)
