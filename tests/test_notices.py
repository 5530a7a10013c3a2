"""Notices of a pipeline's end: a web server and a mail server of the tests' own take them, and look at everything that came."""

import base64
import hmac
import json
import os
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default as modern
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from faceswap_lab import __main__ as command_line
from faceswap_lab.errors import ScheduleError
from faceswap_lab.pipelines.notebook import NotebookRun
from faceswap_lab.pipelines.notices import attempts, content, settings
from faceswap_lab.pipelines.notices.ending import of_outcome, scores_of
from faceswap_lab.pipelines.notices.targets import read_target
from faceswap_lab.pipelines.notices.webhook import signing_key
from faceswap_lab.pipelines.notify import RECORD, Notice, check, send, telling
from faceswap_lab.pipelines.record import StepState
from tests.authority import write_certificates
from tests.small_notebooks import returning, write_notebook, write_pipeline

KEY = base64.b64encode(bytes(range(32))).decode()
SECRET = f"whsec_{KEY}"
PASSWORD = "correct horse battery staple"

NOTICE = Notice(
    pipeline="/home/jane/Jane Doe/nightly.toml",
    state="failed",
    started="2027-01-01T03:30:00+00:00",
    seconds=612.4123456,
    steps=[
        ("train", "finished", 600.0, "train-3f9a12", None),
        ("swap", "failed", 12.0, "swap-52c1aa", "ConsentError in cell 7: /home/jane/Jane Doe.mp4 shows Jane Doe"),
        ("Jane Doe's report", "not run", 0.0, None, "needs swap"),
    ],
    scores={"ssim": 0.93251234, "identity.sface": 0.5, "broken": float("nan"), "Jane Doe": 1.0},
    report="notebook-77ab01",
    run="pipeline-aa11bb",
)
PRIVATE = ("jane", "doe", "/home", ".mp4", "nan")


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setenv("FACESWAP_LAB_NOTICES", str(tmp_path / "notices.toml"))
    for name in (settings.PASSWORD_VARIABLE, settings.SECRET_VARIABLE, "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    write("")


def write(text: str) -> Path:
    path = Path(os.environ["FACESWAP_LAB_NOTICES"])
    path.write_text(text)
    path.chmod(0o600)
    return path


def private(path: Path, text: str) -> str:
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return str(path)


# --- servers ------------------------------------------------------------------------------------------------------------


@dataclass
class Hook:
    """A web server that answers with the next of `answers`, the last one for ever, and keeps what it was sent."""

    answers: list[int]
    port: int = 0
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def hook(*answers: int, certificates: dict[str, Path] | None = None) -> Iterator[Hook]:
    made = Hook(list(answers) or [204])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(made.answers.pop(0) if len(made.answers) > 1 else made.answers[0])
            self.send_header("location", "http://127.0.0.1:9/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # a refused certificate ends the connection
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates["cert"], certificates["key"])
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Post:
    """A mail server's handler: keeps envelopes and who logged in, and answers with the next of `answers`."""

    answers: list[str] = field(default_factory=lambda: ["250 OK"])
    envelopes: list[Any] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    port: int = 0

    async def handle_DATA(self, _: Any, session: Any, envelope: Any) -> str:
        self.encrypted.append(session.ssl is not None)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.startswith("250"):
            self.envelopes.append(envelope)
        return answer

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> Any:
        from aiosmtpd.smtp import AuthResult

        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)

    def letter(self) -> Message:
        return message_from_bytes(self.envelopes[-1].content, policy=modern)


@contextmanager
def mail_server(certificates: dict[str, Path] | None = None, *, at_once: bool = False, **options: Any) -> Iterator[Post]:
    from aiosmtpd.controller import Controller

    class AnyPort(Controller):
        def _trigger_server(self) -> None:
            self.port = self.server.sockets[0].getsockname()[1]
            super()._trigger_server()

    post = Post(**options)
    context = None
    if certificates:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates["cert"], certificates["key"])
    tls: dict[str, Any] = {"ssl_context": context} if at_once else {"tls_context": context, "require_starttls": bool(context)}
    auth = {"authenticator": post.authenticate, "auth_required": True, "auth_require_tls": not at_once} if certificates else {}
    controller = AnyPort(post, hostname="127.0.0.1", port=0, **tls, **auth)
    controller.start()
    try:
        post.port = controller.port
        yield post
    finally:
        controller.stop()


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return write_certificates(folder)


def trust(certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["ca"]))


# --- what leaves ----------------------------------------------------------------------------------------------------------


def test_names_states_numbers_and_ids_leave_and_nothing_else() -> None:
    told = content.message(NOTICE)
    text = json.dumps(told).lower() + content.text(told).lower() + content.subject(told).lower()
    assert not [word for word in PRIVATE if word in text]
    assert told["pipeline"] == "nightly"
    assert told["scores"] == {"ssim": 0.932512, "identity.sface": 0.5}
    assert [step["name"] for step in told["steps"]] == ["train", "swap", "step 3"]
    assert told["steps"][1] | {"seconds": 0} == {
        "name": "swap",
        "state": "failed",
        "seconds": 0,
        "run": "swap-52c1aa",
        "cause": "ConsentError in cell 7",
    }
    assert (told["run"], told["report"], told["seconds"]) == ("pipeline-aa11bb", "notebook-77ab01", 612.412)


@pytest.mark.parametrize("text", ["/home/jane/x", "Jane Doe", "a\nb", "x" * 100, "<b>", "../x", "sk-live_abc\u2028", ""])
def test_text_in_the_place_of_a_name_an_id_or_a_time_is_left_out(text: str) -> None:
    notice = Notice(
        pipeline=f"/x/{text}" if "/" not in text else "ok", state=text, started=text, seconds=1.0, run=text, report=text
    )
    told = json.dumps(content.message(notice))
    assert text == "" or text not in told


# --- who is told ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["mail:lab@example.org", "https://example.org/hook", "http://127.0.0.1:8000/x", "http://[::1]/x", "webhook:team"]
)
def test_targets_are_read_as_they_are_shown(text: str) -> None:
    assert read_target(text).shown == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lab@example.org",
        "mail:",
        "mail:lab",
        "mail:a@b\nBcc: c@d",
        "mail:a@b.org,c@d.org",
        "mail:Lab <a@b.org>",
        "http://example.org/hook",
        "http://localhost.example.org/",
        "http://127.0.0.1.example.org/",
        "https://",
        "https:///x",
        "https://example.org:port/",
        "https://exa mple.org/",
        "https://example.org/\r\nx",
        "ftp://example.org/",
        "file:///etc/passwd",
        "webhook:",
        "webhook:../x",
        "https://user:pw@example.org/",
        "https://example.org/?token=abc",
        "https://hooks.example.org/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    ],
)
def test_what_is_no_target_or_seems_to_hold_a_secret_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        read_target(text)
    assert "XXXX" not in str(refused.value)
    assert "pw" not in str(refused.value)
    assert "abc" not in str(refused.value)


def test_targets_are_checked_before_a_pipeline_runs() -> None:
    check([])
    check(["https://example.org/hook"])
    with pytest.raises(ScheduleError, match="mail server"):
        check(["mail:lab@example.org"])
    with pytest.raises(ScheduleError, match=r"webhooks\.team"):
        check(["webhook:team"])
    write('[mail]\nserver = "mail.example.org"\nsender = "lab@example.org"\n[webhooks.team]\nurl = "https://example.org/x?y=z"\n')
    check(["mail:lab@example.org", "webhook:team"])


def test_a_schedule_needs_its_secrets_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the environment now isn't in that of cron."""
    given = '[mail]\nserver = "mail.example.org"\nsender = "lab@example.org"\nuser = "lab"\n'
    write(given)
    monkeypatch.setenv(settings.PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv(settings.SECRET_VARIABLE, SECRET)
    for target in ("mail:lab@example.org", "https://example.org/hook"):
        check([target])
        with pytest.raises(ScheduleError, match="alone") as refused:
            check([target], scheduled=True)
        assert PASSWORD not in str(refused.value)
        assert SECRET not in str(refused.value)
    private(tmp_path / "password", PASSWORD)
    private(tmp_path / "secret", SECRET)
    write(f'{given}password_file = "password"\n[webhook]\nsecret_file = "secret"\n')
    check(["mail:lab@example.org", "https://example.org/hook"], scheduled=True)
    private(tmp_path / "secret", "whsec_weak")
    with pytest.raises(ScheduleError, match="24 bytes"):
        check(["https://example.org/hook"], scheduled=True)


# --- webhooks ---------------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_the_message_as_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with hook() as server:
        (told,) = send(NOTICE, [server.url], root=tmp_path)
    assert (told.ok, told.attempts, told.answer) == (True, 1, "status 204")
    ((path, headers, body),) = server.seen
    assert path == "/hook"
    assert headers["content-type"] == "application/json"
    assert "webhook-signature" not in headers
    assert json.loads(body) == content.message(NOTICE)
    (line,) = (tmp_path / RECORD).read_text().splitlines()
    assert json.loads(line) | {"time": ""} == {
        "time": "",
        "pipeline": "nightly",
        "state": "failed",
        "run": "pipeline-aa11bb",
        "target": server.url,
        "ok": True,
        "attempts": 1,
        "answer": "status 204",
    }
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("by_file", [True, False])
def test_a_secret_signs_it_as_standard_webhooks_say(by_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if by_file:
        private(tmp_path / "secret", SECRET)
        write('[webhook]\nsecret_file = "secret"\n')
    else:
        monkeypatch.setenv(settings.SECRET_VARIABLE, SECRET)
    with hook() as server:
        assert send(NOTICE, [server.url], root=tmp_path)[0].ok
    ((_, headers, body),) = server.seen
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(base64.b64decode(KEY), signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_a_receiver_checks_it_as_the_guide_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(__file__).parents[1] / "docs/howto/schedule.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)
    monkeypatch.setenv(settings.SECRET_VARIABLE, SECRET)
    with hook() as server:
        send(NOTICE, [server.url], root=tmp_path)
    ((_, headers, body),) = server.seen
    assert shown["is_genuine"](headers, body, SECRET)
    assert not shown["is_genuine"](headers, body + b" ", SECRET)
    assert not shown["is_genuine"](headers | {"webhook-id": "msg_other"}, body, SECRET)


def test_the_signature_is_that_of_the_published_example() -> None:
    """The values of the specification's own test."""
    from faceswap_lab.pipelines.notices.webhook import signature

    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_short", KEY, "whsec_" + "?" * 40])
def test_a_weak_or_malformed_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        signing_key(secret)
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in str(refused.value)


@pytest.mark.parametrize(
    ("answers", "ok", "tries"),
    [
        ([503, 204], True, 2),
        ([429, 500, 200], True, 3),
        ([503], False, 3),
        ([404], False, 1),
        ([302], False, 1),
        ([307], False, 1),
    ],
)
def test_it_is_tried_again_only_where_that_may_help(answers: list[int], ok: bool, tries: int, tmp_path: Path) -> None:
    with hook(*answers) as server:
        (told,) = send(NOTICE, [server.url], root=tmp_path)
    assert (told.ok, told.attempts, len(server.seen)) == (ok, tries, tries)
    assert len({headers["webhook-id"] for _, headers, _ in server.seen}) == 1


def test_an_address_where_nobody_answers_fails_the_notice_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with hook() as gone:
        pass
    with hook() as server:
        told = send(NOTICE, [gone.url, "nonsense", server.url], root=tmp_path)
    assert [each.ok for each in told] == [False, False, True]
    assert told[0].answer == "ConnectError"
    said = capfd.readouterr().err
    assert f"notice to {gone.url} failed: ConnectError" in said
    assert len((tmp_path / RECORD).read_text().splitlines()) == 3


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path, certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook(certificates=certificates) as server:
        url = server.url.replace("http:", "https:")
        (told,) = send(NOTICE, [url], root=tmp_path)
        assert not told.ok
        assert "certificate is not accepted" in told.answer
        assert not server.seen
        trust(certificates, monkeypatch)
        assert send(NOTICE, [url], root=tmp_path)[0].ok


def test_a_named_webhook_keeps_its_address_to_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with hook(404) as server:
        private(tmp_path / "url", f"{server.url}?token={'s' * 30}")
        write('[webhooks.team]\nurl_file = "url"\n')
        (told,) = send(NOTICE, ["webhook:team"], root=tmp_path)
        ((path, _, _),) = server.seen
    assert path == f"/hook?token={'s' * 30}"
    assert not told.ok
    shown = capfd.readouterr().err + (tmp_path / RECORD).read_text() + str(told)
    assert "sss" not in shown
    assert "webhook:team" in shown


def test_http_to_another_machine_needs_to_be_accepted(tmp_path: Path) -> None:
    write('[webhooks.team]\nurl = "http://intranet.invalid/x"\n')
    (told,) = send(NOTICE, ["webhook:team"], root=tmp_path)
    assert "plain_http" in told.answer
    write('[webhooks.team]\nurl = "http://intranet.invalid/x"\nplain_http = true\n')
    (told,) = send(NOTICE, ["webhook:team"], root=tmp_path)
    assert told.answer == "ConnectError"


# --- mail -------------------------------------------------------------------------------------------------------------------


def mail_settings(port: int, security: str, **more: str) -> None:
    given = {"server": "127.0.0.1", "sender": "lab@example.org", "security": security, **more}
    write("[mail]\n" + f"port = {port}\n" + "".join(f'{name} = "{value}"\n' for name, value in given.items()))


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # aiosmtpd doesn't count TLS from the start
@pytest.mark.parametrize("at_once", [False, True])
def test_mail_goes_encrypted_with_the_password_from_a_file(
    at_once: bool, tmp_path: Path, certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(certificates, monkeypatch)
    private(tmp_path / "password", PASSWORD)
    with mail_server(certificates, at_once=at_once) as server:
        mail_settings(server.port, "tls" if at_once else "starttls", user="lab", password_file="password")
        (told,) = send(NOTICE, ["mail:someone@example.org"], root=tmp_path)
    assert (told.ok, told.answer) == (True, "accepted by the server")
    assert server.logins == [(b"lab", PASSWORD.encode())]
    assert server.encrypted == [True] or at_once  # then this server speaks nothing else
    letter = server.letter()
    assert (letter["To"], letter["From"], letter["Subject"]) == (
        "someone@example.org",
        "lab@example.org",
        "faceswap-lab: nightly failed",
    )
    assert letter.get_content_type() == "text/plain"
    assert not list(letter.iter_attachments())
    text = letter.get_content()
    assert "ConsentError in cell 7" in text
    assert "train-3f9a12" in text
    assert not [word for word in PRIVATE if word in text.lower()]
    assert os.uname().nodename not in server.envelopes[-1].content.decode() or os.uname().nodename == "localhost"


def test_a_mail_server_that_nobody_vouches_for_gets_neither_password_nor_text(
    tmp_path: Path, certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(settings.PASSWORD_VARIABLE, PASSWORD)
    with mail_server(certificates) as server:
        mail_settings(server.port, "starttls", user="lab")
        (told,) = send(NOTICE, ["mail:someone@example.org"], root=tmp_path)
    assert (told.ok, told.attempts) == (False, 1)
    assert "certificate is not accepted" in told.answer
    assert not server.logins
    assert not server.envelopes


def test_a_server_without_starttls_gets_nothing(tmp_path: Path) -> None:
    with mail_server() as server:
        mail_settings(server.port, "starttls")
        (told,) = send(NOTICE, ["mail:someone@example.org"], root=tmp_path)
    assert (told.ok, told.attempts) == (False, 1)
    assert "STARTTLS" in told.answer
    assert not server.envelopes


def test_a_wrong_password_is_not_repeated(
    tmp_path: Path, certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trust(certificates, monkeypatch)
    monkeypatch.setenv(settings.PASSWORD_VARIABLE, "hunter2hunter2")
    with mail_server(certificates) as server:
        mail_settings(server.port, "starttls", user="lab")
        (told,) = send(NOTICE, ["mail:someone@example.org"], root=tmp_path)
    assert (told.ok, told.attempts, told.answer) == (False, 1, "the server refuses user and password: 535")
    assert "hunter2" not in capfd.readouterr().err + (tmp_path / RECORD).read_text()


@pytest.mark.parametrize(
    ("answers", "ok", "tries"), [(["451 later", "250 OK"], True, 2), (["554 no"], False, 1), (["451 later"], False, 3)]
)
def test_a_server_that_asks_for_patience_is_tried_again(answers: list[str], ok: bool, tries: int, tmp_path: Path) -> None:
    with mail_server(answers=answers) as server:
        mail_settings(server.port, "none")
        (told,) = send(NOTICE, ["mail:someone@example.org"], root=tmp_path)
    assert (told.ok, told.attempts) == (ok, tries)


# --- settings ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[mail", "TOML"),
        ("[mail]\nserver = 'x'\n", "mail.sender"),
        ("[mail]\nserver = 'x'\nsender = 'a@b'\nport = '25'\n", "mail.port"),
        ("[mail]\nserver = 'x'\nsender = 'a@b'\npassword = 'topsecret'\n", "mail.password"),
        ("[mail]\nserver = 'mail.example.org'\nsender = 'a@b'\nsecurity = 'none'\n", "encryption"),
        ("[webhok]\n", "webhok"),
    ],
)
def test_settings_are_read_strictly_and_not_repeated(text: str, match: str) -> None:
    write(text)
    with pytest.raises(ScheduleError, match=re.escape(match)) as refused:
        settings.read_settings()
    assert "topsecret" not in str(refused.value)


def test_settings_and_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    path = write("")
    path.chmod(0o644)
    with pytest.raises(ScheduleError, match="chmod 600"):
        settings.read_settings()
    write('[webhook]\nsecret_file = "secret"\n')
    private(tmp_path / "secret", SECRET)
    (tmp_path / "secret").chmod(0o604)
    with hook() as server:
        (told,) = send(NOTICE, [server.url], root=tmp_path)
    assert not told.ok
    assert "chmod 600" in told.answer
    assert not server.seen


def test_missing_settings_that_were_named_fail_the_notice_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_NOTICES", str(tmp_path / "none.toml"))
    with hook() as server:
        (told,) = send(NOTICE, [server.url], root=tmp_path)
    assert not told.ok
    assert "none.toml" in told.answer


def test_a_record_that_cannot_be_written_is_said_and_fails_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "runs").touch()
    with hook() as server:
        assert send(NOTICE, [server.url], root=tmp_path)[0].ok
    assert "could not be recorded" in caplog.text


# --- at a pipeline's end ------------------------------------------------------------------------------------------------------


def states(*steps: tuple[str, str]) -> dict[str, StepState]:
    return {name: StepState(name=name, state=state, seconds=2.0, got="KeyError in cell 2: 'Jane Doe'") for name, state in steps}


def test_measures_are_told_and_no_other_figure_of_a_summary() -> None:
    summary = {
        "psnr_face": 31.5,
        "psnr_face_floor": 20,
        "faces_per_identity": {"jane": 5},
        "jane": 5,
        "found": "31 dB",
        "benchmark": {
            "pairs": 6,
            "methods": {"pair": {"psnr_face": {"value": 30.0, "gain": 4.0}, "jane": {"value": 1.0}}, "warp": 3},
        },
    }
    assert scores_of(summary) == {"psnr_face": 31.5, "psnr_face_floor": 20, "pair.psnr_face": 30.0}


def test_an_outcome_becomes_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    run = NotebookRun.start(tmp_path, "notebook", "{}", {})
    with run:
        run.finish(report="/somewhere/jane.html", psnr_face=31.5)
    steps = states(("a", "finished"), ("b", "failed"), ("c", "not run"))
    steps["a"].run, steps["a"].got = run.id, ""
    steps["b"].run = "notebook-deadbeef"  # whose folder is gone
    told = content.message(of_outcome("nightly", run, steps, ok=False, started=NOTICE.started, seconds=6.0))
    assert (told["state"], told["report"], told["run"]) == ("failed", run.id, run.id)
    assert told["scores"] == {"a.psnr_face": 31.5}
    assert [(step["state"], step["cause"]) for step in told["steps"]] == [
        ("finished", None),
        ("failed", "KeyError in cell 2"),
        ("not run", "KeyError in cell 2"),
    ]
    assert "jane" not in json.dumps(told).lower()


@pytest.mark.parametrize(
    ("error", "state", "cause"),
    [(RuntimeError("/home/jane"), "failed", "RuntimeError"), (KeyboardInterrupt(), "stopped", "KeyboardInterrupt")],
)
def test_a_pipeline_that_an_error_ends_is_told_of_and_the_error_raised(
    error: BaseException, state: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    with hook() as server, pytest.raises(type(error)), telling("/x/nightly.toml", [server.url]):
        raise error
    ((_, _, body),) = server.seen
    told = json.loads(body)
    assert (told["pipeline"], told["state"], told["steps"][0]["cause"]) == ("nightly", state, cause)
    assert b"jane" not in body


def test_a_wrong_target_is_refused_before_anything_runs() -> None:
    with pytest.raises(ScheduleError), telling("nightly", ["http://example.org/"]):
        pytest.fail("it ran")


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize(("cell", "code", "state"), [("1", 0, "finished"), ("1 / 0", 1, "failed")])
def test_the_command_tells_of_a_pipeline_that_ran_and_a_notice_that_fails_changes_nothing(
    cell: str, code: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "lab"))
    write_notebook(tmp_path / "small.ipynb", cell, returning("{'psnr_face': 31.5}"))
    path = write_pipeline(tmp_path / "tiny.toml", '[steps.only]\nnotebook = "small.ipynb"\n')
    with hook(404) as refusing, hook() as server:
        words = ["pipelines", "run", str(path), "--json", "--notify", refusing.url, "--notify", server.url]
        assert command_line.main(words) == code
    answer = json.loads(capfd.readouterr().out)
    assert [each["ok"] for each in answer["notices"]] == [False, True]
    ((_, _, body),) = server.seen
    told = json.loads(body)
    assert (told["pipeline"], told["state"], told["run"]) == ("tiny", state, answer["run"])
    (step,) = told["steps"]
    assert step["cause"] == (None if code == 0 else "ZeroDivisionError in cell 1")
    assert told["scores"] == ({"only.psnr_face": 31.5} if code == 0 else {})
    assert str(tmp_path) not in body.decode()
