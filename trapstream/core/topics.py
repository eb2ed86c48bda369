"""The topics: names, partitions, keys and retention, in one table."""

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
    """Keep the newest value of each key instead of deleting by age."""
    retention_ms: int = -1
    """How long a message is kept; -1 where compaction decides."""

    def config(self) -> dict[str, str]:
        """The topic's settings in Kafka's words."""
        policy = {"cleanup.policy": "compact"} if self.compact else {"cleanup.policy": "delete"}
        return policy | {"retention.ms": str(self.retention_ms), "max.message.bytes": str(MAX_MESSAGE_BYTES + 10_000)}


LIVE = Topic(name="images.live", partitions=8, key="none", retention_ms=7 * DAY_MS)
BULK = Topic(name="images.bulk", partitions=16, key="none", retention_ms=30 * DAY_MS)
DETECTIONS = Topic(name="detections", partitions=8, key="job", retention_ms=60 * DAY_MS)
JOBS = Topic(name="jobs", partitions=4, key="job", compact=True)
STATUS = Topic(name="job-status", partitions=4, key="job", compact=True)
DEAD_LETTERS = Topic(name="dead-letters", partitions=1, key="none", retention_ms=60 * DAY_MS)

TOPICS = (LIVE, BULK, DETECTIONS, JOBS, STATUS, DEAD_LETTERS)


def lane_group(lane: Lane) -> str:
    """The group whose committed offsets tell how far a lane's references are answered."""
    return f"consumer-{lane}"


def lane_topic(lane: Lane) -> Topic:
    """The topic that carries a lane's references."""
    return LIVE if lane is Lane.LIVE else BULK
