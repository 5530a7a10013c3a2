"""Says which torch build was installed; refuses packages that overwrite each other, and a set-up without insightface."""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions

RIVALS = {
    "onnxruntime/": "onnxruntime and onnxruntime-gpu (and their kin) all write the folder onnxruntime/",
    "cv2/": "opencv-python, opencv-python-headless and opencv-contrib-python all write the folder cv2/",
}


def owners(folder: str) -> list[str]:
    """Names of the installed distributions that own the package `folder` ("cv2/")."""
    return sorted({found.metadata["Name"] for found in distributions() if _writes(found, folder)})


def _writes(distribution: Distribution, folder: str) -> bool:
    return any(str(file) == f"{folder}__init__.py" for file in distribution.files or ())


def lacking(name: str = "insightface") -> list[str]:
    """Names of what is missing of the distribution `name` and its requirements; any kind of onnxruntime will do.

    Beside onnxruntime-gpu insightface is installed without its dependencies, so pip has not looked at them.
    """
    try:
        asked = distribution(name).requires or []
    except PackageNotFoundError:
        return [name]
    wanted = {re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in asked if "extra ==" not in text} - {"onnxruntime"}
    return sorted(found for found in wanted if not _installed(found))


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def torch_build() -> str:
    """One line: torch's version, whether it is the CPU or a CUDA build, and the size of what was installed for it."""
    import torch

    cuda = torch.version.cuda
    parts = ("torch", "triton") if cuda is None else ("torch", "triton", "nvidia-", "cuda-")
    ours = [found for found in distributions() if found.metadata["Name"].startswith(parts)]
    size = sum(file.size or 0 for found in ours for file in found.files or ())
    if cuda is None:
        return f"torch {torch.__version__}: the CPU build, {size / 1e9:.1f} GB on disk"
    sight = "sees a GPU here" if torch.cuda.is_available() else "sees no GPU here"
    return (
        f"torch {torch.__version__}: the build for CUDA {cuda}, {size / 1e9:.1f} GB on disk with its NVIDIA libraries; it {sight}"
    )


def main() -> int:
    """Print the torch line; 1 and a remedy if two distributions own one folder, or insightface can't run."""
    wrong = 0
    for folder, why in RIVALS.items():
        found = owners(folder)
        if len(found) != 1:
            wrong = 1
            print(f"expected one owner of {folder}, found {', '.join(found) or 'none'}: {why}.", file=sys.stderr)
            print("To mend it, remove the folder .venv and run `make setup` again.", file=sys.stderr)
    if missing := lacking():
        wrong = 1
        print(f"expected insightface and what it requires, found no {', no '.join(missing)}.", file=sys.stderr)
        print(f"To mend it: .venv/bin/python -m pip install --no-deps {' '.join(missing)}", file=sys.stderr)
    print(torch_build())
    return wrong


if __name__ == "__main__":
    sys.exit(main())
