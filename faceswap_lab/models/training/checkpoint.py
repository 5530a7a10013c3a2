"""Training checkpoints: written only if every number is finite; any other file is rejected on reading.

The file has torch's own format with tensors, numbers and text, and is read with `weights_only`: no code in it is executed.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from faceswap_lab.errors import RunError
from faceswap_lab.models.training.state import N, TrainState, require_finite

_REMEDY = "remove the file: the same call then begins at step 0; or train with force=True"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """`state` for `TrainState.load_state_dict`, and the writer's notes (JSON values)."""

    state: dict[str, Any]
    notes: Mapping[str, Any] = field(default_factory=dict)


def write_checkpoint(path: Path, state: TrainState[N], *, key: str, notes: Mapping[str, Any] | None = None) -> None:
    """Writes the state for the run of `key` to `path`, which the caller renames into place.

    Raises RunError, and writes nothing, if a number is NaN or infinite; OSError if the disk is full.
    """
    saved = state.state_dict()
    # Losses were finite before the last step, which may have made the weights diverge.
    require_finite(saved)
    file = io.BytesIO()
    torch.save({"key": key, "state": saved, "notes": json.dumps(notes or {}, allow_nan=False)}, file)
    # As bytes, since torch's own writer does not raise OSError on a full disk.
    path.write_bytes(file.getbuffer())


def read_checkpoint(path: Path, *, key: str, owner: str, where: torch.device | None = None) -> Checkpoint:
    """Reads the output of `write_checkpoint` for `key`, tensors on `where` (default: the CPU). `owner` names the run in errors.

    Raises RunError for a file that is damaged, is not a checkpoint, or belongs to another recipe, people or code.
    """
    content = io.BytesIO(path.read_bytes())
    try:
        saved = torch.load(content, map_location=where or torch.device("cpu"), weights_only=True)
        found, state, notes = saved["key"], saved["state"], json.loads(saved.get("notes", "{}"))
        if not isinstance(state, dict) or not isinstance(notes, dict):
            raise TypeError("state or notes that are not mappings")
    # Damaged files make torch's reader fail anywhere: nine exception types were observed, including AssertionError.
    except Exception as error:
        raise RunError(
            expected=f"a training state in {path}",
            got=(str(error).splitlines() or [type(error).__name__])[0][:200],
            remedy=_REMEDY,
        ) from error
    if found != key:
        raise RunError(
            expected=f"a checkpoint of {owner}",
            got=f"one of another recipe, people or code (key {str(found)[:8]})",
            remedy=_REMEDY,
        )
    return Checkpoint(state=state, notes=notes)
