"""Exporting a run as a small archive to share: its record and results, without pixels, weights or names."""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

from faceswap_lab.errors import ConsentError, MediaError, storing
from faceswap_lab.faces.frame import hidden_beside
from faceswap_lab.files import canonical, encodable, put_in_place, sha256_file
from faceswap_lab.runs.call import digest_in, fields_of
from faceswap_lab.runs.prune import made_from
from faceswap_lab.runs.record import Record
from faceswap_lab.runs.run import Run, Survey
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.manifest import find_entry, utc_today

TEXTS = frozenset({".json", ".jsonl", ".csv", ".txt", ".md", ".toml"})
MAX_TEXT = 1 << 20
"""Size limit of an artifact in an archive, in bytes."""

_ARCHIVE = b"faceswap-lab run"
_EPOCH = (1980, 1, 1, 0, 0, 0)

# What leaves of a run that depicts people. Names, file names, free text and the geometry of faces are on neither list, nor is a
# field that somebody adds later, until it is added here as well.
_FIGURES = frozenset(
    re.findall(
        r"\w+",
        """
        format result_version status audit_count summary environment packages cores data n time bytes index first num_faces
        num_left times_s step network losses seconds stages stage_seconds steps parts frames workers scores value floor ceiling
        higher_is_better gallery_size gallery_seed num_frames num_faces_left num_frames_without_face frames_without_face
        landmark_error_ratio frames_per_s turn_to_upright every num_pictures num_source_frames preview actor_source splits train
        val test num_files num_refused same_bytes loss learning_rate parameters num_views render_size speech_share seed
        checkpoint_every size batch_size warmup every_s stream net
        """,
    )
)
_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        id verb key recipe_schema code created finished audit_hash kind sha256 device cuda python platform machine unit embedder
        colour precision supervision tone select status time network layout
        """,
    )
)
_ROLE = re.compile(r"(value|floor|ceiling|found|gain)\.[a-z_0-9]+")
_PLAIN_NAME = re.compile(r"[a-z_]+(\.[a-z]+)+")
_RUN_ID = re.compile(r"[a-z]+-[0-9a-f]{8}(-\d+)?")
_ACTOR = re.compile(r'(actor:|\{"(actor|take)":)[^\\]*')


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What `export` wrote: its members, and the omitted artifacts with the reason."""

    path: Path
    sha256: str
    members: tuple[str, ...]
    left_out: dict[str, str]


def export(run: Run, path: Path, *, today: date | None = None) -> Archive:
    """Write a run's record, recipe, events and small text artifacts as `.zip`; never pixels, never weights or training states.

    If the run's inputs depict anybody but actors, their entries must be in force, and only what is known to tell nothing about them
    is written: settings, figures, digests of results, the environment. The same run gives the same bytes. An older archive of that
    name is replaced. Raises ValueError for another suffix, MediaError if the name is another file's, ConsentError if an entry is
    missing or no longer in force.
    """
    if path.suffix.lower() != ".zip":
        raise ValueError(f"a run must be exported as .zip, got {path.name!r}")
    texts, left_out = _texts(run, _share(run, today or utc_today()))
    with _outgoing(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            archive.comment = _ARCHIVE
            for name, text in texts.items():
                member = zipfile.ZipInfo(f"{run.id}/{name}", _EPOCH)
                member.external_attr = 0o644 << 16
                archive.writestr(member, text, compress_type=zipfile.ZIP_DEFLATED)
        digest = sha256_file(temporary)
        where = {"file": path.name, "to": str(path.resolve())}
        event = {"action": "run exported", "run": run.id, **where, "sha256": digest, "bytes": temporary.stat().st_size}
        audit.append(run.root, event)
        put_in_place(temporary, path)
    return Archive(path=path, sha256=digest, members=tuple(texts), left_out=left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """What may be written of a run. `people` says whether anybody but actors is depicted, `root` is the lab's path."""

    people: bool
    root: str

    def of_record(self, record: Record) -> dict[str, Any]:
        """`run.json`, as far as it may leave."""
        whole = record.model_dump(mode="json")
        if not self.people:
            return dict(self.of(whole))
        artifacts = {name: digest for name, digest in record.artifacts.items() if _PLAIN_NAME.fullmatch(name)}
        shared: dict[str, Any] = self.of({name: value for name, value in whole.items() if name not in ("recipe", "inputs")})
        return shared | {"recipe": self.of(record.recipe), "inputs": _unnamed(record.inputs), "artifacts": artifacts}

    def of(self, value: Any, name: str = "") -> Any:
        """A JSON value, without the lab's path; of people, only the fields that are listed."""
        if isinstance(value, dict):
            named = {key: inner for key, inner in value.items() if self._may_leave(name, key, inner)}
            return {key: self.of(inner, key) for key, inner in named.items()}
        if isinstance(value, list):
            return [self.of(inner, name) for inner in value if not self.people or not isinstance(inner, str) or name in _WORDS]
        return value.replace(self.root, "LAB") if isinstance(value, str) else value

    def _may_leave(self, within: str, key: str, value: Any) -> bool:
        if not self.people:
            return True
        if isinstance(value, str):
            return key in _WORDS or within in ("packages", "data")
        free = within in ("losses", "stages", "stage_seconds", "seconds", "scores", "recipe", "net", "train", "stream")
        return key in _FIGURES or key in _WORDS or free or bool(_ROLE.fullmatch(key))


def _unnamed(inputs: Mapping[str, str]) -> dict[str, str]:
    """Inputs without what identifies a person: actors and runs as they are, files and sets as their kind and a number."""
    shared = {}
    for number, (name, value) in enumerate(inputs.items(), 1):
        plain = _RUN_ID.fullmatch(value) or _ACTOR.fullmatch(value) or value in ("", "warp", "offline")
        kind = next((kind for kind in ("file", "faceset", "footage") if kind in fields_of(value)), "input")
        shared[name if re.fullmatch(r"[a-z]+", name) else f"input {number}"] = value if plain else f"{kind} {number}"
    return shared


def _share(run: Run, today: date) -> _Share:
    """ConsentError if an entry of somebody depicted is not in force."""
    files = list(_files(run, Run.survey(run.root)))
    for digest in files:
        _require_standing(run.root, digest, today)
    return _Share(people=bool(files), root=str(run.root))


def _files(run: Run, seen: Survey) -> Iterator[str]:
    """SHA-256 of every admitted file among the inputs of the run and of the runs that it was made from, and of those that their
    notebooks admitted, by the audit log.

    Raises the error of an unreadable run among those, since its subjects are unknown.
    """
    runs = seen.runs
    made = {digest for other in runs for digest in other.record.artifacts.values()}
    log, _ = audit.walk(run.root)
    waiting, asked = [run], {run.id}
    while waiting:
        user = waiting.pop()
        for each in seen.unreadable:
            if any(each.id in value for value in user.inputs.values()):
                raise each.error
        # Results of other runs have no entry of their own; the files of those runs are checked instead.
        yield from (digest for value in user.inputs.values() if (digest := digest_in(value)) and digest not in made)
        yield from (str(line.event["sha256"]) for line in log if _is_admission(line.event, user))
        steps = {event.get("run") for event in user.events("pipeline_step")}
        parents = [other for other in runs if other.id not in asked and (other.id in steps or made_from(user, other))]
        asked |= {other.id for other in parents}
        waiting += parents


def _is_admission(event: Mapping[str, Any], notebook: Run) -> bool:
    return audit.notebook_run(event) == notebook.id and event.get("action") == "admitted"


def _require_standing(root: Path, digest: str, today: date) -> None:
    entry = find_entry(root, digest)
    problem = "no entry" if entry is None else entry.standing(today)
    if entry is None or problem:
        raise ConsentError(
            expected=f"a manifest entry in force for the file {digest[:12]}… that the run was made from",
            got=problem,
            remedy="export only runs of people whose consent is in force",
        )


def _texts(run: Run, share: _Share) -> tuple[dict[str, str], dict[str, str]]:
    """Members by name, and omitted artifacts with the reason."""
    texts = {
        "run.json": _spelled(share.of_record(run.record)),
        "recipe.json": _spelled(share.of(run.record.recipe, "recipe")),
        "events.jsonl": "".join(canonical(share.of(event)) + "\n" for event in run.events()),
    }
    left_out = {}
    for name, path in run.artifacts().items():
        # Names of crops hold what file they are from.
        shown = name if not share.people or _PLAIN_NAME.fullmatch(name) else "others"
        text, reason = _text_of(path, share)
        if reason or shown != name:
            left_out[shown] = reason or "names of its own"
        else:
            texts[f"artifacts/{name}"] = text
    texts["left_out.json"] = _spelled(left_out)
    return texts, left_out


def _text_of(path: Path, share: _Share) -> tuple[str, str]:
    """An artifact's text, as far as it may leave, or why none of it must be exported."""
    if path.suffix.lower() not in TEXTS:
        return "", "not plain text: pixels, weights and pages with pictures are never exported"
    if path.stat().st_size > MAX_TEXT:
        return "", f"more than {MAX_TEXT} bytes"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return "", "not UTF-8"
    if re.search(r"data:image/|image/(png|jpe?g|webp|gif)|;base64,", text):
        return "", "contains a picture"
    if path.suffix.lower() != ".json":
        return (text, "") if not share.people else ("", "free text of a run that depicts a person")
    try:
        return canonical(share.of(json.loads(text), "scores" if path.name == "scores.json" else "")), ""
    except ValueError as error:
        return "", f"not JSON: {error}"


def _spelled(value: Any) -> str:
    return encodable(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)) + "\n"


@contextmanager
def _outgoing(path: Path) -> Iterator[Path]:
    """A hidden temporary path beside the destination; removed unless it was moved into place."""
    if path.exists() and not _is_archive(path):
        raise MediaError(
            expected="a new name, or an older archive of a run to replace",
            got=f"{path.name}, which is another file",
            remedy="choose another name",
        )
    temporary = hidden_beside(path, uuid4().hex[:8])
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _is_archive(path: Path) -> bool:
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return False
    with zipfile.ZipFile(path) as archive:
        return archive.comment == _ARCHIVE
