"""What may be written of a run's record that leaves the lab: a list of fields, and everything else stays."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from faceswap_lab.runs.call import fields_of
from faceswap_lab.runs.record import Record

# What leaves of a run that depicts people. Names, file names, free text and the geometry of faces are on neither list, nor is a
# field that somebody adds later, until it is added here as well.
FIGURES = frozenset(
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
WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        id verb key recipe_schema code created finished audit_hash kind sha256 device cuda python platform machine unit embedder
        colour precision supervision tone select status time network layout
        """,
    )
)
_ROLE = re.compile(r"(value|floor|ceiling|found|gain)\.[a-z_0-9]+")
PLAIN_NAME = re.compile(r"[a-z_]+(\.[a-z]+)+")
RUN_ID = re.compile(r"[a-z]+-[0-9a-f]{8}(-\d+)?")
_SHIPPED = re.compile(r"|warp|offline|oneshot:sha256:[0-9a-f]{64}")
_ACTOR = re.compile(r'(actor:|\{"(actor|take)":)[^\\]*')


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What may be written of a run. `people` says whether anybody but actors is depicted, `root` is the lab's path."""

    people: bool
    root: str

    def of_record(self, record: Record) -> dict[str, Any]:
        """`run.json`, as far as it may leave."""
        whole = record.model_dump(mode="json")
        if not self.people:
            return dict(self.of(whole))
        artifacts = {name: digest for name, digest in record.artifacts.items() if PLAIN_NAME.fullmatch(name)}
        shared: dict[str, Any] = self.of({name: value for name, value in whole.items() if name not in ("recipe", "inputs")})
        return shared | {"recipe": self.of(record.recipe), "inputs": _unnamed(record.inputs), "artifacts": artifacts}

    def of(self, value: Any, name: str = "") -> Any:
        """A JSON value, without the lab's path; of people, only the fields that are listed."""
        if isinstance(value, dict):
            named = {key: inner for key, inner in value.items() if self._may_leave(name, key, inner)}
            return {key: self.of(inner, key) for key, inner in named.items()}
        if isinstance(value, list):
            return [self.of(inner, name) for inner in value if not self.people or not isinstance(inner, str) or name in WORDS]
        return value.replace(self.root, "LAB") if isinstance(value, str) else value

    def _may_leave(self, within: str, key: str, value: Any) -> bool:
        if not self.people:
            return True
        if isinstance(value, str):
            return key in WORDS or within in ("packages", "data")
        free = within in ("losses", "stages", "stage_seconds", "seconds", "scores", "recipe", "net", "train", "stream")
        return key in FIGURES or key in WORDS or free or bool(_ROLE.fullmatch(key))


def _unnamed(inputs: Mapping[str, str]) -> dict[str, str]:
    """Inputs without what identifies a person: actors and runs as they are, files and sets as their kind and a number."""
    shared = {}
    for number, (name, value) in enumerate(inputs.items(), 1):
        plain = RUN_ID.fullmatch(value) or _ACTOR.fullmatch(value) or _SHIPPED.fullmatch(value)
        kind = next((kind for kind in ("file", "faceset", "footage") if kind in fields_of(value)), "input")
        shared[name if re.fullmatch(r"[a-z]+", name) else f"input {number}"] = value if plain else f"{kind} {number}"
    return shared
