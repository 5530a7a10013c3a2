"""What each result of a page stands on: runs, people and code, back to the roots."""

import re
from collections.abc import Iterator

from faceswap_lab.runs.call import fields_of
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.views.report.blocks import Block, Node, Section, Table, Tree
from faceswap_lab.views.report.scope import Scope, made_by_notebook
from faceswap_lab.views.report.telling import shortened, told_input

_MOST_INPUTS = 8
_DIGEST = re.compile(r"(sha256:)?\b([0-9a-f]{64})\b")


def section_of(scope: Scope) -> Section:
    """A drawing of the descent of the page's runs, and a table of the code that each of them was made with."""
    shown = [run for run in scope.runs if not any(run in scope.descent.parents.get(user, ()) for user in scope.runs)]
    caption = (
        "Each result on top, and below it what it was made from. Files are told by their digest, and those of somebody whom this "
        "page hides not at all."
    )
    blocks: list[Block] = [Tree(roots=[_node(run, "", scope) for run in shown or scope.runs], caption=caption)]
    made = {run.id: made_by_notebook(run) for run in scope.runs}
    rows = [[run, shortened(others, 12)] for run, others in made.items() if others]
    if rows:
        blocks += [Table(header=["notebook of", "runs that it made"], rows=rows)]
    return Section(title="What it stands on", blocks=[*blocks, _code(scope), *_data(scope)])


def _node(run: Run, role: str, scope: Scope) -> Node:
    parents = {parent.id: parent for parent in scope.descent.parents.get(run, ())}
    inputs = [(name, value) for name, value in run.inputs.items() if value]
    nodes = [_input(name, value, parents, scope, run) for name, value in inputs[:_MOST_INPUTS]]
    if len(inputs) > _MOST_INPUTS:
        nodes += [Node(title=f"{len(inputs) - _MOST_INPUTS} more files")]
    # What has no parents stands in one row, before what branches.
    nodes.sort(key=lambda node: bool(node.parents))
    status = "" if run.finished else ", unfinished"
    return Node(title=run.id, role=role, detail=f"{_what(run, scope)}{status}", parents=nodes)


def _input(name: str, value: str, parents: dict[str, Run], scope: Scope, user: Run) -> Node:
    named = parents.get(value) or parents.get(str(fields_of(value).get("faceset", "")))
    digest = str(fields_of(value).get("file", "")).removeprefix("sha256:")
    named = named or next((run for run in parents.values() if digest and digest in run.record.artifacts.values()), None)
    # The name of an input can be a file's.
    role = name if user.verb != "faceset" and name.isidentifier() else "file"
    return Node(title=_digests(told_input(value, hides=scope.hides)), role=role) if named is None else _node(named, role, scope)


def _digests(text: str) -> str:
    """The text with its digests shortened, and a file's called one."""
    short = _DIGEST.sub(lambda hit: f"{'file ' if hit[1] else ''}{hit[2][:12]}…", text)
    return short if len(short) <= 80 else f"{short[:60]}…"


def _what(run: Run, scope: Scope) -> str:
    if isinstance(run, SwapRun) and run.finished:
        whom = "a real person" if run.id in scope.real or scope.hides else str(run.summary.get("target", ""))
        return f"{run.summary.get('source', '')} on {whom}"
    return run.verb


def _code(scope: Scope) -> Table:
    rows = [[run.id, *_versions(run), run.record.created[:19].replace("T", " ")] for run in _all(scope)]
    caption = "Version of the package, and the digest of its Python files. A resumed run may have several."
    return Table(header=["run", "code", "created (UTC)"], rows=rows, caption=caption)


def _data(scope: Scope) -> Iterator[Table]:
    """The data files of the lab that the runs depend on, such as the head of the actors and the weights of the detector."""
    found = {(name, value) for run in _all(scope) for name, value in run.record.data.items() if value}
    if found:
        rows = [[name, value if len(value) < 40 else f"{value[:16]}…"] for name, value in sorted(found)]
        yield Table(header=["data of the lab", "digest or version"], rows=rows)


def _versions(run: Run) -> list[str]:
    told = [str(event.get("code", "")) for event in run.events("opened")]
    return [", ".join(dict.fromkeys([run.record.code, *filter(None, told)]))]


def _all(scope: Scope) -> Iterator[Run]:
    """The runs of the page and everything that they were made from, once each."""
    yield from dict.fromkeys(found for run in scope.runs for found in scope.descent.ancestors(run))
