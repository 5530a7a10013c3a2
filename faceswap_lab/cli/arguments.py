"""Shared by several commands: adding commands, parsing people, and the flags that declare a file."""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.parsing import ArgumentValueError, Parser

if TYPE_CHECKING:
    from faceswap_lab.runs.run import Run
    from faceswap_lab.verbs.people import Person

_ACTOR = re.compile(r"actor:(?P<seed>[0-9]+)(?:/(?P<kind>[a-z][a-z-]*)(?::(?P<number>[0-9]+))?)?")


def add_group(commands: Any, name: str, text: str) -> Any:
    """A noun, with subparsers for its commands."""
    return commands.add_parser(name, help=text, description=text).add_subparsers(required=True, metavar="COMMAND")


def add_command(
    commands: Any,
    name: str,
    command: Callable[[argparse.Namespace], Answer],
    text: str,
    *examples: str,
    verb: bool = False,
    cluster: bool = False,
    lab: Literal["", "read", "write"] = "write",
    readable: Callable[[Any], str] | None = None,
) -> Parser:
    """A command, with `examples` for the end of its help: complete command lines.

    `verb` and `cluster` add the flags of verbs, and those of verbs that can compute on a cluster (`cluster_of`).
    `readable` formats its answer for people, if the default table is not suitable. `lab` is what it does there: a command that
    reads or writes a lab is not called without one, and one that writes says in which it did.
    """
    parser: Parser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog="\n  ".join(["for example:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    parser.add_argument(
        "--root", type=Path, metavar="FOLDER", help="the lab; default: FACESWAP_LAB_ROOT, else the nearest one from here upwards"
    )
    if verb:
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
        parser.add_argument("--force", action="store_true", help="start a new run even if an identical one is finished")
    if cluster:
        add_cluster(parser)
    parser.set_defaults(command=command, command_name=parser.prog, readable=readable, lab=lab)
    return parser


def add_cluster(parser: Parser, *, required: bool = False) -> None:
    """Flags that name a cluster, and the certificates for it."""
    group = parser.add_argument_group("a cluster to compute on")
    text = "local:2 (processes here), cuda (this machine's GPUs), tls://HOST:PORT, slurm, kubernetes; default: this process"
    group.add_argument("--compute", metavar="WHERE", required=required, help=text)
    for name, what in (("ca", "the authority's certificate"), ("cert", "this client's certificate"), ("key", "its key")):
        group.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"for tls://, PEM: {what}; default: dask's configuration")
    group.add_argument("--plain-tcp", action="store_true", help="accept tcp:// to another machine: unencrypted")


@contextmanager
def cluster_of(options: argparse.Namespace) -> Iterator[Any]:
    """The cluster that the flags of `add_cluster` name, open; None without one."""
    if options.compute is None:
        yield None
        return
    from faceswap_lab.compute.cluster import opened

    secure = {"ca": options.ca, "cert": options.cert, "key": options.key, "plain_tcp": options.plain_tcp}
    with opened(options.compute, **secure) as cluster:
        yield cluster


def person(text: str, declared: dict[str, Any] | None = None) -> "Person":
    """`actor:7`, `actor:7/speech:3`, `faceset:cast/person-2`, or a file that has a manifest entry or is `declared` here.

    Raises ValueError for a malformed actor, and for a declaration of anything but a file.
    """
    from faceswap_lab.actors.cast import Actor
    from faceswap_lab.verbs.people import admit

    if is_file(text):
        return admit(text, **declared or {})
    if declared:
        remedy = "leave them out, or name a file"
        raise ArgumentValueError(expected="a file for --who, --basis and --uses to describe", got=text, remedy=remedy)
    if text.startswith("faceset:"):
        from faceswap_lab.verbs.library import faceset

        name, _, label = text.removeprefix("faceset:").partition("/")
        return faceset(name).of(label) if label else faceset(name)
    match = _ACTOR.fullmatch(text)
    if match is None:
        forms = "an actor such as actor:7, actor:7/speech or actor:7/speech:3"
        raise ArgumentValueError(expected=forms, got=repr(text), remedy="`faceswap-lab actors list` lists people")
    actor = Actor(int(match["seed"]))
    return actor.perform(match["kind"], seed=int(match["number"] or 0)) if match["kind"] else actor


def is_file(text: str) -> bool:
    """Whether the text names a file, not an actor or a faceset."""
    return not text.startswith(("actor:", "faceset:"))


def add_declaration(parser: Parser, whose: str, *, uses: str, required: bool = False) -> None:
    """Flags that declare who is depicted in a file and why it may be used; `whose` names the file, `uses` the default uses."""
    group = parser.add_argument_group(f"declaration of {whose} without a manifest entry")
    group.add_argument("--who", required=required, help="who is depicted")
    group.add_argument(
        "--basis", required=required, help='why this is allowed: "public domain (NASA)", "consent: signed 2026-03-01"'
    )
    group.add_argument("--uses", metavar="A,B", help=f"allowed uses, comma-separated; default: {uses}")
    group.add_argument("--expires", metavar="DAY", help="last day on which the consent or licence is valid: 2028-05-02")
    group.add_argument(
        "--partner", action="append", metavar="NAME", help="another real person whose face may be swapped with theirs; repeatable"
    )


def declaration(options: argparse.Namespace, uses: Sequence[str]) -> dict[str, Any]:
    """Arguments of `admit` and `gather` that declare who is depicted and on what basis; empty if none were given. `uses` is the
    default."""
    given = [name for name in ("who", "basis", "uses", "expires", "partner") if getattr(options, name)]
    if not given:
        return {}
    if (options.expires or options.partner) and not options.basis:
        remedy = 'state it with --basis "consent: …"'
        raise ArgumentValueError(expected="--expires and --partner as terms of a consent", got="no --basis", remedy=remedy)
    terms = [f"; expires {options.expires}"] if options.expires else []
    terms += [f"; partners {', '.join(options.partner)}"] if options.partner else []
    basis = options.basis + "".join(terms) if options.basis else None
    named = [use.strip() for use in (options.uses or "").split(",") if use.strip()]
    return {"who": options.who, "basis": basis, "uses": tuple(named or uses)}


def add_acceptance(parser: Parser) -> None:
    """Flags that accept what an anonymised result left as it was, and who is still recognised in it."""
    told = "export an anonymised result although this many {} were left as they were: look at them first"
    parser.add_argument("--accept-frames", type=int, default=0, metavar="N", help=told.format("frames without a found face"))
    parser.add_argument("--accept-faces", type=int, default=0, metavar="N", help=told.format("found faces"))
    still = "export an anonymised result although judges still recognise the person: then don't call it anonymous"
    parser.add_argument("--accept-recognisable", action="store_true", help=still)


def acceptance(options: argparse.Namespace) -> dict[str, Any]:
    """The same as arguments of `SwapRun.export` and `report`."""
    names = ("accept_frames", "accept_faces", "accept_recognisable")
    return {name: getattr(options, name) for name in names}


def about(run: "Run") -> dict[str, Any]:
    """The answer of every verb about its run."""
    return {"run": run.id, "folder": str(run.path), **run.summary}


def root() -> Path:
    """The lab that the commands work in."""
    from faceswap_lab.files import lab_root

    return lab_root()
