"""What one lane has for itself in a consumer, so that it waits for no image of the other."""

from collections import Counter

from consumer.intake import Intake
from consumer.work import Answer, Task
from trapstream.core.channel import Channel
from trapstream.core.jobs import JobTable
from trapstream.core.messages import Lane
from trapstream.core.outbox import Outbox
from trapstream.core.settings import ConsumerSettings


class Line:
    """A lane's intake and the channels behind it. Decode and detect, where the lanes meet, have junctions."""

    def __init__(self, lane: Lane, settings: ConsumerSettings, jobs: JobTable, producer: Outbox) -> None:
        self.intake = Intake(lane, settings, jobs, producer)
        self.to_fetch: Channel[Task] = Channel(1)
        self.to_read: Channel[list[Task]] = Channel(1)
        """Local files, which are read some together."""
        self.to_emit: Channel[Answer] = Channel(1024)
        self.at_detector: Counter[str] = Counter()
        """Images by model."""
