"""Live images as a user sends them, on a stack that the command brought up."""

import base64
import contextlib
import hmac
import http.server
import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import images
from tests.acceptance.command import Command, Ran
from tests.waiting import patient, wait_for


def api(trapstream: Command) -> str:
    """Where the stack takes uploads."""
    return f"http://{json.loads(trapstream('ps', '--json').out)['endpoints']['api']}/v1/images"


def post(url: str, data: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the answer of an upload."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data, method="POST"), timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_an_upload_is_answered_and_in_the_partial_result(trapstream: Command, scenes: Path) -> None:
    """With `wait` it has its detections; the open job gives a partial file; cancelling ends it, with what was done."""
    first, second = sorted(scenes.glob("*.jpg"))[:2]
    status, answer = post(f"{api(trapstream)}?job=upload&file={first.name}&wait=50", first.read_bytes())
    assert status == 200 and answer["images"][0]["result"]["file"] == first.name
    job = answer["images"][0]["job"]
    status, answer = post(f"{api(trapstream)}?job=upload&wait=50", second.read_bytes())
    assert (status, answer["images"][0]["seq"]) == (200, 1)
    assert trapstream.status(job)["state"] == "open"
    wait_for("the account", lambda: sum_done(trapstream.status(job)) == 2)
    refused = trapstream("results", job)
    assert refused.status == 4 and "--partial" in refused.err
    partial = trapstream("results", job, "--partial")
    found = json.loads(partial.out)
    assert found["images"][0]["file"] == first.name and len(found["images"]) == 2
    account = found["info"]["custom_metadata"]["trapstream"]
    assert (account["state"], account["complete"], account["images"]) == ("partial", False, 2)
    assert trapstream("cancel", job).status == 0
    assert len(json.loads(trapstream("results", job).out)["images"]) == 2
    wait_for(
        "another job of the day",
        lambda: post(f"{api(trapstream)}?job=upload", first.read_bytes())[1]["images"][0]["job"] == f"{job}-2",
    )


def sum_done(status: dict[str, Any]) -> int:
    """Images with an entry."""
    counts = status["counts"]
    return int(counts["detected"] + counts["empty"] + sum(counts["failed"].values()))


def test_an_upload_becomes_an_event_and_a_webhook(trapstream: Command, scenes: Path) -> None:
    """Asked of the upload's own address, the stream has each image as it is answered; so has a webhook, signed."""
    first, second = sorted(scenes.glob("*.jpg"))[4:6]
    place = api(trapstream)
    with receiver() as (url, got):
        hook = urllib.parse.urlencode({"webhook": url, "webhook_filter": "camera=C7"})
        uploads, images = f"{place}?job=told&camera=C7&{hook}", []
        job = post(uploads, first.read_bytes())[1]["images"][0]["job"]
        with urllib.request.urlopen(place.replace("images", f"jobs/{job}/events"), timeout=60) as stream:
            assert stream.headers["Content-Type"] == "text/event-stream"
            for line in stream:
                if line.startswith(b"data: "):
                    images.append(json.loads(line.removeprefix(b"data: ")))
                    if len(images) == 2:
                        break
                    post(uploads, second.read_bytes())
        assert [(image["id"], image["camera"]) for image in images] == [(f"{job}/0", "C7"), (f"{job}/1", "C7")]
        assert images[0]["result"]["file"].startswith("C7/")
        wait_for("both at the webhook", lambda: len(got) == 2)
    assert all(is_signed(trapstream, headers, body) for headers, body in got)
    # The same of the series, without the job's name.
    with urllib.request.urlopen(place.replace("images", "series/told/events"), timeout=60) as stream:
        lines = (line.decode().strip() for line in stream)
        assert next(line for line in lines if line.startswith("id: ")).startswith(f"id: {job}:")
    status, answer = post(uploads.replace("camera%3D", "category%3D"), first.read_bytes())
    assert status == 400 and "animal" in answer["error"]


Got = list[tuple[dict[str, str], bytes]]
"""The headers and the body of each request."""


@contextlib.contextmanager
def receiver() -> Iterator[tuple[str, Got]]:
    """A web server on this machine that takes webhooks: its address, and what came."""
    got: Got = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", got
    finally:
        server.shutdown()
        server.server_close()


def is_signed(trapstream: Command, headers: dict[str, str], body: bytes) -> bool:
    """Whether a webhook was signed with the stack's secret, as docs/operators/events.md says."""
    secret = base64.b64decode((trapstream.home / "notifier" / "secret").read_text().strip().removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    return headers["webhook-signature"] == f"v1,{digest}"


def test_what_is_no_upload_is_told_so(trapstream: Command) -> None:
    """One line of JSON each, with what to do."""
    url = api(trapstream)
    assert post(f"{url}?job=bad", b"hello")[0] == 415
    jpeg = images.jpeg(64, 48)
    assert post(url, jpeg) == (400, {"error": "whose image is it? Say job=NAME or camera=NAME"})
    status, answer = post(url.replace("/v1/images", "/"), b"hello")
    assert status == 404 and "POST /v1/images" in answer["error"]


def test_a_handful_of_files_in_the_live_lane(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """`submit --lane live` is a job as any other: complete, and proved so."""
    few, output = sorted(scenes.glob("*.jpg"))[:3], tmp_path / "live.json"
    submitted = trapstream("submit", *few, "--lane", "live", "--wait", "-o", output)
    assert submitted.status == 0, submitted.err
    assert trapstream("verify", output, "--job", submitted.out.strip()).status == 0


def test_watch(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """What is dropped into a folder is in the job; a second watcher of it is refused; Ctrl-C ends the first with 0."""
    folder = tmp_path / "ftp"
    folder.mkdir()
    watching = trapstream.start("watch", folder, "--job", "dropped", "--settle", "0.2")
    try:
        first, second = sorted(scenes.glob("*.jpg"))[2:4]
        (folder / "a.jpg.part").write_bytes(first.read_bytes())
        (folder / "a.jpg.part").rename(folder / "a.jpg")
        (folder / "b.jpg").write_bytes(second.read_bytes())
        wait_for("two images", lambda: dropped(trapstream) == 2)
        twice = trapstream("watch", folder, "--job", "dropped")
        assert twice.status == 1 and "already" in twice.err
    finally:
        watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=patient(30))
    assert watching.returncode == 0 and "watching" in err


def test_watch_tells_a_webhook(trapstream: Command, scenes: Path, tmp_path: Path) -> None:
    """An image that is dropped into the folder comes to the receiver, signed, with its entry as in the file."""
    folder = tmp_path / "ftp"
    folder.mkdir()
    with receiver() as (url, got):
        watching = trapstream.start("watch", folder, "--job", "hooked", "--webhook", url, "--settle", "0.2")
        try:
            (folder / "a.jpg").write_bytes(sorted(scenes.glob("*.jpg"))[6].read_bytes())
            wait_for("the delivery", lambda: got)
        finally:
            watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=patient(30))
    [(headers, body)] = got
    told = json.loads(body)
    assert is_signed(trapstream, headers, body) and headers["webhook-id"] == told["id"]
    assert not is_signed(trapstream, headers, body.replace(b"a.jpg", b"b.jpg"))
    partial = json.loads(trapstream("results", told["job"], "--partial").out)
    assert told["job"].startswith("hooked-") and partial["images"] == [told["result"]]


def dropped(trapstream: Command) -> int:
    """Images with an entry in the series' jobs."""
    lines = trapstream("status", "--json").out.splitlines()
    return sum(sum_done(status) for status in map(json.loads, lines) if status["job"].startswith("dropped-"))


def test_watch_without_what_it_needs(trapstream: Command, tmp_path: Path) -> None:
    """A bad name, a file for a folder: one line each."""
    wrong: list[tuple[tuple[Any, ...], int, str]] = [
        (("watch", tmp_path), 2, "--job"),
        (("watch", tmp_path, "--job", "a/b"), 2, "letters"),
        (("watch", __file__, "--job", "a"), 1, "no folder"),
        (("watch", tmp_path, "--job", "a", "--webhook", "ftp://x"), 2, "http://"),
        (("submit", tmp_path, "--webhook-filter", "cooldown=5"), 2, "needs --webhook"),
    ]
    for arguments, status, text in wrong:
        ran: Ran = trapstream(*arguments)
        assert ran.status == status and text in ran.err


@pytest.mark.timeout(120)
def test_uploads_while_processes_are_killed() -> None:
    """The short form of `make chaos-live`: each of 200 images with a 2xx is in one file, once, and told both ways."""
    command = [sys.executable, "-m", "bench.tools.arrivals", "--uploads", "200", "--kills", "5"]
    more = ["--seconds", "8", "--period", "12", "--seed", "2"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=patient(110), check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
