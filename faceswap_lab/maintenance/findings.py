"""What each observation of the doctor means: pure functions, so tests can simulate a machine without a GPU or libGL."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faceswap_lab.errors import DeviceError, ManifestError
from faceswap_lab.maintenance.wheels import Wheel
from faceswap_lab.runs.quota import VARIABLE as QUOTA
from faceswap_lab.runs.quota import size_text

State = Literal["ok", "warning", "problem"]
Mode = Literal["r", "w"]

PYTHON = ((3, 11), (3, 14))
"""First supported version, and first unsupported one: the package's `requires-python`."""

CODECS: tuple[tuple[str, Mode], ...] = (
    ("h264", "r"),
    ("libx264", "w"),
    ("libx264rgb", "w"),
    ("ffv1", "r"),
    ("aac", "r"),
    ("aac", "w"),
)
"""Codecs for reading clips, storing runs and writing exports; r decodes, w encodes."""

GIB = 2**30
LITTLE_DISK, NO_DISK = 2 * GIB, GIB // 4
LITTLE_MEMORY = 2 * GIB
"""A quickstart stores about 0.2 GiB on disk; its process needs about 2 GiB of memory with torch loaded."""

NEAR_QUOTA = 0.9
"""Fraction of the quota above which the doctor warns."""

REINSTALL = "remove the folder .venv and run `make setup`"
REINSTALL_GPU = "remove the folder .venv and run `make setup EXTRA=gpu`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of one check. `remedy` is empty if there is nothing to do; `missing` marks absent weights or devices."""

    name: str
    state: State
    found: str
    remedy: str = ""
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What torch was built for and which devices it detects. `devices` maps the name of each usable device to a description."""

    torch: str
    cuda: str
    driver: bool
    devices: Mapping[str, str]


def judge_python(version: Sequence[int]) -> Finding:
    """`version` is (major, minor, micro)."""
    first, beyond = PYTHON
    said = ".".join(map(str, version))
    if first <= tuple(version[:2]) < beyond:
        return Finding(name="python", state="ok", found=said)
    remedy = f"recreate .venv with Python {_dotted(first)} or newer, below {_dotted(beyond)}: `make setup PYTHON=python3.12`"
    return Finding(name="python", state="problem", found=said, remedy=remedy)


def judge_torch(seen: Hardware) -> Finding:
    """A CPU build on a machine with an NVIDIA driver, or a CUDA build that detects no GPU, is a warning."""
    build = f"the build for CUDA {seen.cuda}" if seen.cuda else "the CPU build"
    found = f"torch {seen.torch}, {build}"
    if seen.driver and not seen.cuda:
        remedy = "to use the GPU of the NVIDIA driver, remove .venv and run `make setup EXTRA=gpu`"
        return Finding(name="torch", state="warning", found=f"{found}, with an NVIDIA driver installed", remedy=remedy)
    return Finding(name="torch", state="ok", found=found)


def judge_device(seen: Hardware, asked: str, refusal: DeviceError | None) -> Finding:
    """`refusal` is why `asked` cannot be used. Without a GPU everything runs, but slowly: a warning."""
    found = "; ".join(seen.devices.values())
    if refusal is not None:
        return Finding(
            name="device",
            state="problem",
            found=f"no {asked}: {refusal.got}; there is {found}",
            remedy=f"{_to_get_a_gpu(seen)}; or leave out --device",
            missing=True,
        )
    if list(seen.devices) == ["cpu"]:
        remedy = f"nothing, if minutes for a small training are acceptable; else {_to_get_a_gpu(seen)}"
        return Finding(name="device", state="warning", found=f"{found}, no GPU", remedy=remedy)
    return Finding(name="device", state="ok", found=found)


def judge_owner(name: str, package: str, owners: Sequence[str], *, extra: str = "") -> Finding:
    """Exactly one distribution may provide the importable `package`; two overwrite each other's files."""
    if len(owners) == 1:
        return Finding(name=name, state="ok", found=f"{owners[0]}{extra}")
    found = f"{len(owners)} distributions provide {package}/: {', '.join(owners)}" if owners else f"nothing provides {package}/"
    return Finding(name=name, state="problem", found=found, remedy=f"{REINSTALL}; install nothing else that provides {package}")


def judge_onnxruntime(owners: Sequence[str], providers: Sequence[str], *, gpu: bool, refusal: DeviceError | None = None) -> Finding:
    """With a CUDA device (`gpu`) the providers should include CUDA's; `refusal` is why a session still fails to start there."""
    finding = judge_owner("onnxruntime", "onnxruntime", owners, extra=f" with {', '.join(providers)}")
    if finding.state == "ok" and gpu and "CUDAExecutionProvider" not in providers:
        remedy = "for ONNX models on the GPU remove .venv and run `make setup EXTRA=gpu`"
        return Finding(name="onnxruntime", state="warning", found=finding.found, remedy=remedy)
    if finding.state == "ok" and refusal is not None:
        remedy = "install the CUDA and cuDNN wheels that this onnxruntime was built for, or one built for torch's CUDA"
        found = f"{finding.found}, but no session starts on CUDA: {refusal.got}"
        return Finding(name="onnxruntime", state="warning", found=found, remedy=remedy)
    return finding


def judge_telemetry(*, late: Sequence[str], not_set: Sequence[str]) -> Finding:
    """`late`: libraries imported before the lab could forbid them to send; `not_set`: switches that were undone since."""
    if late:
        found = f"{', '.join(late)} was imported before faceswap_lab, and has set up its telemetry"
        remedy = "import faceswap_lab first, or set ORT_DISABLE_TELEMETRY=1 before the process starts"
        return Finding(name="telemetry", state="warning", found=found, remedy=remedy)
    if not_set:
        remedy = "leave these variables as the lab sets them, and restart the process"
        return Finding(name="telemetry", state="warning", found=f"not forbidden any more: {', '.join(not_set)}", remedy=remedy)
    return Finding(name="telemetry", state="ok", found="off in this process and those it starts")


def judge_wheels(wheels: Sequence[Wheel]) -> Finding:
    """`wheels`: those that torch and onnxruntime require. What only onnxruntime lacks is a warning: the system may provide it."""
    if not wheels:
        return Finding(name="cuda wheels", state="ok", found="none needed: the installed builds are for the CPU")
    wrong = [wheel for wheel in wheels if not wheel.fits]
    builds = {user: sorted({wheel.cuda for wheel in wheels if wheel.user == user and wheel.cuda}) for user in _users(wheels)}
    if len({number for numbers in builds.values() for number in numbers}) > 1:
        found = "; ".join(f"{user} is built for CUDA {' and '.join(numbers)}" for user, numbers in builds.items())
        remedy = f"use an onnxruntime-gpu that is built for torch's CUDA, or a torch for onnxruntime's: {REINSTALL_GPU}"
        return Finding(name="cuda wheels", state="warning", found=found, remedy=remedy)
    if wrong:
        found = "; ".join(f"{wheel.user} needs {wheel.pinned}, there is {wheel.found or 'none'}" for wheel in wrong)
        # torch's pins are exact, and what satisfies them satisfies onnxruntime; so they take precedence where both name a wheel.
        pins = {wheel.name: wheel.pinned for wheel in sorted(wrong, key=lambda wheel: wheel.user == "torch")}
        remedy = f"run `pip install {' '.join(repr(pin) for pin in pins.values())}`, or {REINSTALL_GPU}"
        state: State = "problem" if "torch" in _users(wrong) else "warning"
        return Finding(name="cuda wheels", state=state, found=found, remedy=remedy)
    found = ", ".join(dict.fromkeys(f"{wheel.name} {wheel.found}" for wheel in wheels))
    return Finding(name="cuda wheels", state="ok", found=f"{found}, as {' and '.join(_users(wheels))} require")


def _users(wheels: Sequence[Wheel]) -> list[str]:
    return list(dict.fromkeys(wheel.user for wheel in wheels))


def judge_insightface(version: str, packs: Mapping[str, str], *, gpu: bool = False) -> Finding:
    """`version` is empty without the library, which the engines `insight:...` need and the offline one does not; `packs` maps each
    restricted set of weights, all optional, to its state. `gpu`: its dependencies would replace the onnxruntime-gpu that is here.
    """
    here = [f"{name} {state}" for name, state in packs.items() if state not in ("missing", "your own file")]
    if altered := [name for name, state in packs.items() if state == "altered"]:
        remedy = f"run `faceswap-lab models fetch {altered[0]}`, or remove its folder"
        return Finding(name="insightface", state="problem", found=", ".join(here), remedy=remedy)
    if not version:
        remedy = f"run `make setup`, or `pip install {'--no-deps ' if gpu else ''}'insightface>=2.1'`"
        found = ", ".join(["not installed: no engine insight:... runs, the shipped pack actors_s included", *here])
        return Finding(name="insightface", state="warning", found=found, remedy=remedy)
    return Finding(name="insightface", state="ok", found=", ".join([f"insightface {version}", *here]))


def judge_opencv(load: Callable[[], object]) -> Finding:
    """`load` imports cv2, which needs the system libraries libGL and GLib."""
    try:
        load()
    except ImportError as error:
        said = first_line(error)
        return Finding(name="libGL", state="problem", found=f"cv2 cannot be imported: {said}", remedy=mend_import(said))
    return Finding(name="libGL", state="ok", found="cv2 can be imported")


def judge_codecs(has: Callable[[str, Mode], bool]) -> Finding:
    """`has(name, mode)` tells whether PyAV's FFmpeg has the codec; the modes are those of `CODECS`."""
    what: dict[Mode, str] = {"r": "decoder", "w": "encoder"}
    lacking = [f"{name} {what[mode]}" for name, mode in CODECS if not has(name, mode)]
    if not lacking:
        return Finding(name="codecs", state="ok", found=", ".join(f"{name} {what[mode]}" for name, mode in CODECS))
    remedy = "install PyAV's own wheel, which includes them: `pip install --force-reinstall --only-binary=:all: av`"
    return Finding(name="codecs", state="problem", found=f"no {', no '.join(lacking)}", remedy=remedy)


def judge_weights(states: Mapping[str, str]) -> Finding:
    """Name of each model to "ok", "missing" or "altered"."""
    wrong = {name: state for name, state in states.items() if state != "ok"}
    if not wrong:
        return Finding(name="weights", state="ok", found=f"{', '.join(states)}, all digests verified")
    found = ", ".join(f"{name} {state}" for name, state in wrong.items())
    return Finding(name="weights", state="problem", found=found, remedy="run `faceswap-lab models fetch`", missing=True)


def judge_head_pack(pack: Path, *, baked: bool, writable: bool) -> Finding:
    """`writable` refers to the folder that holds the pack, or would. An unbaked pack is baked for the first actor, in seconds."""
    if baked:
        return Finding(name="head pack", state="ok", found=str(pack))
    if writable:
        return Finding(name="head pack", state="ok", found="not baked yet; rendering the first actor does so in seconds")
    return Finding(
        name="head pack",
        state="problem",
        found=f"not baked, and {pack.parent} is not writable",
        remedy="set FACESWAP_LAB_CACHE to a writable folder (then run `faceswap-lab models fetch` again)",
    )


def judge_root(root: Path, *, writable: bool, free: int, runs: int, limit: int | None = None) -> Finding:
    """`free` bytes on the root's disk, bytes used by its `runs`, and the quota on those (None: no quota)."""
    allowed = f"no quota ({QUOTA} sets one)" if limit is None else f"quota {size_text(limit)}"
    found = f"{root}, {size_text(runs)} of runs, {allowed}, {size_text(free)} free"
    if not writable:
        remedy = "set FACESWAP_LAB_ROOT to a writable folder"
        return Finding(name="lab root", state="problem", found=f"{found}, not writable", remedy=remedy)
    remedy = "free space: `faceswap-lab runs list` shows sizes, `faceswap-lab runs prune --unfinished` lists unfinished runs"
    if limit is not None and runs > NEAR_QUOTA * limit:
        state: State = "problem" if runs > limit else "warning"
        return Finding(name="lab root", state=state, found=found, remedy=f"{remedy}; or raise {QUOTA}")
    if free < LITTLE_DISK:
        return Finding(name="lab root", state="problem" if free < NO_DISK else "warning", found=found, remedy=remedy)
    return Finding(name="lab root", state="ok", found=found)


def judge_manifests(num_files: Mapping[str, int], faults: Sequence[ManifestError]) -> Finding:
    """`num_files` of each manifest that can be read, and what is wrong with the others. A faulty one blocks its own files."""
    count = len(num_files)
    sound = f"{count} manifest{'' if count == 1 else 's'} with {sum(num_files.values())} files"
    if not faults:
        return Finding(name="manifests", state="ok", found=f"{sound}, all readable")
    found = f"{sound} readable; but {'; '.join(fault.got for fault in faults)}"
    remedy = f"{'; '.join(dict.fromkeys(fault.remedy for fault in faults))}: until then nothing that they list is admitted"
    return Finding(name="manifests", state="problem", found=found, remedy=remedy)


def judge_audit(*, lines: int, bad_line: int | None, reason: str) -> Finding:
    """The result of `audit.verify`: the number of valid lines, and the first invalid one."""
    if bad_line is None:
        return Finding(name="audit log", state="ok", found=f"{lines} lines, intact")
    remedy = f"compare audit.jsonl with a backup; lines 1 to {lines} are intact"
    return Finding(name="audit log", state="problem", found=f"line {bad_line}: {reason}", remedy=remedy)


def judge_memory(available: int | None) -> Finding:
    """Bytes that this process may still allocate; None if the system does not report it."""
    if available is None:
        return Finding(name="memory", state="ok", found="this system does not report how much is available")
    found = f"{size_text(available)} available"
    if available < LITTLE_MEMORY:
        remedy = f"close other programs or raise the container's limit: {size_text(LITTLE_MEMORY)} is what a quickstart needs"
        return Finding(name="memory", state="warning", found=found, remedy=remedy)
    return Finding(name="memory", state="ok", found=found)


def judge_cores(cores: float, omp: str) -> Finding:
    """Cores available to this process (a container's quota can be fractional) and the value of OMP_NUM_THREADS."""
    number = f"{cores:g} core{'' if cores == 1 else 's'}"
    if not omp:
        return Finding(name="cores", state="ok", found=f"{number}, OMP_NUM_THREADS not set")
    found = f"{number}, OMP_NUM_THREADS={omp}"
    right = max(1, int(cores))
    # OpenMP allows a list, one number per nesting level; only the first matters here.
    first = omp.split(",")[0].strip()
    if not first.isdecimal() or not 1 <= int(first) <= right:
        remedy = f"set OMP_NUM_THREADS={right}, or unset it: more threads than cores slow each other down"
        return Finding(name="cores", state="warning", found=found, remedy=remedy)
    return Finding(name="cores", state="ok", found=found)


def judge_threads(*, late: bool, spins: str) -> Finding:
    """`late`: torch was loaded before the package, which could not set how its threads wait; `spins`: GOMP_SPINCOUNT."""
    if late:
        remedy = "import faceswap_lab before torch, or start JupyterLab by `make lab`"
        found = "torch was loaded before faceswap_lab: its waiting threads keep their cores busy, or are more than the cores"
        return Finding(name="threads", state="warning", found=found, remedy=remedy)
    found = f"torch's spin {spins} turns while they wait" if spins else "torch's wait as its OpenMP has them wait"
    return Finding(name="threads", state="ok", found=found)


def _to_get_a_gpu(seen: Hardware) -> str:
    if seen.driver and not seen.cuda:
        return "install the CUDA build: remove .venv and run `make setup EXTRA=gpu`"
    if seen.driver:
        return "check in `nvidia-smi` that the driver sees the GPU and is new enough for this build; unset CUDA_VISIBLE_DEVICES"
    return "use a machine with an NVIDIA GPU and its driver (a container must be started with `--gpus all`)"


def mend_import(said: str) -> str:
    """The remedy for an import that failed with this message."""
    if any(library in said for library in ("libGL", "libgthread", "libglib", "libEGL")):
        return "install the system libraries: on Debian or Ubuntu `apt-get install libgl1 libglib2.0-0`"
    return f"the installation is incomplete: {REINSTALL}"


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
