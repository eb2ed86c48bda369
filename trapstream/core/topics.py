"""The topics: names, partitions, keys and retention, in one table. Pure."""

from dataclasses import dataclass

from trapstream.core.messages import Lane

DAY_MS = 24 * 3600 * 1000
MAX_MESSAGE_BYTES = 1_000_000
MAX_REF_BYTES = 512 * 1024
"""A larger reference is a dead letter. The producer's are far smaller, and what one becomes must fit into a message."""


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One topic as it is created."""

    name: str
    partitions: int
    """Also the most members of a group that can share the work."""
    key: str
    """What the key is, for readers of this table; "none" spreads evenly."""
    compact: bool = False
    """Keep the newest value of each key."""
    retention_ms: int
    """How long a message is kept; of a compacted topic: how long the newest value of a key."""
    segment_bytes: int = 64 * 1024 * 1024
    """Kafka deletes and compacts whole segments, and never the one that it writes to."""
    segment_ms: int = DAY_MS
    """A segment older than this is closed, so that little traffic does not keep old messages."""

    def config(self) -> dict[str, str]:
        """The topic's settings in Kafka's words."""
        return {
            "cleanup.policy": "compact,delete" if self.compact else "delete",
            "retention.ms": str(self.retention_ms),
            "segment.bytes": str(self.segment_bytes),
            "segment.ms": str(self.segment_ms),
            "max.message.bytes": str(MAX_MESSAGE_BYTES + 10_000),
        }


_SMALL = 16 * 1024 * 1024
LIVE = Topic(name="images.live", partitions=8, key="none", retention_ms=7 * DAY_MS)
BULK = Topic(name="images.bulk", partitions=16, key="none", retention_ms=30 * DAY_MS)
DETECTIONS = Topic(name="detections", partitions=8, key="job", retention_ms=60 * DAY_MS)
# Longer than any result is kept, so that no result is without its job.
JOBS = Topic(name="jobs", partitions=4, key="job", compact=True, retention_ms=365 * DAY_MS, segment_bytes=_SMALL)
STATUS = Topic(
    name="job-status", partitions=4, key="job", compact=True, retention_ms=365 * DAY_MS, segment_bytes=_SMALL
)
DEAD_LETTERS = Topic(name="dead-letters", partitions=1, key="none", retention_ms=60 * DAY_MS, segment_bytes=_SMALL)

TOPICS = (LIVE, BULK, DETECTIONS, JOBS, STATUS, DEAD_LETTERS)


def lane_group(lane: Lane) -> str:
    """The group whose committed offsets tell how far a lane's references are answered."""
    return f"consumer-{lane}"


def lane_topic(lane: Lane) -> Topic:
    """The topic that carries a lane's references."""
    return LIVE if lane is Lane.LIVE else BULK
