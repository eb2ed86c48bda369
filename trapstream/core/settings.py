"""Settings: one frozen object for each service, read once from the environment. Nothing else reads it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class CoreSettings(BaseSettings):
    """What every service needs. Each field is TRAPSTREAM_<NAME> in the environment."""

    model_config = SettingsConfigDict(env_prefix="TRAPSTREAM_", frozen=True, extra="ignore")

    home: Path
    """The state folder. The result store is `results` in it."""
    kafka: str = "127.0.0.1:9092"
    """host:port of a broker."""
    member: str = "0"
    """This copy's name, unique among the copies of a service: static membership in its group."""
    http_port: int = 0
    """Health and metrics; 0 takes a free port."""
    http_host: str = "127.0.0.1"
    """Address that health and metrics listen on."""
    log_format: Literal["auto", "json", "pretty"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_seconds: float = Field(default=20.0, gt=0)
    """Work in flight may take this long to end when the process stops or loses a partition."""

    @property
    def results(self) -> Path:
        """The result store's folder: results and manifests."""
        return self.home / "results"


class ProducerSettings(CoreSettings):
    """The producer."""

    publish_ahead: int = Field(default=128, ge=0)
    """References of the bulk lane that may always wait for the consumers; 0: no bound."""
    publish_ahead_seconds: float = Field(default=3.0, gt=0)
    """And as many as the consumers take in so many seconds, which should be a few times their `commit_seconds`."""

    api_host: str = "127.0.0.1"
    """Address that uploads are taken at. Any but a loopback address needs `api_keys`."""
    api_port: int = 0
    """Port of uploads; 0 takes a free one."""
    api_keys: Path | None = None
    """File of the API keys. Without it everybody on this machine may upload."""
    upload_bytes: int = Field(default=50_000_000, gt=0)
    """Largest uploaded image."""
    upload_images: int = Field(default=50, gt=0)
    """Images in one request."""
    upload_connections: int = Field(default=100, gt=0)
    """Connections at once; a further one is told to come back."""
    upload_patience_seconds: float = Field(default=10.0, gt=0)
    """A connection that sends nothing, or less than 1 KiB a second, is ended after so long."""
    upload_wait_seconds: float = Field(default=60.0, gt=0)
    """Longest `wait` of an upload for its detections."""
    upload_backlog: int = Field(default=10_000, gt=0)
    """Live images without an answer; beyond it uploads are told to come back."""
    upload_keep_days: float | None = Field(default=None, ge=0)
    """Uploaded images are removed so many days after their jobs have ended; kept for ever without it."""
    live_model: str = "demonstration"
    """NAME[@VERSION] of the model of live jobs."""
    live_threshold: float = Field(default=0.005, ge=0, le=1)
    """Lowest confidence kept in their files."""
    live_period_seconds: int = Field(default=24 * 3600, gt=0)
    """How long a live job is open. From a day on it begins at midnight."""
    live_zone: str = "UTC"
    """Time zone by whose wall clock the periods begin, such as Africa/Nairobi."""
    live_most_images: int = Field(default=200_000, gt=0)
    """Images of a live job; the next one goes into another job of the same period."""
    live_most_series: int = Field(default=1_000, gt=0)
    """Series at once."""
    events_url: str | None = None
    """http://host:port of a notifier: who asks here for a job's events is sent there."""
    bucket_topic: str | None = None
    """Kafka topic with the notifications of a bucket; none is read without it."""
    bucket_series: dict[str, str] = {}
    """bucket or bucket/prefix to the series of what lies below it. JSON object in the environment."""

    @property
    def cursors(self) -> Path:
        """Folder of the cursors: how far each job is published."""
        return self.home / "producer"


class ConsumerSettings(CoreSettings):
    """The consumer."""

    triton: str = "127.0.0.1:8001"
    """host:port of Triton's gRPC."""
    shm_prefix: str = "trapstream"
    """Begins the name of every shared memory region of this stack."""
    shared_memory: bool = True
    """Pixels go to Triton by system shared memory; off where the server is on another machine."""
    roots: list[Path] = [Path("/")]
    """Local files are read below these folders only. JSON list in the environment."""
    allow_private_networks: bool = False
    """Whether a URL may reach loopback, link-local and private addresses."""
    max_bytes: int = Field(default=200_000_000, gt=0)
    """Largest encoded image."""
    max_pixels: int = Field(default=200_000_000, gt=0)
    """Largest decoded image, against decompression bombs."""
    fetch_seconds: float = Field(default=30.0, gt=0)
    """One attempt to fetch an image may take this long."""
    fetch_attempts: int = Field(default=3, gt=0)
    host_patience_seconds: float = Field(default=600.0, gt=0)
    """A server of images that is away is waited for so long; then its images fail."""
    fetches: int = Field(default=32, gt=0)
    """Fetches in flight, of each lane."""
    decoders: int = Field(default=1, gt=0)
    """Decode batches at work at once, each in a thread of its own. One more is for live images alone."""
    decode_threads: int = Field(default=1, gt=0)
    """DALI's threads for each of them."""
    decode_device: Literal["cpu", "mixed"] = "cpu"
    batch: int = Field(default=8, gt=0)
    """Images decoded together, and sent in one request where they share a shape."""
    slabs: int = Field(default=4, gt=0)
    """Decoded batches in flight, of each lane: decode waits for a free one."""
    live_share: float = Field(default=0.8, gt=0, lt=1)
    """Share of the live lane while both lanes have work."""
    commit_seconds: float = Field(default=1.0, gt=0)


class AggregatorSettings(CoreSettings):
    """The aggregator."""

    status_seconds: float = Field(default=0.3, gt=0)
    """Between two reports of a job's progress."""
    fold_batch: int = Field(default=5_000, gt=0)
    """Results folded in one transaction at most."""
    lag_seconds: float = Field(default=5.0, gt=0)
    """Between two commits of the group's offset, which only tells the lag: the stores keep their own."""
    quiet_seconds: float = Field(default=2.0, gt=0)
    """A cancelled job's file is written once no result of it has come for so long."""
    quiet_most_seconds: float = Field(default=30.0, gt=0)
    """The longest wait for that."""

    repair_seconds: float = Field(default=30.0, gt=0)
    """A sealed job without a new result for so long is looked at: what it lacks and can get no more is published
    again."""
    unknown_seconds: float = Field(default=3600.0, gt=0)
    """What is kept of a job without a spec goes after so long."""

    @property
    def stores(self) -> Path:
        """The folder of the stores, one for each partition of `detections`."""
        return self.home / "aggregator"


class NotifierSettings(CoreSettings):
    """The notifier."""

    events_host: str = "127.0.0.1"
    """Address that streams of events are asked for at. Any but a loopback address needs `api_keys`."""
    events_port: int = 0
    """Port of the streams; 0 takes a free one."""
    api_keys: Path | None = None
    """File of the API keys, as the producer's."""
    events_clients: int = Field(default=200, gt=0)
    """Streams at once; a further client is told to come back."""
    events_heartbeat_seconds: float = Field(default=15.0, gt=0)
    """A stream without events has a comment so often."""
    events_patience_seconds: float = Field(default=10.0, gt=0)
    """A client that does not read is cut off after so long."""

    webhook_secret: SecretStr | None = None
    """What webhooks are signed with. Without it one is made in `notifier/secret` of the state folder."""
    webhook_seconds: float = Field(default=10.0, gt=0)
    """One attempt may take this long."""
    webhook_attempts: int = Field(default=20, gt=0)
    """After so many an event is given up."""
    webhook_age_seconds: float = Field(default=24 * 3600.0, gt=0)
    """An event that is older and fails is given up."""
    allow_private_webhooks: bool = False
    """Whether webhooks may go to loopback, link-local and private addresses."""

    @property
    def folder(self) -> Path:
        """Folder of the deliveries: how far each webhook has come, and the secret."""
        return self.home / "notifier"
