"""Every metric's name, in one place. Served by each service at /metrics."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)

PUBLISHED = Counter("trapstream_published_total", "References acknowledged by Kafka", ["lane"])
BACKLOG = Gauge("trapstream_backlog", "References published and not yet answered, while jobs are published", ["lane"])
BACKLOG_MOST = Gauge("trapstream_backlog_most", "References that may wait for the consumers now", ["lane"])
IMAGES = Counter("trapstream_images_total", "Images answered", ["lane", "outcome"])
FAILURES = Counter("trapstream_failures_total", "Images failed", ["reason"])
STAGE_SECONDS = Histogram("trapstream_stage_seconds", "Time in a stage", ["lane", "stage"], buckets=_SECONDS)
ANSWER_SECONDS = Histogram("trapstream_answer_seconds", "From arrival to answer", ["lane"], buckets=_SECONDS)
BATCH_IMAGES = Histogram("trapstream_batch_images", "Images in a request", buckets=(1, 2, 4, 8, 16, 32))
CHANNEL_USED = Gauge("trapstream_channel_used", "Items in a channel", ["channel", "lane"])
CHANNEL_SENDERS = Gauge("trapstream_channel_senders_waiting", "Senders held by a full channel", ["channel", "lane"])
CHANNEL_RECEIVERS = Gauge("trapstream_channel_receivers_waiting", "Receivers that wait", ["channel", "lane"])
STAGE_BUSY = Gauge("trapstream_stage_busy", "Share of time that a stage's workers are at work", ["stage"])
STAGE_WORKERS = Gauge("trapstream_stage_workers", "Images or batches that a stage can work on at once", ["stage"])
LIMITS = Gauge("trapstream_limits", "1 for the stage that limits the rate", ["stage"])
WAITING = Gauge("trapstream_waiting", "1 while a service waits for another", ["on"])
WAITING_FOR_MODEL = Gauge("trapstream_waiting_for_model", "Images whose model is not served, or not well", ["model"])
MODEL_FAULTS = Counter(
    "trapstream_model_faults_total",
    "Requests failed by a model, and not for an image: an instance died, say",
    ["model"],
)
IN_FLIGHT = Gauge("trapstream_in_flight", "References fetched and not yet committed", ["lane"])
ARRIVALS = Counter("trapstream_arrivals_total", "Live images that came, by what became of them", ["way", "outcome"])
LIVE_BACKLOG = Gauge("trapstream_live_backlog", "Live images without an answer")
INCOMING_BYTES = Gauge("trapstream_incoming_bytes", "Room that uploaded images take, as of the last look")
INCOMING_REMOVED = Counter("trapstream_incoming_removed_total", "Uploaded images removed some days after their jobs")
API_CONNECTIONS = Gauge("trapstream_api_connections", "Open connections of the API")
EVENT_CLIENTS = Gauge("trapstream_event_clients", "Open streams of events")
EVENT_CLIENTS_CUT = Counter("trapstream_event_clients_cut_total", "Streams that were ended since nobody read them")
EVENTS = Counter("trapstream_events_total", "Events sent, or delivered to a webhook", ["way"])
WEBHOOKS = Gauge("trapstream_webhooks", "Webhooks of jobs that have not ended, or are not told all yet")
WEBHOOK_FAILURES = Counter("trapstream_webhook_failures_total", "Attempts at a webhook that failed")
WEBHOOK_GIVEN_UP = Counter("trapstream_webhook_given_up_total", "Events that a webhook did not take in the end")
DEAD_LETTERS = Counter("trapstream_dead_letters_total", "Messages that could not be read", ["topic"])
FOLDED = Counter("trapstream_folded_total", "Results folded")
REPEATED = Counter("trapstream_repeated_total", "Results that came again and were not counted")
REPAIRED = Counter("trapstream_repaired_total", "Images without an answer that were published again")
JOBS_OPEN = Gauge("trapstream_jobs_open", "Jobs not yet ended")
