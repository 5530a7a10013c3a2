"""Reads a Dockerfile far enough to ask who runs its stages, what they are made of and what they copy."""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True, kw_only=True)
class Stage:
    """A stage: what it builds on and its instructions in order, as (word, rest)."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all_of(self, word: str) -> list[str]:
        return [rest for each, rest in self.steps if each == word]


@dataclass(slots=True, kw_only=True)
class Dockerfile:
    """The arguments before the first stage (None without a default), and the stages by name."""

    arguments: dict[str, str | None]
    stages: dict[str, Stage]

    def user_of(self, name: str) -> str:
        """Whom a stage runs as, its own or that of the stage it builds on."""
        stage = self.stages[name]
        own = stage.all_of("USER")
        return own[-1] if own else self.user_of(stage.base) if stage.base in self.stages else "root"


def read(text: str) -> Dockerfile:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = Dockerfile(arguments={}, stages={})
    stage: Stage | None = None
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        rest = " ".join(rest.split())
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = found.stages[name] = Stage(name=name, base=base)
        elif word == "ARG" and stage is None:
            name, equals, default = rest.partition("=")
            found.arguments[name] = default if equals else None
        elif word and stage is not None:
            stage.steps.append((word, rest))
    return found


def findings(file: Dockerfile, root: Path, *, made: tuple[str, ...] = ()) -> list[str]:
    """What is wrong with it: floating bases, root, downloads without a hash, copies of what isn't there (or in `made`)."""
    wrong: list[str] = []
    for stage in file.stages.values():
        if stage.base not in file.stages and not _is_fixed(stage.base, file.arguments):
            wrong.append(f"{stage.name}: base {stage.base}")
        wrong += [f"{stage.name}: ADD {rest}" for rest in stage.all_of("ADD")]
        wrong += [f"{stage.name}: RUN {step}" for rest in stage.all_of("RUN") for step in rest.split("&&") if _is_loose(step)]
        for source in sources(stage):
            if not (root / source).exists() and source not in made:
                wrong.append(f"{stage.name}: no {source}")
    bases = {stage.base for stage in file.stages.values()}
    for name in file.stages.keys() - bases - _copied_from(file):
        user = file.user_of(name)
        if not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", user):
            wrong.append(f"{name}: user {user}")
    return wrong


def _is_fixed(base: str, arguments: Mapping[str, str | None]) -> bool:
    """A tag and a digest; a digest by an argument has no default, so that somebody has looked it up."""
    name, _, digest = base.partition("@")
    _, _, tag = name.partition(":")
    if variable := re.fullmatch(r"\$\{(\w+)\}", tag):
        tag = arguments.get(variable[1]) or ""
    given = re.fullmatch(r"\$\{(\w+)\}", digest)
    has_digest = arguments.get(given[1], "") is None if given else bool(re.fullmatch(r"sha256:[0-9a-f]{64}", digest))
    return bool(re.search(r"\d+\.\d+", tag)) and has_digest


def _is_loose(step: str) -> bool:
    downloads = re.search(r"\bpip3? (install|download|wheel)\b", step)
    hashed = "--require-hashes" in step or "--no-index" in step or "--no-build-isolation --wheel-dir" in step
    fetches = re.search(r"\b(curl|wget)\b", step)
    extra = "apt-get install" in step and "--no-install-recommends" not in step
    return bool(downloads and not hashed) or bool(fetches) or extra


def _copied_from(file: Dockerfile) -> set[str]:
    steps = [rest for stage in file.stages.values() for rest in stage.all_of("COPY")]
    return {match[1] for rest in steps if (match := re.search(r"--from=(\S+)", rest))}


def sources(stage: Stage) -> list[str]:
    """What a stage copies out of the build context."""
    return [
        part for rest in stage.all_of("COPY") if "--from=" not in rest for part in rest.split()[:-1] if not part.startswith("--")
    ]


def lets_in(ignore: str, path: str) -> bool:
    """Whether a .dockerignore lets a path into the build: the last line that fits it, or a folder above it, decides."""
    inside = True
    for line in ignore.splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or line.startswith("#"):
            continue
        parts = path.split("/")
        heads = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        if pattern.startswith("**/"):
            fits = any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
        else:
            fits = any(head.count("/") == pattern.count("/") and fnmatch.fnmatchcase(head, pattern) for head in heads)
        if fits:
            inside = line.strip().startswith("!")
    return inside
