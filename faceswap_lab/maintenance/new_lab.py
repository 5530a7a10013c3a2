"""Making a lab: the folder with manifests, runs and the audit log that all commands work in."""

from dataclasses import dataclass
from pathlib import Path

from faceswap_lab.errors import StorageError, storing
from faceswap_lab.files import is_lab, private_folder, user_path, write_whole

README = """# Manifests: who agreed to what

This folder makes the one around it a lab of faceswap_lab; keep it under version control with your project. No real face enters
it without an entry here: `NAME.toml` says who is depicted and on what basis, `NAME.csv` lists the files. `faceswap-lab consent add`
writes them.
"""

IGNORED = ("/runs/", "/audit*.jsonl")
"""What git should not keep: runs hold faces, and the log belongs to this copy of the lab."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLab:
    """A lab's folder, and whether it was made now or was one already.

    `inside` is a lab above it, `not_ignored` what git would keep though it should not.
    """

    root: Path
    made: bool
    inside: Path | None
    not_ignored: tuple[str, ...]


def init(folder: str | Path = ".") -> NewLab:
    """Make `folder` (created if it is missing) a lab: `data_manifests/`, a private `runs/`, and a `.gitignore` if it has none.

    Whatever is there stays as it is, so that the call can be repeated. Raises StorageError for a file of that name.
    """
    root = user_path(folder).resolve()
    if root.exists() and not root.is_dir():
        raise StorageError(expected="a folder for the lab", got=f"{root}, which is a file", remedy="name a folder, or a new name")
    before = is_lab(root)
    with storing(root):
        (root / "data_manifests").mkdir(parents=True, exist_ok=True)
        private_folder(root / "runs")
    if not any((root / "data_manifests").iterdir()):
        write_whole(root / "data_manifests" / "README.md", README)
    ignore = root / ".gitignore"
    if not ignore.exists():
        write_whole(ignore, "\n".join(IGNORED) + "\n")
    lines = ignore.read_text(encoding="utf-8", errors="replace").split()
    return NewLab(
        root=root,
        made=not before,
        inside=next(filter(is_lab, root.parents), None),
        not_ignored=tuple(name for name in IGNORED if name not in lines),
    )
