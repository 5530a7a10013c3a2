"""A training's state as a file: written whole and only if every number is finite, read back with a refusal for any other file.

The file is torch's own format, holds tensors, numbers and text, and is read with `weights_only`: nothing in it is run.
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
    """`state` for `TrainState.load_state_dict`, and what its writer noted beside it (JSON values)."""

    state: dict[str, Any]
    notes: Mapping[str, Any] = field(default_factory=dict)


def write_checkpoint(path: Path, state: TrainState[N], *, key: str, notes: Mapping[str, Any] | None = None) -> None:
    """Write the state for the run of `key` to `path`, which the caller renames into place.

    Raises RunError, and writes nothing, if a number is NaN or infinite; OSError if the disk is full.
    """
    saved = state.state_dict()
    # Losses were finite before the last step, which may have thrown the weights off.
    require_finite(saved)
    file = io.BytesIO()
    torch.save({"key": key, "state": saved, "notes": json.dumps(notes or {}, allow_nan=False)}, file)
    # As bytes and not by torch's own writer, whose error for a full disk is no OSError.
    path.write_bytes(file.getbuffer())


def read_checkpoint(path: Path, *, key: str, owner: str, where: torch.device | None = None) -> Checkpoint:
    """What `write_checkpoint` wrote for `key`, with its tensors on `where` (default: the CPU). `owner` names the run in an error.

    Raises RunError for a file that is damaged, is no checkpoint, or is one of another recipe, people or code.
    """
    content = io.BytesIO(path.read_bytes())
    try:
        saved = torch.load(content, map_location=where or torch.device("cpu"), weights_only=True)
        found, state, notes = saved["key"], saved["state"], json.loads(saved.get("notes", "{}"))
        if not isinstance(state, dict) or not isinstance(notes, dict):
            raise TypeError("a state and notes that are no mappings")
    # Damage shows anywhere in torch's reader: seen were nine kinds of exception, an AssertionError among them.
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
