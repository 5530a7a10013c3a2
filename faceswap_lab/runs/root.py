"""The root folder of a lab, with its manifests, audit log and run folders."""

import os
from pathlib import Path


def lab_root() -> Path:
    """`FACESWAP_LAB_ROOT`, else the current folder or its nearest parent with `data_manifests/`, else the current folder."""
    if named := os.environ.get("FACESWAP_LAB_ROOT"):
        return Path(named).expanduser().resolve()
    here = Path.cwd().resolve()
    return next((folder for folder in (here, *here.parents) if (folder / "data_manifests").is_dir()), here)
