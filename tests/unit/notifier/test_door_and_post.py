"""The notifier's two ways to the network: who may come in, and what a webhook may reach. No Kafka is needed."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from consumer.http_fetch import HttpFetcher
from notifier.events_api import opened
from notifier.hub import Hub
from notifier.posting import Poster
from tests.integration.notifier.listener import receiver
from tests.integration.notifier.test_webhooks import broken, elsewhere, hang
from tests.unit.core.test_keys import entry, written
from tests.unit.producer.test_door import NOBODY, as_served
from trapstream.core.errors import Fatal, Permanent, Reason
from trapstream.core.service import Health
from trapstream.core.settings import ConsumerSettings, NotifierSettings


@as_served
async def test_who_has_no_key_is_not_let_in(tmp_path: Path) -> None:
    """A wrong, a revoked and no key get the same answer; with a good one the API says that it is not ready yet."""
    keys = written(tmp_path / "keys", entry("a", "good"), entry("b", "old", revoked=True))
    settings, health = NotifierSettings(home=tmp_path, kafka=NOBODY, api_keys=keys), Health()
    async with opened(settings, Hub(NOBODY), health), aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{health.details['events']}/v1/jobs/a/events"
        said = set()
        for key in ("", "wrong", "old"):
            async with session.get(url, headers={"Authorization": f"Bearer {key}"}) as answer:
                said.add((answer.status, await answer.text(), answer.headers["WWW-Authenticate"]))
        assert len(said) == 1 and said.pop()[0] == 401
        async with session.get(url, headers={"Authorization": "Bearer good"}) as answer:
            assert answer.status == 503 and answer.headers["Retry-After"] == "1"
        async with session.post(url, headers={"Authorization": "Bearer good"}) as answer:
            assert answer.status == 405 and "GET /v1/jobs" in (await answer.json())["error"]


async def test_a_door_is_not_opened_by_mistake(tmp_path: Path) -> None:
    """Without keys it listens on this machine alone; a port that is taken is told."""
    with pytest.raises(Fatal, match="TRAPSTREAM_EVENTS_HOST"):
        async with opened(NotifierSettings(home=tmp_path, events_host="0.0.0.0"), Hub(NOBODY), Health()):
            pass
    health = Health()
    async with opened(NotifierSettings(home=tmp_path), Hub(NOBODY), health):
        taken = NotifierSettings.model_validate({"home": tmp_path, "events_port": health.details["events"]})
        with pytest.raises(Fatal, match="TRAPSTREAM_EVENTS_PORT"):
            async with opened(taken, Hub(NOBODY), Health()):
                pass


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(10_000):
        await response.write(bytes(10_000))
        await asyncio.sleep(0)
    return response


async def test_an_attempt_at_each_kind_of_receiver() -> None:
    """2xx is taken, whatever follows it; anything else is not; no redirect is followed, and no private address met."""
    ways = {"/hang": hang, "/500": broken, "/302": elsewhere, "/endless": endless}
    async with receiver(ways) as server:
        private, public = Poster(0.3, allow_private=True), Poster(0.3, allow_private=False)
        found = {path: await private.post(server.url + path, {}, b"{}") for path in ("/", *ways)}
        assert found == {
            "/": None, "/endless": None, "/hang": "no answer within 0.3 s", "/500": "HTTP 500",
            "/302": "HTTP 302, and redirects are not followed",
        }  # fmt: skip
        assert "/private" not in server.got
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            assert "not in the public internet" in (await public.post(url, {}, b"{}") or "")
        assert len(server.got["/"]) == 1
        assert await private.post("http://127.0.0.1:1/", {}, b"{}") == "no connection"
        await private.close()
        await public.close()


@pytest.mark.parametrize("opened_gate", ["TRAPSTREAM_ALLOW_PRIVATE_NETWORKS", "TRAPSTREAM_ALLOW_PRIVATE_WEBHOOKS"])
async def test_each_gate_to_private_networks_opens_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened_gate: str
) -> None:
    """Each variable lets through either the fetches of images or the webhooks, and never both."""
    for variable in ("TRAPSTREAM_ALLOW_PRIVATE_NETWORKS", "TRAPSTREAM_ALLOW_PRIVATE_WEBHOOKS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(opened_gate, "true")
    fetches = ConsumerSettings(home=tmp_path).allow_private_networks
    webhooks = NotifierSettings(home=tmp_path).allow_private_webhooks
    assert fetches != webhooks and fetches == (opened_gate == "TRAPSTREAM_ALLOW_PRIVATE_NETWORKS")
    fetcher, poster = HttpFetcher(1, 1_000, fetches), Poster(5.0, webhooks)
    async with receiver({}) as server:
        with pytest.raises(Permanent) as refused:
            await fetcher.fetch(f"{server.url}/image")
        assert refused.value.reason is (Reason.EMPTY_FILE if fetches else Reason.FORBIDDEN)
        error = await poster.post(f"{server.url}/hook", {}, b"{}")
        assert error is None if webhooks else "TRAPSTREAM_ALLOW_PRIVATE_WEBHOOKS" in (error or "")
        assert list(server.got) == (["/image"] if fetches else ["/hook"])
    await fetcher.close()
    await poster.close()
