"""Every metric's name, in one place. Served by each service at /metrics."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

PUBLISHED = Counter("trapstream_published_total", "References acknowledged by Kafka", ["lane"])
BACKLOG = Gauge("trapstream_backlog", "References published and not yet answered, while jobs are published", ["lane"])
BACKLOG_MOST = Gauge("trapstream_backlog_most", "References that may wait for the consumers now", ["lane"])
IMAGES = Counter("trapstream_images_total", "Images answered", ["lane", "outcome"])
FAILURES = Counter("trapstream_failures_total", "Images failed", ["reason"])
STAGE_SECONDS = Histogram("trapstream_stage_seconds", "Time in a stage", ["stage"], buckets=_SECONDS)
BATCH_IMAGES = Histogram("trapstream_batch_images", "Images in a request", buckets=(1, 2, 4, 8, 16, 32))
CHANNEL_USED = Gauge("trapstream_channel_used", "Items in a channel", ["channel"])
CHANNEL_SENDERS = Gauge("trapstream_channel_senders_waiting", "Senders held by a full channel", ["channel"])
CHANNEL_RECEIVERS = Gauge("trapstream_channel_receivers_waiting", "Receivers that wait", ["channel"])
WAITING = Gauge("trapstream_waiting", "1 while a service waits for another", ["on"])
IN_FLIGHT = Gauge("trapstream_in_flight", "References fetched and not yet committed", ["lane"])
DEAD_LETTERS = Counter("trapstream_dead_letters_total", "Messages that could not be read", ["topic"])
FOLDED = Counter("trapstream_folded_total", "Results folded")
REPEATED = Counter("trapstream_repeated_total", "Results that came again and were not counted")
REPAIRED = Counter("trapstream_repaired_total", "Images without an answer that were published again")
JOBS_OPEN = Gauge("trapstream_jobs_open", "Jobs not yet ended")
