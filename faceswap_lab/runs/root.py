"""Where the lab keeps its records: manifests, the audit log, run folders."""

import os
from pathlib import Path


def lab_root() -> Path:
    """`FACESWAP_LAB_ROOT`, else the nearest folder from the current one upwards with `data_manifests/`, else the current folder."""
    if named := os.environ.get("FACESWAP_LAB_ROOT"):
        return Path(named).expanduser().resolve()
    here = Path.cwd().resolve()
    return next((folder for folder in (here, *here.parents) if (folder / "data_manifests").is_dir()), here)
