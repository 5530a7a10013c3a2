"""The guard before the demo: which requests exist, whose file is whose, what is refused, and the headers of every answer."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from faceswap_lab.errors import FaceError, LabError
from faceswap_lab.serve.site import headers, rules, words
from faceswap_lab.serve.site.gallery import Offer
from faceswap_lab.serve.site.guard import Gate, Guard
from faceswap_lab.serve.site.house import House
from faceswap_lab.serve.site.results import Shown
from faceswap_lab.serve.site.visitors import Visitors
from tests.waiting import Clock

MINE, OTHERS = "/arrivals/abc/mine.png", "/arrivals/def/others.png"


@dataclass
class Inner:
    """The application behind the guard: notes what reached it."""

    reached: list[tuple[str, bytes]] = field(default_factory=list)
    answer: bytes = b"ok"
    kind: bytes = b"text/plain"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        if scope["method"] == "POST":
            message = await receive()
            body = message.get("body", b"")
        self.reached.append((scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", self.kind), (b"server", b"x")]})
        await send({"type": "http.response.body", "body": self.answer})


@dataclass
class Browser:
    """Sends requests to a guard, with the cookie that it was given."""

    guard: Guard
    cookie: str = ""
    host: str = "127.0.0.1:7860"

    def ask(self, method: str, path: str, body: bytes = b"", query: str = "", **more: str) -> tuple[int, dict[str, str], bytes]:
        sent: list[dict[str, Any]] = []
        given = {"host": self.host, "cookie": self.cookie, "content-length": str(len(body)), **more}
        scope = {
            "type": "http", "method": method, "path": path, "query_string": query.encode(), "client": ("127.0.0.1", 5),
            "headers": [(name.encode(), value.encode()) for name, value in given.items() if value],
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.guard(scope, receive, send))
        said = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        if "set-cookie" in said:
            self.cookie = said["set-cookie"].partition(";")[0]
        return sent[0]["status"], said, b"".join(each.get("body", b"") for each in sent[1:])

    def call(self, data: list[Any], session: str = "tab1") -> int:
        return self.ask(
            "POST", "/gradio_api/queue/join", json.dumps({"data": data, "session_hash": session, "fn_index": 0}).encode()
        )[0]


def guarded(
    inner: Inner | None = None, *, login: bool = False, hosts: tuple[str, ...] = ("127.0.0.1",)
) -> tuple[Browser, Inner, Visitors]:
    inner, visitors = inner or Inner(), Visitors(keep_s=60, now=Clock(1000.0))
    return Browser(Guard(inner, gate=Gate(login=login, max_bytes=1000, hosts=hosts), visitors=visitors)), inner, visitors


def visitor_of(browser: Browser, visitors: Visitors) -> Any:
    return visitors.of(browser.cookie.partition("=")[2])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/proxy=https://x.hf.space/a"),
        ("GET", "/monitoring/summary"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/gradio_api/runs"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/run/swap"),
        ("POST", "/gradio_api/component_server"),
        ("GET", "/gradio_api/dev/reload"),
        ("GET", "/docs"),
        ("GET", "/static/../../etc/passwd"),
        ("PUT", "/"),
    ],
)
def test_what_the_page_does_not_need_does_not_exist(method: str, path: str) -> None:
    browser, inner, _ = guarded()
    assert browser.ask(method, path)[0] == 404
    assert not inner.reached


@pytest.mark.parametrize("path", ["/", "/config", "/theme.css", "/assets/index-Dph.js", "/gradio_api/info"])
def test_what_the_page_needs_is_handed_on(path: str) -> None:
    browser, inner, _ = guarded()
    assert browser.ask("GET", path)[0] == 200
    assert inner.reached[0][0] == path


@pytest.mark.parametrize("path", ["/", "/gradio_api/proxy=x", "/login"])
def test_every_answer_has_the_headers(path: str) -> None:
    _, said, _ = guarded()[0].ask("GET", path)
    assert said["x-content-type-options"] == "nosniff"
    assert said["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in said["content-security-policy"]
    assert "http:" not in said["content-security-policy"]
    assert "unsafe-eval" not in said["content-security-policy"]
    assert said["cache-control"] == "no-store, private"
    assert "server" not in said


def test_only_the_page_s_own_scripts_have_the_nonce_and_no_card_names_another_host() -> None:
    page = b'<head><meta property="og:url" content="https://gradio.app/"><script>a</script><script src="b"></script></head>'
    browser, _, _ = guarded(Inner(answer=page, kind=b"text/html; charset=utf-8"))
    _, said, body = browser.ask("GET", "/")
    nonce = said["content-security-policy"].partition("'nonce-")[2].partition("'")[0]
    assert body.decode().count(f'<script nonce="{nonce}"') == 2
    assert b"gradio.app" not in body
    assert int(said["content-length"]) == len(body)
    assert headers.new_nonce() != headers.new_nonce()


def test_another_host_s_name_is_refused_on_this_machine() -> None:
    browser, inner, _ = guarded()
    browser.host = "attacker.example:7860"
    status, _, body = browser.ask("GET", "/")
    assert (status, inner.reached) == (421, [])
    assert set(json.loads(body)) >= {"expected", "got", "remedy"}


def test_without_a_login_the_page_leads_to_it_and_all_else_is_refused() -> None:
    browser, inner, visitors = guarded(login=True)
    status, said, _ = browser.ask("GET", "/")
    assert (status, said["location"]) == (303, "login")
    for method, path in (("GET", "/config"), ("POST", "/gradio_api/upload"), ("GET", f"/gradio_api/file={MINE}")):
        assert browser.ask(method, path)[0] == 401
    assert not inner.reached
    cookie, _ = visitors.welcome("jo")
    browser.cookie = f"faceswap_demo={cookie}"
    assert browser.ask("GET", "/config")[0] == 200


def test_a_file_is_its_visitor_s_alone_and_only_for_its_time() -> None:
    browser, _, visitors = guarded()
    other = Browser(browser.guard)
    browser.ask("GET", "/"), other.ask("GET", "/")
    visitors.give(visitor_of(browser, visitors), MINE)
    assert browser.ask("GET", f"/gradio_api/file={MINE}")[0] == 200
    assert other.ask("GET", f"/gradio_api/file={MINE}")[0] == 403
    assert other.call([{"path": MINE, "meta": {"_type": "gradio.FileData"}}]) == 403
    assert browser.call([{"path": MINE}], "tab2") == 200
    visitors.now.now += 59
    browser.ask("GET", "/")
    visitors.now.now += 2
    assert browser.ask("GET", f"/gradio_api/file={MINE}")[0] == 403
    visitors.publish(OTHERS)
    assert other.ask("GET", f"/gradio_api/file={OTHERS}")[0] == 200


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:1/x.png", "HTTPS://a.example/x", "//a.example/x", "file:///etc/passwd", " data:image/png;base64,AA"],
)
def test_addresses_are_refused_wherever_they_stand(address: str) -> None:
    browser, inner, _ = guarded()
    assert browser.ask("GET", f"/gradio_api/file={address}")[0] == 400
    assert browser.call([{"path": address}]) == 400
    assert browser.call([[{"deep": {"path": address, "url": "x"}}]]) == 400
    assert browser.call([{"url": address}]) == 400
    assert not inner.reached


def test_the_address_beside_a_file_of_one_s_own_is_dropped() -> None:
    browser, inner, visitors = guarded()
    browser.ask("GET", "/")
    visitors.give(visitor_of(browser, visitors), MINE)
    assert browser.call([{"path": MINE, "url": "http://a.example/x"}]) == 200
    assert b"a.example" not in inner.reached[-1][1]
    assert MINE.encode() in inner.reached[-1][1]


def test_a_connection_is_its_visitor_s_alone() -> None:
    browser, _, _ = guarded()
    other = Browser(browser.guard)
    assert browser.call([], "tab1") == 200
    other.ask("GET", "/")
    assert other.call([], "tab1") == 403
    assert other.ask("GET", "/gradio_api/queue/data", query="session_hash=tab1")[0] == 403
    assert other.ask("GET", "/gradio_api/heartbeat/tab1")[0] == 403
    assert browser.ask("GET", "/gradio_api/queue/data", query="session_hash=tab1")[0] == 200


def test_an_upload_is_noted_as_the_visitor_s_and_bounded() -> None:
    browser, _, visitors = guarded(Inner(answer=json.dumps([MINE]).encode(), kind=b"application/json"))
    assert browser.ask("POST", "/gradio_api/upload", b"x" * 100)[0] == 200
    assert visitors.may_read(visitor_of(browser, visitors), MINE)
    large = str(1000 + (1 << 16) + 1)
    status, _, body = browser.ask("POST", "/gradio_api/upload", b"x", **{"content-length": large})
    assert status == 413
    assert "at most" in json.loads(body)["expected"]
    assert browser.ask("POST", "/gradio_api/upload", b"x", **{"content-length": ""})[0] == 413, "an upload of unknown size"
    visitors.uploaded(visitor_of(browser, visitors), *map(str, range(30)))
    assert browser.ask("POST", "/gradio_api/upload", b"x")[0] == 429


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"data": ' + b"[" * 200_000, b'{"data": ' + b"[" * 500 + b"]" * 500 + b"}", b"x" * 300_000],
    ids=["empty", "list", "cut", "endless", "deep", "large"],
)
def test_a_call_that_is_no_call_is_refused(body: bytes) -> None:
    browser, inner, _ = guarded()
    assert browser.ask("POST", "/gradio_api/queue/join", body)[0] == 400
    assert not inner.reached


def test_a_call_from_another_site_s_page_is_refused() -> None:
    browser, inner, _ = guarded()
    assert browser.ask("POST", "/gradio_api/queue/join", b'{"data": []}', **{"sec-fetch-site": "cross-site"})[0] == 403
    assert not inner.reached


def test_visitors_are_forgotten_when_they_are_silent_or_too_many() -> None:
    clock = Clock(1000.0)
    visitors = Visitors(keep_s=60, most=2, now=clock)
    first, _ = visitors.welcome()
    second, _ = visitors.welcome()
    assert visitors.of(first) is not None
    third, _ = visitors.welcome()
    assert visitors.of(second) is None, "the one that was silent longest"
    assert visitors.of(first) is not None
    clock.now += 61
    assert visitors.of(third) is None
    assert visitors.of("") is None


def test_scores_are_in_words_and_markup_in_errors_is_text() -> None:
    scores = {"id_leak": {"value": -0.25, "floor": 0.9, "ceiling": None}, "psnr_face": {"value": None}, "unknown": {"value": 1.0}}
    (row,) = words.rows(scores)
    assert (row.value, row.beside) == ("−0.25", "before the swap 0.90")
    assert "anonymous" in row.note
    shown = words.refusal(FaceError(expected="a face", got="<script>alert(1)</script>", remedy="try another"))
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "Traceback" not in words.refusal(RuntimeError("secret"))
    assert "secret" not in words.refusal(RuntimeError("secret"))


def test_a_file_s_path_is_taken_from_the_request_whole() -> None:
    assert rules.file_of("/gradio_api/file=/a/b c.png") == "/a/b c.png"
    assert rules.file_of("/gradio_api/files") is None
    assert not rules.is_address("/a/b.png")
    assert not rules.is_address("C:\\a\\b.png")


def test_the_house_renders_in_order_waits_for_its_example_and_lets_go_when_it_stops(tmp_path: Path) -> None:
    made: list[str] = []

    def offer(key: str) -> Offer:
        def make(path: Path) -> None:
            made.append(key)
            path.write_text(key)

        return Offer(key=key, caption=key, about=key, file=f"{key}.png", make=make)

    def example() -> Shown:
        made.append("example")
        return Shown(is_clip=False, before=tmp_path, file=tmp_path, truth=None, scores={}, num_frames=1, about="")

    house = House([offer(f"face{number}") for number in range(6)], [offer("take")], folder=tmp_path, example=example)
    house.start()
    house.join()
    assert made == ["face0", "face1", "face2", "face3", "face4", "take", "example", "face5"]
    *_, (faces, takes) = house.pictures()
    assert [path.read_text() for path, _ in (*faces, *takes)] == [f"face{number}" for number in range(6)] + ["take"]
    assert house.example().num_frames == 1
    made.clear()
    ahead = House([offer("face0")], [offer("other")], folder=tmp_path, example=example, at_once=True)
    ahead.start()
    ahead.join()
    assert made == ["example", "other"], "an example that exists isn't waited for"
    again = House([offer("face0")], [offer("take")], folder=tmp_path, example=example)
    again.stop()
    again.start()
    with pytest.raises(LabError, match="an example"):
        again.example()
    again.join()
    with pytest.raises(ValueError, match="at least one"):
        House([], [offer("take")], folder=tmp_path, example=example)
