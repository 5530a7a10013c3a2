"""`demo`: serve the demo until it is stopped, or add somebody who may log in."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command
from faceswap_lab.cli.parsing import ArgumentValueError
from faceswap_lab.files import user_path

if TYPE_CHECKING:
    from faceswap_lab.serve.demo import Demo

PORT = 7860


def offer(commands: Any) -> None:
    """Adds the command."""
    demo = add_command(
        commands,
        "demo",
        _demo,
        "serve a page on which visitors try a swap",
        "faceswap-lab demo",
        "faceswap-lab demo --login users.txt --add-user jo",
        "faceswap-lab demo --host 0.0.0.0 --login users.txt --tls-cert cert.pem --tls-key key.pem",
    )
    demo.add_argument("--host", default="127.0.0.1", help="where to listen; default: this machine only")
    demo.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}; 0 takes a free one")
    demo.add_argument(
        "--source", action="append", default=[], metavar="FILE", help="a file of this lab to offer as well; repeatable"
    )
    demo.add_argument(
        "--swapper", default="oneshot", help="oneshot, warp, or inswapper:FILE.onnx; a trained pair knows two people only"
    )
    demo.add_argument(
        "--keep-minutes", type=float, default=60.0, metavar="N", help="how long uploads and results are kept; default: 60"
    )
    demo.add_argument("--max-mb", type=float, default=50.0, metavar="N", help="largest upload; default: 50")
    _add_login(demo)
    _add_network(demo)


def _add_login(demo: Any) -> None:
    group = demo.add_argument_group("who may come in (everybody on this machine; elsewhere only with a login)")
    group.add_argument(
        "--login", type=user_path, metavar="FILE", help="names and salted hashes; default: one login, made for this start"
    )
    group.add_argument("--add-user", metavar="NAME", help="add NAME to the --login file, ask for the password, and end")
    group.add_argument("--password-file", type=user_path, metavar="FILE", help="take NAME's password from here instead of asking")
    group.add_argument("--no-login", action="store_true", help="no login: on this machine only")


def _add_network(demo: Any) -> None:
    group = demo.add_argument_group("how it is reached")
    group.add_argument("--tls-cert", type=user_path, metavar="FILE", help="certificate (PEM), for https")
    group.add_argument("--tls-key", type=user_path, metavar="FILE", help="its key")
    group.add_argument("--share", action="store_true", help="a public link through a relay: read the warning that is printed")
    group.add_argument("--share-server", default="", metavar="HOST:PORT", help="a relay of your own, in place of Gradio's")
    group.add_argument("--share-cert", type=user_path, metavar="FILE", help="the certificate of its authority (PEM)")


def _demo(options: argparse.Namespace) -> Answer:
    if options.add_user is not None:
        return _add_user(options)
    if options.login is not None and options.no_login:
        raise ArgumentValueError(expected="one of --login and --no-login", got="both", remedy="leave one out")
    from faceswap_lab.serve.demo import demo

    with demo(
        host=options.host,
        port=options.port,
        login=False if options.no_login else None,
        users=options.login,
        share=options.share,
        share_server=options.share_server,
        share_certificate=options.share_cert,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        sources=options.source,
        swapper=options.swapper,
        keep_minutes=options.keep_minutes,
        max_mb=options.max_mb,
    ) as running:
        _announce(running)
        _until_stopped(running)
    return {"address": running.address, "stopped": True}


def _announce(running: "Demo") -> None:
    lines = [f"demo: {running.address}"]
    lines += [f"demo: shared at {running.link}"] if running.link else []
    lines += [f"demo: log in as {running.name}, password {running.password}"] if running.password else []
    print("\n".join([*lines, "demo: Ctrl-C stops it"]), file=sys.stderr, flush=True)


def _until_stopped(running: "Demo") -> None:
    """Returns on Ctrl-C or SIGTERM, which are how a demo ends."""
    from faceswap_lab.stopping import stop_on_signals

    try:
        with stop_on_signals() as stopped:
            while running.running and not stopped():
                running.wait(0.2)
    except KeyboardInterrupt:
        return


def _add_user(options: argparse.Namespace) -> Answer:
    from faceswap_lab.serve.login import add_user

    if options.login is None:
        remedy = "add --login users.txt: it is made if there is none"
        raise ArgumentValueError(expected="the file of users, --login FILE", got="no file", remedy=remedy)
    add_user(options.login, options.add_user, _password(options.password_file))
    return {"user": options.add_user, "file": str(options.login)}


def _password(path: Path | None) -> str:
    if path is not None:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    if not sys.stdin.isatty():
        remedy = "put it into a file, and name that with --password-file"
        raise ArgumentValueError(expected="a terminal to ask for the password", got="none", remedy=remedy)
    from getpass import getpass

    first, second = getpass("password: "), getpass("again: ")
    if first != second:
        raise ArgumentValueError(expected="the same password twice", got="two", remedy="begin again")
    return first
