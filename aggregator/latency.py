"""How long results wait for their fold: a few of each batch. A look at each would cost a part of the fold's rate."""

from collections.abc import Mapping, Sequence

from aiokafka.structs import ConsumerRecord

from trapstream.core import metrics
from trapstream.core.messages import JobSpec

_MOST = 32
"""Results of a batch that are looked at. Batches of live images are mostly smaller."""


def observe(records: Sequence[ConsumerRecord], specs: Mapping[str, JobSpec], now: float) -> None:
    """Takes down how long ago some of `records` came into the log. `now`: seconds since 1970."""
    for record in records[:: -(-len(records) // _MOST)]:
        spec = specs.get((record.key or b"").decode(errors="replace"))
        if spec is not None:
            metrics.STAGE_SECONDS.labels(spec.lane, "fold").observe(max(0.0, now - record.timestamp / 1000))
