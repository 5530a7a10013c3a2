"""Tell people and programs that a pipeline has ended. A notice that fails never fails the pipeline; it is recorded and printed."""

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from faceswap_lab.errors import LabError, ScheduleError
from faceswap_lab.files import canonical, lab_root, locked
from faceswap_lab.pipelines.notices import content
from faceswap_lab.pipelines.notices.attempts import Delivered
from faceswap_lab.pipelines.notices.content import Notice
from faceswap_lab.pipelines.notices.settings import SECRET_VARIABLE, Settings, read_settings, secret
from faceswap_lab.pipelines.notices.targets import Target, check_address, read_target
from faceswap_lab.runs.events import now

if TYPE_CHECKING:
    from faceswap_lab.pipelines.run import Outcome

__all__ = ["RECORD", "Ending", "Notice", "Told", "check", "send", "telling"]

RECORD = Path("runs", ".notices.jsonl")
"""In the lab: a line for each notice, with its target, and whether it was taken."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of a notice to one target, as it was given: `answer` is the server's, or why there was none."""

    target: str
    ok: bool
    attempts: int
    answer: str


@dataclass(slots=True, kw_only=True)
class Ending:
    """Of a pipeline under way: its outcome, once there is one, and what became of the notices."""

    outcome: "Outcome | None" = None
    told: list[Told] = field(default_factory=list)


@contextmanager
def telling(pipeline: str, targets: Sequence[str]) -> Iterator[Ending]:
    """Check the targets; at the block's end tell them of its `outcome`, or of the error that ended it, which is raised again."""
    check(targets)
    ending, started, clock = Ending(), now(), perf_counter()
    try:
        yield ending
    except BaseException as error:
        from faceswap_lab.pipelines.notices.ending import of_error

        send(of_error(pipeline, error, started=started, seconds=perf_counter() - clock), targets, root=lab_root())
        raise
    if ending.outcome is not None:
        from faceswap_lab.pipelines.notices.ending import of_outcome

        done = ending.outcome
        notice = of_outcome(pipeline, done.run, done.steps, ok=done.ok, started=started, seconds=perf_counter() - clock)
        ending.told = send(notice, targets, root=done.run.root)


def check(targets: Iterable[str], *, scheduled: bool = False) -> None:
    """Before a pipeline runs: ScheduleError for a target that is none, and for one whose settings are missing or wrong.

    With `scheduled` also for secrets that are nowhere but in this process's environment.
    """
    wanted = [read_target(target) for target in targets]
    settings = read_settings() if wanted else Settings()
    for target in wanted:
        if target.kind == "mail":
            from faceswap_lab.pipelines.notices.mail import require_server

            require_server(settings.mail, scheduled=scheduled)
            continue
        from faceswap_lab.pipelines.notices.webhook import signing_key

        if key := secret(SECRET_VARIABLE, settings.webhook.secret_file, scheduled=scheduled):
            signing_key(key)
        if target.kind == "named webhook":
            check_address(_address(target.where, settings), plain=settings.webhooks[target.where].plain_http)


def send(notice: Notice, targets: Iterable[str], *, root: Path) -> list[Told]:
    """Tell all targets (`mail:…`, `https://…`, `webhook:NAME`) and record in the lab `root` what became of it.

    Raises nothing because of a target, its settings, its server or a full disk: what failed is returned, printed to standard error
    and recorded. Takes at most about a minute and a half for each target that doesn't answer.
    """
    message = content.message(notice)
    told = [_tell(target, message) for target in targets]
    for each in told:
        if not each.ok:
            print(f"notice to {each.target} failed: {each.answer}", file=sys.stderr, flush=True)
    if not told:
        return []
    try:
        _record(root, message, told)
    except LabError as error:
        _log.warning("the notices could not be recorded: %s", error)
    return told


def _tell(text: str, message: dict[str, Any]) -> Told:
    try:
        done = _deliver(read_target(text), message)
    except LabError as error:
        return Told(target=text, ok=False, attempts=0, answer=str(error))
    except Exception as error:  # whatever a library raises, the pipeline's result stands; the kind is told
        return Told(
            target=text, ok=False, attempts=0, answer=f"{type(error).__name__}, which is a bug in the lab: please report it"
        )
    return Told(target=text, **asdict(done))


def _deliver(target: Target, message: dict[str, Any]) -> Delivered:
    from faceswap_lab.pipelines.notices.mail import mail
    from faceswap_lab.pipelines.notices.webhook import post

    settings = read_settings()
    if target.kind == "mail":
        return mail(target.where, message, settings.mail)
    key = secret(SECRET_VARIABLE, settings.webhook.secret_file)
    if target.kind == "webhook":
        return post(target.where, message, secret=key)
    return post(_address(target.where, settings), message, secret=key, plain=settings.webhooks[target.where].plain_http)


def _address(name: str, settings: Settings) -> str:
    """The address of a named webhook."""
    from faceswap_lab.pipelines.notices.settings import settings_path

    found = settings.webhooks.get(name)
    url = None if found is None else found.url or secret("", found.url_file)
    if url is None:
        remedy = f"write [webhooks.{name}] with url or url_file there"
        raise ScheduleError(
            expected=f"the webhook {name} in {settings_path()}", got=", ".join(settings.webhooks) or "none", remedy=remedy
        )
    return url


def _record(root: Path, message: Mapping[str, Any], told: Iterable[Told]) -> None:
    about = {name: message[name] for name in ("pipeline", "state", "run")}
    lines = [{"time": now(), **about, **asdict(each)} for each in told]
    with locked(root / RECORD) as file:
        file.write("".join(f"{canonical(line)}\n" for line in lines).encode())
