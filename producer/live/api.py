"""The HTTP door: `POST /v1/images`. Images that it answers with 2xx are on disk for good."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from aiohttp import web

from producer.backlog import LiveBacklog
from producer.live import incoming
from producer.live.answers import Answers
from producer.live.body import Body, receive
from producer.live.incoming import InHand
from producer.live.live_job import Accepted, Arrival
from producer.live.series_journal import Refused, SeriesJournal
from trapstream.core import door, event_filter, faults, json_codec, log, metrics
from trapstream.core.door import BadRequest, Handler, as_json, timed
from trapstream.core.keys import Key, Keys, Quotas
from trapstream.core.messages import Webhook
from trapstream.core.settings import ProducerSettings
from trapstream.jobs import names

_BUSY_SECONDS = 5.0
"""After which a sender that met a backlog may come again."""


class Door:
    """The routes; closed until this producer takes live images, and while it stops."""

    def __init__(self, settings: ProducerSettings, keys: Keys | None) -> None:
        self._settings, self._keys, self._quotas = settings, keys, Quotas()
        self._inside: tuple[SeriesJournal, Answers, LiveBacklog] | None = None
        self.was_open = False
        """It has taken images, or may have."""
        self.in_hand = InHand()
        """Images whose bytes are there and whose lines are not written yet."""
        self._asked = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self, journal: SeriesJournal, answers: Answers, backlog: LiveBacklog) -> None:
        """Begins to take images."""
        self._inside, self.was_open = (journal, answers, backlog), True

    def close(self) -> None:
        """From here on every sender is told to come back."""
        self._inside = None

    async def idle(self, seconds: float) -> None:
        """Returns once every request is answered, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[timed, _explained])
        app.add_routes(
            [
                web.post("/v1/images", self._post),
                web.get("/v1/jobs/{job}/events", self._to_notifier, allow_head=False),
                web.get("/v1/series/{series}/events", self._to_notifier, allow_head=False),
                web.get("/healthz", self._healthz),
            ]
        )
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        taking = self._inside is not None
        return as_json({"ready": taking}, 200 if taking else 503)

    async def _to_notifier(self, request: web.Request) -> web.Response:
        """Sends a client that asks for events to the notifier."""
        if self._settings.events_url is None:
            raise BadRequest(404, "a notifier has the events: ask it, or name it in TRAPSTREAM_EVENTS_URL")
        location = self._settings.events_url.rstrip("/") + request.rel_url.raw_path_qs
        return web.Response(status=307, headers={"Location": location, "Cache-Control": "no-store"})

    async def _post(self, request: web.Request) -> web.Response:
        self._asked += 1
        self._idle.clear()
        try:
            return await self._take(request)
        finally:
            self._asked -= 1
            if not self._asked:
                self._idle.set()

    async def _take(self, request: web.Request) -> web.Response:
        began = round(time.time(), 3)
        key = door.authorised(request, self._keys)
        if self._inside is None:
            raise BadRequest(503, "another producer takes the uploads, or this one is stopping", 1.0)
        journal, answers, backlog = self._inside
        wait = self._wait_seconds(request.query)
        self._check_limits(backlog, key)
        with ExitStack() as held:
            body = await receive(request, self._settings, held, self.in_hand)
            if key is not None:
                self._quotas.spend(key, len(body.images))
            fields = {**request.query, **body.fields}
            accepted = await journal.accept(await _arrivals(body, fields, began), _webhook(fields))
        for each in accepted:
            metrics.ARRIVALS.labels("http", "repeated" if each.repeated else "accepted").inc()
        images = [_shown(each) for each in accepted]
        answered = True
        if wait:
            until = time.monotonic() + wait
            for each, image in zip(accepted, images, strict=True):
                left = until - time.monotonic()
                answer = await answers.wait((each.job, each.seq), max(left, 0.01), _since(each, journal))
                answered = answered and answer is not None
                if answer is not None:
                    image["result"] = json_codec.raw(answer.entry)
                    if request.query.get("times") == "1":
                        image["ms"] = json_codec.raw(answer.ms)
        faults.reach("arrive.4")
        return as_json({"images": images}, 200 if wait and answered else 202)

    def _wait_seconds(self, query: Mapping[str, str]) -> float:
        text = query.get("wait", "0")
        most = self._settings.upload_wait_seconds
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= most:
            raise BadRequest(400, f"wait is a number of seconds from 0 to {most:g}")
        return seconds

    def _check_limits(self, backlog: LiveBacklog, key: Key | None) -> None:
        """Comes before the body is read: a sender that is told to come back shall not have sent it for nothing."""
        if key is not None and (seconds := self._quotas.wait(key)) > 0:
            raise BadRequest(429, f"the key's quota of {key.per_minute} images a minute is used up", seconds)
        if backlog.images >= self._settings.upload_backlog:
            raise BadRequest(429, f"{backlog.images:,} live images wait for their answer already", _BUSY_SECONDS)
        if incoming.is_full(self._settings.results):
            raise BadRequest(507, "the disk of the result store is full", 60.0)


async def _arrivals(body: Body, fields: Mapping[str, str], began: float) -> list[Arrival]:
    """The images with their facts; their bytes are on disk for good. BadName; BadRequest; OSError."""
    camera = names.series_name(fields["camera"]) if "camera" in fields else None
    if "job" not in fields and camera is None:
        raise BadRequest(400, "whose image is it? Say job=NAME or camera=NAME")
    series = names.series_name(fields["job"]) if "job" in fields else camera or ""
    taken = names.captured(fields["captured"]) if "captured" in fields else None
    meta = _facts(camera, names.meta(fields["meta"]) if "meta" in fields else None)
    arrivals = []
    for given, spool in body.images:
        kept = await spool.keep()
        own = given or (fields.get("file", "") if len(body.images) == 1 else "")
        file = names.harmless(own) or f"{kept.sha256[:16]}.{kept.uri.rpartition('.')[2]}"
        if camera is not None and "job" in fields:
            file = f"{camera}/{file}"
        arrivals.append(Arrival(series, file, kept.uri, f"sha256:{kept.sha256}", meta, taken, began))
    return arrivals


def _webhook(fields: Mapping[str, str]) -> Webhook | None:
    if "webhook" not in fields:
        if "webhook_filter" in fields:
            raise BadRequest(400, "webhook_filter needs webhook=URL")
        return None
    return event_filter.webhook(fields["webhook"], fields.get("webhook_filter", ""))


def _facts(camera: str | None, meta: str | None) -> str | None:
    """The facts of an image that its sender gave, as its reference carries them: a JSON object, or None."""
    known = {name: value for name, value in (("camera", camera), ("meta", meta)) if value is not None}
    return json_codec.encode(known).decode() if known else None


def _since(image: Accepted, journal: SeriesJournal) -> float | None:
    """From when on the answer to an image that was there before may be found; None for one that is new."""
    job = journal.find(image.job) if image.repeated else None
    return job.record.spec.created if job is not None else None


def _shown(image: Accepted) -> dict[str, Any]:
    return {
        "id": f"{image.job}/{image.seq}",
        "job": image.job,
        "seq": image.seq,
        "file": image.file,
        "repeated": image.repeated,
    }


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:  # a client gets one line for any error
        metrics.ARRIVALS.labels("http", "refused").inc()
        if isinstance(error, Refused):
            return door.refusal(request, 503, str(error), _BUSY_SECONDS)
        if isinstance(error, OSError):
            log.get_logger().error("upload not kept", error=str(error))
            return door.refusal(request, 507, f"the result store cannot be written ({error.strerror})", 60.0)
        return door.answer_to(request, error, "POST /v1/images takes images")
