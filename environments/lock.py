"""Writes the hash-locked requirements of the images: every package's exact version and the SHA-256 of its wheel.

    python environments/lock.py             build.txt, cpu.txt and gpu.txt in environments/locks/
    python environments/lock.py gpu         one of them

pip resolves it under constraints.txt, for the Python and the platform that run this script: take those of the image.
Only wheels are taken: building a source archive runs code that no hash covers. A lock is complete, so that it is installed with
`--no-deps --require-hashes`, and names no host.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "environments/constraints.txt"
LOCKS = ROOT / "environments/locks"

KINDS = ("build", "cpu", "gpu")
EVERYWHERE = ("kubernetes", "s3", "gs", "az")
"""Extras of every image, since client and workers must have the same packages. Not `oss`: one of its dependencies has no wheel."""
ALONE = {"gpu": ("insightface",)}
"""What is locked without its dependencies, because one of them would write over onnxruntime-gpu; the extra brings the others."""


def wanted(kind: str) -> tuple[list[str], list[str]]:
    """Requirements of one lock out of pyproject.toml: those resolved with their dependencies, and those taken alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if kind == "build":
        return project["build-system"]["requires"], []
    extras = project["project"]["optional-dependencies"]
    named = [text for extra in (kind, *EVERYWHERE) for text in extras[extra]]
    alone = [text for text in extras["cpu"] if text.startswith(ALONE.get(kind, ()))]
    return [*project["project"]["dependencies"], *named], alone


def resolve(requirements: list[str], *options: str, constraints: Path = CONSTRAINTS) -> dict[str, tuple[str, str]]:
    """Version and SHA-256 by name of what pip would install for `requirements` into an empty environment.

    CalledProcessError if pip finds no solution (it says why on standard error); ValueError for a file without a hash.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
        command += ["--ignore-installed", "--only-binary", ":all:", "--report", str(report), "-c", str(constraints), *options]
        subprocess.run([*command, *requirements], check=True)  # noqa: S603
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {item["metadata"]["name"].lower().replace("_", "-"): _pinned(item) for item in installs}


def _pinned(item: dict[str, Any]) -> tuple[str, str]:
    sha256 = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
    if not sha256:
        raise ValueError(
            f"pip gave no SHA-256 for {item['metadata']['name']}: take it from a package index or from a wheel, not from a folder"
        )
    return item["metadata"]["version"], sha256


def text_of(kind: str, packages: dict[str, tuple[str, str]]) -> str:
    """A requirements file with a hash for each package."""
    here = f"Python {sys.version_info.major}.{sys.version_info.minor} on {sys.platform} {os.uname().machine}"
    lines = [f"# {kind}: made by `python environments/lock.py {kind}` for {here}; not to be edited."]
    lines += [f"{name}=={version} --hash=sha256:{sha256}" for name, (version, sha256) in sorted(packages.items())]
    return "\n".join(lines) + "\n"


def write(kind: str, folder: Path = LOCKS) -> Path:
    """Resolves one lock and writes it under its name in `folder`.

    Errors as of `resolve`; ValueError for a `gpu` with the CPU build of torch.
    """
    whole, alone = wanted(kind)
    packages = resolve(whole)
    if alone:
        packages |= resolve(alone, "--no-deps")
    if kind == "gpu" and packages["torch"][0].endswith("+cpu"):
        raise ValueError("pip took the CPU build of torch: lock it where pip is offered the CUDA build and nothing before it")
    folder.mkdir(exist_ok=True)
    target, unfinished = folder / f"{kind}.txt", folder / f".{kind}.unfinished"
    unfinished.write_text(text_of(kind, packages), encoding="utf-8")
    unfinished.replace(target)
    return target


def main() -> int:
    """Write the locks that were named, or all; 1 if there is none to be had."""
    parser = argparse.ArgumentParser(description="Write the hash-locked requirements of the images.")
    parser.add_argument("kind", nargs="*", choices=[*KINDS, []], help="default: all of them")
    for kind in parser.parse_args().kind or KINDS:
        try:
            print(write(kind).relative_to(ROOT))
        except subprocess.CalledProcessError as failed:
            print(f"expected wheels for everything in {kind!r}, but pip ended with {failed.returncode}.", file=sys.stderr)
            print("It says above which package is at fault: change its line in environments/constraints.txt.", file=sys.stderr)
            return 1
        except ValueError as wrong:
            print(f"expected a lock {kind!r}, but {wrong}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
