"""How a run that is not finished ended: where it was, why it stopped, and what its ranks said last."""

from collections.abc import Iterator
from typing import Any

from faceswap_lab.runs.run import Run
from faceswap_lab.views.report.blocks import Block, Notice, Printed
from faceswap_lab.views.report.scope import Scope

_LOG_LINES = 30
_TEXT = {
    "failed": "This run failed. It keeps what it had done; the same call resumes it.",
    "stopped": "This run was stopped. It keeps what it had done; the same call resumes it.",
    "unfinished": "This run is not finished: it is being worked on, or its process was killed. The same call resumes it.",
}


def blocks_of(run: Run, scope: Scope) -> list[Block]:
    """What a page says first of a run that is not finished; nothing of one that is."""
    if run.finished:
        return []
    events = run.events()
    endings = [event for event in events if event["kind"] in ("failed", "stopped", "opened")]
    last: dict[str, Any] = endings[-1] if endings else {"kind": "opened"}
    how = "unfinished" if last["kind"] == "opened" else str(last["kind"])
    facts = {name: str(last[name]) for name in ("error", "got", "expected", "remedy") if how == "failed" and last.get(name)}
    facts |= _where(events)
    return [Notice(text=_TEXT[how], kind="failed" if how == "failed" else "stopped", facts=facts), *_logs(run, scope)]


def _where(events: list[dict[str, Any]]) -> dict[str, str]:
    """The last step and frame that a run reported, what it wrote last, and when."""
    found: dict[str, str] = {}
    steps = [event for event in events if event["kind"] == "step"]
    parts = [event for event in events if event["kind"] == "part"]
    if steps:
        network = f" of {steps[-1]['network']}" if "network" in steps[-1] else ""
        losses = ", ".join(f"{name} {value:.4g}" for name, value in steps[-1].get("losses", {}).items())
        found["last step"] = f"{steps[-1]['step']}{network}" + (f" ({losses})" if losses else "")
    if parts:
        found["last frame"] = str(max(int(part["first"]) + len(part.get("times_s", ())) for part in parts) - 1)
    kept = [event for event in events if event["kind"] == "artifact"]
    if kept:
        found["files kept"] = str(len({event["name"] for event in kept}))
    warnings = [str(event["text"]) for event in events if event["kind"] == "warning"]
    if warnings:
        found["last warning"] = warnings[-1]
    if events:
        found["last sign of life"] = f"{events[-1]['time'][:19].replace('T', ' ')} UTC"
    return found


def _logs(run: Run, scope: Scope) -> Iterator[Block]:
    """The ends of the logs that the ranks of a training left; none of a run behind which there is a real person."""
    names = [name for name in run.artifacts() if name.startswith("logs/")]
    if names and run.id in scope.real:
        yield Notice(text="The logs of its ranks are withheld: they are free text about a real person's pictures.", kind="withheld")
        return
    for name in names:
        lines = run.artifact(name).read_text(encoding="utf-8", errors="replace").splitlines()
        yield Printed(text=f"{name}, last lines\n" + "\n".join(lines[-_LOG_LINES:]), kind="output")
