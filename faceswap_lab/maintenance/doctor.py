"""Diagnostics of this machine and this lab, with a remedy for each problem: the command `faceswap-lab doctor`.

`examine` makes the observations, `maintenance.findings` judges them. Nothing is downloaded, changed or written; no check needs the
network.
"""

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

from faceswap_lab import telemetry, threads
from faceswap_lab.errors import DeviceError, LabError, ManifestError, RunError
from faceswap_lab.files import cache_folder, lab_root
from faceswap_lab.maintenance import findings
from faceswap_lab.maintenance.findings import Finding, Hardware, Mode, first_line, mend_import
from faceswap_lab.runs.quota import VARIABLE as QUOTA
from faceswap_lab.runs.quota import quota, size_of
from faceswap_lab.runs.quota import size_text as size_text


def exit_code(findings: Sequence[Finding]) -> int:
    """0 without problems (warnings are not problems), 4 if weights or a requested device are missing, else 1."""
    problems = [finding for finding in findings if finding.state == "problem"]
    return 4 if any(finding.missing for finding in problems) else 1 if problems else 0


def examine(device: str = "auto") -> list[Finding]:
    """Runs all checks; a check that fails to run is itself a finding. `device` is the one that must be available.

    Raises ValueError for a device name that torch does not know.
    """
    # Each check asks for the root: where there is no home folder, that is a finding too.
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", lambda: findings.judge_python(sys.version_info[:3])),
        ("torch", lambda: findings.judge_torch(_hardware())),
        ("device", lambda: findings.judge_device(_hardware(), device, _refusal(device))),
        ("onnxruntime", _onnxruntime),
        ("telemetry", lambda: findings.judge_telemetry(late=telemetry.late(), not_set=telemetry.not_set())),
        ("cuda wheels", _wheels),
        ("opencv", lambda: findings.judge_owner("opencv", "cv2", _owners("cv2"))),
        ("libGL", lambda: findings.judge_opencv(partial(importlib.import_module, "cv2"))),
        ("codecs", lambda: findings.judge_codecs(_has_codec())),
        ("weights", _weights),
        ("insightface", _insightface),
        ("head pack", _head_pack),
        ("lab root", lambda: _root(_lab())),
        ("manifests", lambda: findings.judge_manifests(*_manifests(_lab()))),
        ("audit log", lambda: _audit_log(_lab())),
        ("memory", lambda: findings.judge_memory(_memory())),
        ("cores", lambda: findings.judge_cores(threads.cores(), os.environ.get("OMP_NUM_THREADS", ""))),
        ("threads", lambda: findings.judge_threads(late=threads.torch_was_first(), spins=os.environ.get("GOMP_SPINCOUNT", ""))),
    ]
    return [looked_at(name, look) for name, look in checks]


def looked_at(name: str, look: Callable[[], Finding]) -> Finding:
    """The finding of `look`; if it fails, the failure is the finding, with a LabError's remedy or that for a broken library."""
    try:
        return look()
    except ImportError as error:
        said = first_line(error)
        return Finding(name=name, state="problem", found=f"the check failed: {said}", remedy=mend_import(said))
    except LabError as error:
        return Finding(name=name, state="problem", found=f"expected {error.expected}; got {error.got}", remedy=error.remedy)
    except OSError as error:
        remedy = "let this user read and write there, or set FACESWAP_LAB_ROOT and FACESWAP_LAB_CACHE to other folders"
        return Finding(name=name, state="problem", found=f"the check failed: {first_line(error)}", remedy=remedy)


# --- observing ------------------------------------------------------------------------------------------------------------
# Whatever needs torch or OpenCV is imported locally: the doctor must work even when those are broken.


def _hardware() -> Hardware:
    import torch

    from faceswap_lab.models import device
    from faceswap_lab.models.training.config import precision_on
    from faceswap_lab.models.training.pair import PairTraining

    names = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    names += ["mps"] if torch.backends.mps.is_available() else []
    places = ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version")
    devices = {}
    for name in names:
        where = device.pick(name)
        devices[name] = f"{device.describe(where)}, trains in {precision_on(where, PairTraining())}"
    driver = any(Path(place).exists() for place in places)
    return Hardware(torch=torch.__version__, cuda=torch.version.cuda or "", driver=driver, devices=devices)


def _refusal(name: str) -> DeviceError | None:
    from faceswap_lab.models import device

    try:
        device.pick(name)
    except DeviceError as error:
        return error
    return None


def _owners(package: str) -> list[str]:
    """Names of the installed distributions that provide the importable `package`."""
    return sorted(set(metadata.packages_distributions().get(package, ())))


def _onnxruntime() -> Finding:
    import torch

    from faceswap_lab.models import device
    from faceswap_lab.models.onnx_runtime import onnxruntime

    gpu, providers = torch.cuda.is_available(), onnxruntime.get_available_providers()
    refusal = None
    if gpu and device.PROVIDERS["cuda"] in providers:
        try:
            device.probe(torch.device("cuda"))
        except DeviceError as error:
            refusal = error
    return findings.judge_onnxruntime(_owners("onnxruntime"), providers, gpu=gpu, refusal=refusal)


def _wheels() -> Finding:
    from faceswap_lab.maintenance import wheels

    return findings.judge_wheels(wheels.needed())


def _insightface() -> Finding:
    from faceswap_lab.models.weights import restricted

    version = metadata.version("insightface") if _owners("insightface") else ""
    gpu = "onnxruntime-gpu" in _owners("onnxruntime")
    return findings.judge_insightface(version, {name: restricted.state(name) for name in restricted.PACKS}, gpu=gpu)


def _has_codec() -> Callable[[str, Mode], bool]:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    def has(name: str, mode: Mode) -> bool:
        try:
            Codec(name, mode)
        except UnknownCodecError:
            return False
        return True

    return has


def _weights() -> Finding:
    from faceswap_lab.models.weights import catalogue

    return findings.judge_weights({status.name: status.state for status in catalogue.verify()})


def _head_pack() -> Finding:
    from faceswap_lab.actors.head import assets, headpack

    pack = cache_folder() / f"headpack-{headpack.FORMAT}-anny{assets.anny_version()}.npz"
    return findings.judge_head_pack(pack, baked=pack.is_file(), writable=_writable(pack.parent))


def _lab() -> Path | None:
    try:
        return lab_root()
    except RunError:
        return None


def _root(root: Path | None) -> Finding:
    if root is None:
        remedy = "run `faceswap-lab init` where your work is to be kept, or name a lab with --root FOLDER or FACESWAP_LAB_ROOT"
        return Finding(name="lab root", state="warning", found=f"no lab at {Path.cwd()} or above", remedy=remedy)
    try:
        limit = quota()
    except ValueError as error:
        return Finding(name="lab root", state="problem", found=str(error), remedy=f"correct {QUOTA}, or unset it")
    nearest = _nearest(root)
    free = shutil.disk_usage(nearest).free
    writable = _writable(root) and _writable(root / "runs")
    return findings.judge_root(root, writable=writable, free=free, runs=size_of(root / "runs"), limit=limit)


def _manifests(root: Path | None) -> tuple[dict[str, int], list[ManifestError]]:
    """The number of files of each readable manifest, and the errors of the others and of files that two of them list."""
    from faceswap_lab.trust.consent.manifest import manifest_files, read_manifest

    num_files: dict[str, int] = {}
    faults: list[ManifestError] = []
    listed: dict[str, str] = {}
    for name, path in ({} if root is None else manifest_files(root)).items():
        try:
            entries = read_manifest(path)[1]
        except ManifestError as error:
            faults.append(error)
            continue
        num_files[name] = len(entries)
        for entry in entries:
            if (other := listed.setdefault(entry.sha256, entry.label)) != entry.label:
                got = f"{other} and {entry.label} list the same file"
                faults.append(ManifestError(expected="one entry for each file", got=got, remedy="remove all but one of the rows"))
    return num_files, faults


def _audit_log(root: Path | None) -> Finding:
    if root is None:
        return Finding(name="audit log", state="ok", found="none: no lab")
    from faceswap_lab.runs.run import Run
    from faceswap_lab.trust import audit

    Run.survey(root).require_readable()  # the heads that unreadable runs recorded are unknown
    verdict = audit.verify(root, heads=Run.heads(root))
    return findings.judge_audit(lines=verdict.count, bad_line=verdict.bad_line, reason=verdict.reason)


def _nearest(folder: Path) -> Path:
    """The folder, or its nearest existing ancestor, whose permissions decide whether it can be created."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _writable(folder: Path) -> bool:
    nearest = _nearest(folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _memory() -> int | None:
    """Available memory according to the kernel, or what a container's limit leaves of it; None outside Linux."""
    told = Path("/proc/meminfo")
    if not told.exists():
        return None
    fields = dict(line.split(":", 1) for line in told.read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = (_control_group(name) for name in ("memory.max", "memory.current"))
    return min(available, int(limit) - int(used)) if limit.isdecimal() and used.isdecimal() else available


def _control_group(name: str) -> str:
    """A limit of the surrounding container (cgroups, version 2); empty if there is none."""
    place = Path("/sys/fs/cgroup") / name
    return place.read_text().strip() if place.is_file() else ""
