"""A pipeline to be run by the clock: its name, its command line, and what no scheduler may be given."""

import os
import re
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from faceswap_lab.errors import ScheduleError
from faceswap_lab.pipelines.notices.targets import read_target
from faceswap_lab.pipelines.schedules.when import When

MARK = "faceswap-lab schedule:"
"""What stands, with the schedule's name, in everything that is installed, and by which it is found again."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_CARRIED = (
    "FACESWAP_LAB_CACHE",
    "FACESWAP_LAB_WEIGHTS",
    "FACESWAP_LAB_NOTICES",
    "FACESWAP_LAB_TRACK",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "SSL_CERT_FILE",
)
"""Variables that a scheduler's job would not inherit, and none of which is a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is run, and when. `root` is the lab, `program` the beginning of the command line."""

    name: str
    pipeline: str
    when: When
    root: Path
    program: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    smoke: bool = False
    notify: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        for target in self.notify:
            read_target(target)
        for text in (*self.words, *(f"{name}={value}" for name, value in self.variables.items())):
            _check_text(text)

    @property
    def words(self) -> list[str]:
        """The command line."""
        given = [word for text in self.parameters for word in ("-p", text)]
        told = [word for target in self.notify for word in ("--notify", target)]
        smoke = ["--smoke"] if self.smoke else []
        return [*self.program, "pipelines", "run", self.pipeline, "--root", str(self.root), *given, *smoke, *told]

    @property
    def variables(self) -> dict[str, str]:
        """Variables of this process that decide where weights and settings are."""
        return {name: os.environ[name] for name in _CARRIED if os.environ.get(name)}


def check_name(name: str) -> str:
    """The name, which becomes part of the names of files and of Kubernetes objects."""
    if not _NAME.fullmatch(name):
        raise ScheduleError(
            expected="a name of up to 40 small letters, digits and hyphens", got=repr(name), remedy="give one with --name nightly"
        )
    return name


def name_for(pipeline: str) -> str:
    """A schedule's name from that of its pipeline: `train_and_report` and `~/mine/train_and_report.toml` are `train-and-report`."""
    return re.sub(r"[^a-z0-9]+", "-", Path(pipeline).stem.lower())[:40].strip("-")


def own_program() -> tuple[str, ...]:
    """How this installation is called by its full path: its script, or where there is none, its Python."""
    script = Path(sys.executable).with_name("faceswap-lab")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "faceswap_lab")


def _check_text(text: str) -> None:
    # Cron cuts a command at a newline, units and YAML each have rules of their own: none of these characters has a use here.
    if any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in text):
        raise ScheduleError(
            expected="parameters, names and paths of printable characters",
            got=repr(text),
            remedy="leave out line breaks and control characters",
        )
