"""The running demo, asked by programs: the endpoint, the login, whose file is whose, what is refused, and what is left."""

import argparse
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from faceswap_lab.errors import LabError
from faceswap_lab.serve import sharing
from faceswap_lab.serve.demo import Place, demo
from faceswap_lab.serve.sharing import Relay
from faceswap_lab.serve.site.server import ServeError, bound
from faceswap_lab.trust import audit
from faceswap_lab.trust.marks.metadata import read_mark
from tests import demos
from tests.demos import Running, client

REASON = "a test with an actor's picture"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A demo without a login; the gallery's pictures go into a cache of its own, weights stay where they are."""
    root = tmp_path_factory.mktemp("lab")
    (root / "data_manifests").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACESWAP_LAB_ROOT", str(root))
        patch.setattr("faceswap_lab.serve.demo.cache_folder", lambda: root / "cache")
        with demos.running(root) as found:
            yield found


pytestmark = demos.GRADIOS_WARNINGS


@pytest.mark.slow
@pytest.mark.weights
def test_a_program_uploads_swaps_and_gets_a_marked_file(there: Running, tmp_path: Path) -> None:
    asked = client(there, tmp_path)
    assert list(asked.view_api(return_format="dict", print_info=False)["named_endpoints"]) == ["/swap"]
    picture = demos.upload(tmp_path / "me.png")
    result, scores = asked.predict(demos.sent(picture), source="actor:7", consent=True, reason=REASON, api_name="/swap")
    assert read_mark(Path(result))[0]["digital_source_type"].endswith("compositeWithTrainedAlgorithmicMedia")
    assert scores["id_similarity"]["value"] > scores["id_similarity"]["floor"]
    assert demos.size_of(Path(result).read_bytes()) == (256, 256)
    logged = Path(there.desk.root / "audit.jsonl").read_text()
    assert "exported" in logged
    assert audit.verify(there.desk.root).whole
    asked.close()


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"consent": False}, "expected the statement that the person in the picture agreed"),
        ({"reason": "  "}, "a reason of 3 to 200 characters"),
        ({"source": "actor:999"}, "one of the sources offered"),
    ],
    ids=["no consent", "no reason", "another source"],
)
def test_what_is_refused_is_refused_in_three_parts(there: Running, tmp_path: Path, given: dict, said: str) -> None:
    asked, picture = client(there, tmp_path), demos.upload(tmp_path / "me.png", side=128)
    call = {"source": "actor:7", "consent": True, "reason": REASON} | given
    with pytest.raises(demos.refused()) as refused:
        asked.predict(demos.sent(picture), **call, api_name="/swap")
    assert said in str(refused.value)
    assert "; got " in str(refused.value)
    assert str(there.desk.root) not in str(refused.value)
    asked.close()


@pytest.mark.slow
@pytest.mark.weights
def test_a_file_is_nobody_else_s_and_gone_after_its_time(there: Running, tmp_path: Path) -> None:
    asked, picture = client(there, tmp_path), demos.upload(tmp_path / "me.png")
    with httpx.Client(base_url=there.demo.address) as mine, httpx.Client(base_url=there.demo.address) as other:
        mine.get("config"), other.get("config")
        (path,) = mine.post("gradio_api/upload", files={"files": ("me.png", picture.read_bytes())}).json()
        assert Path(path).is_relative_to(there.desk.arrivals)
        assert mine.get(f"gradio_api/file={path}").content == picture.read_bytes()
        assert other.get(f"gradio_api/file={path}").status_code == 403
        assert httpx.get(f"{there.demo.address}gradio_api/file={path}").status_code == 403
        call = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}], "session_hash": "tab", "fn_index": 0}
        assert other.post("gradio_api/queue/join", json=call).status_code == 403
        asked.predict(demos.sent(picture), source="actor:7", consent=True, reason=REASON, api_name="/swap")
        assert list((there.desk.root / "visits").iterdir())
        there.later(3000)
        assert Path(path).is_file()
        there.later(605)
        assert not Path(path).exists()
        assert mine.get(f"gradio_api/file={path}").status_code == 403
    assert not list((there.desk.root / "visits").iterdir())
    assert not [each for each in there.desk.arrivals.rglob("*") if each.is_file()]
    assert audit.verify(there.desk.root).whole, "the log stays, and is whole"
    there.ahead[0] = 0.0
    asked.close()


@pytest.mark.slow
@pytest.mark.weights
def test_addresses_fetch_nothing_and_lead_nowhere(there: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap, httpx.Client(base_url=there.demo.address) as asked:
        trap.settimeout(0.5)
        address = f"http://127.0.0.1:{trap.getsockname()[1]}/x.png"
        asked.get("config")
        answer = asked.get(f"gradio_api/file={address}")
        assert (answer.status_code, answer.has_redirect_location) == (400, False)
        for data in ({"path": address}, {"path": "x", "url": address}, {"url": address}):
            data |= {"meta": {"_type": "gradio.FileData"}}
            call = {"data": [data, "actor:7", True, REASON, 0, 0], "session_hash": "tab", "fn_index": 7}
            assert asked.post("gradio_api/queue/join", json=call).status_code in (400, 403)
        with pytest.raises(TimeoutError):
            trap.accept()


@pytest.mark.slow
@pytest.mark.weights
def test_an_upload_that_is_too_large_is_refused_before_it_is_kept(there: Running, tmp_path: Path) -> None:
    asked, picture = client(there, tmp_path), demos.noise(tmp_path / "large.png", 2_200_000)
    with pytest.raises(ValueError, match="maximum file size"):
        asked.predict(demos.sent(picture), source="actor:7", consent=True, reason=REASON, api_name="/swap")
    before = sorted(there.desk.arrivals.rglob("*"))
    answer = httpx.post(
        f"{there.demo.address}gradio_api/upload", files={"files": ("large.png", picture.read_bytes())}, cookies=asked.cookies
    )
    assert answer.status_code == 413
    assert sorted(there.desk.arrivals.rglob("*")) == before
    asked.close()


@pytest.mark.slow
@pytest.mark.weights
def test_only_who_logs_in_comes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceswap_lab.serve.demo.cache_folder", lambda: tmp_path / "cache")
    with demos.running(tmp_path, Place(users=demos.users_file(tmp_path))) as there:
        page = httpx.get(there.demo.address)
        assert (page.status_code, page.headers["location"]) == (303, "login")
        assert "Log in" in httpx.get(f"{there.demo.address}login").text
        with pytest.raises(demos.turned_away()):
            client(there, tmp_path)
        with pytest.raises(demos.turned_away()):
            client(there, tmp_path, auth=(demos.NAME, "wrong"))
        asked = client(there, tmp_path, auth=(demos.NAME, demos.PASSWORD))
        assert httpx.get(f"{there.demo.address}config", cookies=asked.cookies).status_code == 200
        assert httpx.get(f"{there.demo.address}logout", cookies=asked.cookies).status_code == 303
        assert httpx.get(f"{there.demo.address}config", cookies=asked.cookies).status_code == 401, "logged out on this side too"
        tried = [
            httpx.post(
                f"{there.demo.address}login",
                data={"username": f"jo{number}", "password": "x"},
                headers={"x-forwarded-for": f"192.0.2.{number}"},
            ).status_code
            for number in range(12)
        ]
        assert tried[-1] == 429, "it is the connection's address that counts, whatever name is tried and whatever a header claims"
        assert tried[0] == 401
        asked.close()


def test_nobody_comes_in_from_elsewhere_without_a_login() -> None:
    assert not Place().asks
    assert Place(host="0.0.0.0").asks
    assert Place(relay=Relay()).asks
    for place in ({"host": "0.0.0.0"}, {"relay": Relay()}):
        with pytest.raises(LabError, match="a login for"):
            Place(login=False, **place)


def test_a_relay_is_told_of_before_it_is_opened_and_needs_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "third party" in Relay().warning
    assert "relay.example:7000" in Relay(server="relay.example:7000").warning
    for server in ("relay.example", "relay.example:x", ":7000", "relay.example:70000"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            Relay(server=server)
    with pytest.raises(ValueError, match="relay of your own"):
        Relay(certificate=Path("ca.pem"))
    called = []
    monkeypatch.setattr("gradio.networking.setup_tunnel", lambda *given: called.append(given) or "https://x.example")
    assert Relay(server="relay.example:7000").open(1234) == "https://x.example"
    assert called[0][:2] == ("127.0.0.1", 1234)
    assert called[0][3:] == ("relay.example:7000", None)

    def fail(*_: object) -> str:
        raise RuntimeError("no way there")

    monkeypatch.setattr("gradio.networking.setup_tunnel", fail)
    with pytest.raises(LabError, match="no way there"):
        Relay().open(1234)
    sharing.close_links(1234)


def test_a_port_in_use_and_a_host_that_is_not_ours_are_said_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ServeError, match="--port"):
        bound("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ServeError, match=r"host of this machine|free port"):
        bound("203.0.113.7", 0)


def test_arguments_that_belong_to_sharing_are_refused_without_it() -> None:
    with pytest.raises(ValueError, match="share=True"):
        demo(share_server="relay.example:7000")
    with pytest.raises(ValueError, match="certificate and its key"):
        Place(certificate=Path("cert.pem"))


def test_gradio_is_not_loaded_with_the_package_or_its_command_line() -> None:
    code = "import sys, faceswap_lab.cli.parser as p; p.parser(); import faceswap_lab; sys.exit('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--add-user", "jo"], "--login FILE"), (["--login", "u.txt", "--no-login"], "both")],
)
def test_flags_that_do_not_go_together_are_refused(flags: list[str], said: str) -> None:
    from faceswap_lab.cli.parser import parser
    from faceswap_lab.cli.parsing import ArgumentValueError

    options: argparse.Namespace = parser().parse_args(["demo", *flags])
    with pytest.raises(ArgumentValueError) as refused:
        options.command(options)
    assert said in str(refused.value)


@pytest.mark.slow
@pytest.mark.weights
def test_the_command_prints_its_address_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "data_manifests").mkdir()
    environment = os.environ | {"FACESWAP_LAB_ROOT": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    made = [sys.executable, "-m", "faceswap_lab", "demo", "--login", str(tmp_path / "users.txt")]
    subprocess.run([*made, "--add-user", "jo", "--password-file", str(password)], env=environment, check=True, capture_output=True)
    with subprocess.Popen(
        [*made, "--port", "0"], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        address = next(line for line in process.stderr if line.startswith("demo: http")).split()[1]
        assert httpx.get(f"{address}health").json() == {"ok": True}
        assert httpx.get(f"{address}config").status_code == 401
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)
