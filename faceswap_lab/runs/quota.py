"""The size limit for all runs of a lab together: `FACESWAP_LAB_QUOTA`, such as "50 GB"; empty or unset means no limit."""

import os
import re
from pathlib import Path

from pydantic import ByteSize, TypeAdapter

from faceswap_lab.errors import RunError

VARIABLE = "FACESWAP_LAB_QUOTA"
# ByteSize parses a prefix of the text and ignores the rest: "1,5 GB" becomes one byte.
_SIZE = re.compile(r"\d+(\.\d+)?\s*(([KMGT]I?)?B)?", re.IGNORECASE)
_NUM_NAMED = 5


def quota() -> int | None:
    """The limit in bytes, None for no limit. ValueError for a text that is not a size."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not _SIZE.fullmatch(text):
        raise ValueError(f'{VARIABLE} must be a size such as "50 GB" or "800 MiB", got {text!r}')
    return int(TypeAdapter(ByteSize).validate_python(text))


def size_of(folder: Path) -> int:
    """Bytes of all files below `folder`, not following links; 0 if there is no such folder. Files deleted meanwhile count 0."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except FileNotFoundError:
                continue  # workers may rename their temporary files at any time
    return total


def size_text(num_bytes: float) -> str:
    """A human-readable size: "0 B", "3.9 MiB", "1.2 GiB"."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def require_room(root: Path, *, freed: int = 0) -> None:
    """Raise RunError, naming the largest runs, if the lab's runs exceed the quota. `freed` bytes are about to be removed.

    Reads the disk only if there is a quota.
    """
    limit = quota()
    if limit is None:
        return
    runs = root / "runs"
    folders = [folder for folder in runs.iterdir() if folder.is_dir()] if runs.is_dir() else []
    sizes = {folder.name: size_of(folder) for folder in folders}
    used = sum(sizes.values()) - freed
    if used > limit:
        biggest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:_NUM_NAMED]
        named = ", ".join(f"{name} {size_text(sizes[name])}" for name in biggest)
        raise RunError(
            expected=f"runs of at most {size_text(limit)} in total ({VARIABLE})",
            got=f"{size_text(used)}; the largest: {named}",
            remedy="`faceswap-lab runs prune --unfinished` or `--older-than DAYS` lists what can go; remove it or raise the quota; "
            "then repeat the call to resume",
        )
