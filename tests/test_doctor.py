"""The doctor: each absence is named with the remedy that mends it, and asking changes nothing."""

import argparse
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import faceswap_lab as lab_module
from faceswap_lab import __main__ as command_line
from faceswap_lab.cli.parser import parser
from faceswap_lab.cli.recipe_flags import read_recipe
from faceswap_lab.errors import DeviceError, LabError, RunError, StorageError
from faceswap_lab.files import cache_folder, user_path
from faceswap_lab.maintenance import doctor, findings, wheels
from faceswap_lab.maintenance.findings import Finding, Hardware
from faceswap_lab.models.registry import open_engine, swapper_record
from faceswap_lab.models.weights import catalogue
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.verbs.recipes import SwapRecipe

ROOT = Path(__file__).parent.parent
CPU_ONLY = Hardware(torch="2.13.0+cpu", cuda="", driver=False, devices={"cpu": "cpu (x86_64)"})
CPU_BUILD_BESIDE_GPU = Hardware(torch="2.13.0+cpu", cuda="", driver=True, devices={"cpu": "cpu (x86_64)"})
BLIND_CUDA = Hardware(torch="2.13.0", cuda="13.0", driver=True, devices={"cpu": "cpu (x86_64)"})
WITH_GPU = Hardware(torch="2.13.0", cuda="13.0", driver=True, devices={"cpu": "cpu (x86_64)", "cuda:0": "cuda:0 (H100)"})
NO_CUDA = DeviceError(expected="the device cuda", got="0 CUDA devices", remedy="choose another")


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_what_onnxruntime_cannot_start_on_is_told_though_it_offers_it() -> None:
    refusal = DeviceError(expected="the device cuda", got="libcudnn.so.9: cannot open shared object file", remedy="choose another")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    finding = findings.judge_onnxruntime(["onnxruntime-gpu"], providers, gpu=True, refusal=refusal)
    assert finding.state == "warning"
    assert "libcudnn.so.9" in finding.found
    assert "cuDNN wheels" in finding.remedy
    assert findings.judge_onnxruntime(["onnxruntime-gpu"], providers, gpu=True).state == "ok"


@pytest.mark.parametrize(
    ("version", "state", "verdict", "remedy"),
    [
        ("", "missing", "warning", "make setup"),
        ("2.1", "missing", "ok", ""),
        ("2.1", "ok", "ok", ""),
        ("", "ok", "warning", "pip install 'insightface>=2.1'"),
        ("2.1", "altered", "problem", "models fetch buffalo_l"),
    ],
)
def test_the_library_insightface_is_wanted_and_what_is_there_of_its_packs_must_be_whole(
    version: str, state: str, verdict: str, remedy: str
) -> None:
    finding = findings.judge_insightface(version, {"buffalo_l": state, "inswapper_128": "your own file"})
    assert finding.state == verdict
    assert remedy in finding.remedy
    assert ("buffalo_l" in finding.found) == (state != "missing")


def test_beside_onnxruntime_gpu_insightface_comes_without_its_dependencies() -> None:
    assert "pip install --no-deps 'insightface>=2.1'" in findings.judge_insightface("", {}, gpu=True).remedy


def no_libgl() -> object:
    raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")


def test_three_absences_have_three_remedies() -> None:
    gpu = findings.judge_device(CPU_ONLY, "cuda", NO_CUDA)
    libgl = findings.judge_opencv(no_libgl)
    weights = findings.judge_weights({"yunet": "ok", "sface": "missing"})
    assert "NVIDIA GPU and its driver" in gpu.remedy
    assert "apt-get install libgl1 libglib2.0-0" in libgl.remedy
    assert "faceswap-lab models fetch" in weights.remedy
    assert "sface missing" in weights.found
    assert "yunet" not in weights.found
    assert "0 CUDA devices" in gpu.found
    assert [doctor.exit_code([each]) for each in (gpu, libgl, weights)] == [4, 1, 4]
    assert doctor.exit_code([libgl, weights]) == 4


@pytest.mark.parametrize(
    ("seen", "state", "torch_remedy", "device_remedy"),
    [
        (CPU_ONLY, "warning", "", "with an NVIDIA GPU"),
        (CPU_BUILD_BESIDE_GPU, "warning", "EXTRA=gpu", "EXTRA=gpu"),
        (BLIND_CUDA, "warning", "", "nvidia-smi"),
        (WITH_GPU, "ok", "", ""),
    ],
)
def test_no_gpu_is_a_warning_with_the_remedy_of_its_cause(
    seen: Hardware, state: str, torch_remedy: str, device_remedy: str
) -> None:
    device, build = findings.judge_device(seen, "auto", None), findings.judge_torch(seen)
    assert device.state == state
    assert build.state == ("warning" if torch_remedy else "ok")
    for finding, remedy in ((device, device_remedy), (build, torch_remedy)):
        assert (remedy in finding.remedy) if remedy else not finding.remedy
    assert doctor.exit_code([device, build]) == 0


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 14), "problem"), ((3, 11, 0), "ok"), ((3, 13, 9), "ok"), ((3, 14, 0), "problem")]
)
def test_python_is_in_range(version: tuple[int, ...], state: str) -> None:
    assert findings.judge_python(version).state == state


def test_the_range_of_python_is_that_of_the_package() -> None:
    low, high = (".".join(map(str, bound)) for bound in findings.PYTHON)
    assert f'requires-python = ">={low},<{high}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("owners", [[], ["opencv-python", "opencv-python-headless"]])
def test_nothing_but_one_owner_will_do(owners: list[str]) -> None:
    finding = findings.judge_owner("opencv", "cv2", owners)
    assert finding.state == "problem"
    assert "make setup" in finding.remedy
    assert all(name in finding.found for name in owners)
    assert findings.judge_owner("opencv", "cv2", ["opencv-python"]).state == "ok"


def test_onnxruntime_of_the_cpu_beside_a_gpu_is_a_warning() -> None:
    assert findings.judge_onnxruntime(["onnxruntime"], ["CPUExecutionProvider"], gpu=True).state == "warning"
    assert findings.judge_onnxruntime(["onnxruntime"], ["CPUExecutionProvider"], gpu=False).state == "ok"
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert findings.judge_onnxruntime(["onnxruntime-gpu"], both, gpu=True).state == "ok"
    assert findings.judge_onnxruntime(["onnxruntime", "onnxruntime-gpu"], both, gpu=True).state == "problem"


def install(folder: Path, name: str, version: str, *requires: str) -> None:
    """What pip leaves of a wheel: enough to be asked about."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    lines = [f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {each}" for each in requires)]
    (place / "METADATA").write_text("\n".join(lines) + "\n")


TORCH_NEEDS = ("filelock", "cuda-toolkit[cudart,cufft]==13.0.2", 'nvidia-cudnn-cu13==9.15.1.9; python_version >= "3.10"')
TOOLKIT_NEEDS = (
    'nvidia-cuda-runtime==13.0.96; extra == "cudart"',
    'nvidia-cufft==12.0.0.61; extra == "cufft"',
    'nvidia-curand==10.4.0.35; extra == "curand"',
)
# As onnxruntime-gpu 1.31.1 has them.
ONNXRUNTIME_NEEDS = (
    "numpy",
    'nvidia-cuda-runtime~=13.0; extra == "cuda"',
    'nvidia-cufft~=12.0; extra == "cuda"',
    'nvidia-cudnn-cu13~=9.0; extra == "cudnn"',
)
WHEELS = {"cuda-toolkit": "13.0.2", "nvidia-cuda-runtime": "13.0.96", "nvidia-cufft": "12.0.0.61", "nvidia-cudnn-cu13": "9.15.1.9"}


@pytest.fixture
def gpu_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finding]:
    """The finding on a machine with torch for CUDA 13, onnxruntime-gpu, and these wheels."""

    def examine(onnxruntime: tuple[str, ...] = ONNXRUNTIME_NEEDS, **changed: str) -> Finding:
        folder = tmp_path / "site"
        install(folder, "torch", "2.13.0", *TORCH_NEEDS)
        install(folder, "onnxruntime-gpu", "1.31.1", *onnxruntime)
        for name, version in (WHEELS | {name.replace("_", "-"): version for name, version in changed.items()}).items():
            if version:
                install(folder, name, version, *(TOOLKIT_NEEDS if name == "cuda-toolkit" else ()))
        monkeypatch.syspath_prepend(str(folder))
        return findings.judge_wheels(wheels.needed())

    return examine


def test_wheels_that_fit_are_named_and_those_of_other_extras_are_not_asked_for(gpu_machine: Callable[..., Finding]) -> None:
    finding = gpu_machine()
    assert finding.state == "ok"
    assert all(f"{name} {version}" in finding.found for name, version in WHEELS.items())
    assert "curand" not in finding.found


def test_a_wheel_that_torch_pins_and_that_is_another_or_absent_is_a_problem(gpu_machine: Callable[..., Finding]) -> None:
    finding = gpu_machine(nvidia_cudnn_cu13="9.10.0", nvidia_cufft="")
    assert finding.state == "problem"
    assert "torch needs nvidia-cudnn-cu13==9.15.1.9, there is 9.10.0" in finding.found
    assert "torch needs nvidia-cufft==12.0.0.61, there is none" in finding.found
    assert "pip install" in finding.remedy
    assert "'nvidia-cudnn-cu13==9.15.1.9'" in finding.remedy
    assert "'nvidia-cufft==12.0.0.61'" in finding.remedy
    assert "~=12.0" not in finding.remedy, "torch's pin serves both"


def test_what_onnxruntime_alone_lacks_is_a_warning(gpu_machine: Callable[..., Finding]) -> None:
    finding = gpu_machine((*ONNXRUNTIME_NEEDS, 'nvidia-cuda-nvrtc~=13.0; extra == "cuda"'), nvidia_cuda_nvrtc="12.9.1")
    assert finding.state == "warning"
    assert finding.found == "onnxruntime-gpu needs nvidia-cuda-nvrtc~=13.0, there is 12.9.1"
    assert "'nvidia-cuda-nvrtc~=13.0'" in finding.remedy


def test_onnxruntime_for_another_cuda_than_torchs_is_told(gpu_machine: Callable[..., Finding]) -> None:
    older = ('nvidia-cuda-runtime-cu12~=12.0; extra == "cuda"', 'nvidia-cudnn-cu12~=9.0; extra == "cudnn"')
    finding = gpu_machine(older, nvidia_cudnn_cu12="9.1.0")
    assert finding.state == "warning"
    assert finding.found == "torch is built for CUDA 13; onnxruntime-gpu is built for CUDA 12"
    assert "EXTRA=gpu" in finding.remedy


def test_onnxruntime_beside_onnxruntime_gpu_is_seen_by_what_pip_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "onnxruntime", "1.31.1")
    install(tmp_path, "onnxruntime-gpu", "1.31.1")
    for place in tmp_path.glob("*.dist-info"):
        (place / "top_level.txt").write_text("onnxruntime\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    finding = doctor._onnxruntime()
    assert finding.state == "problem"
    assert "onnxruntime, onnxruntime-gpu" in finding.found
    assert "make setup" in finding.remedy


def test_builds_for_the_cpu_need_no_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "USERS", {"no-such-torch": ()})
    finding = findings.judge_wheels(wheels.needed())
    assert finding.state == "ok"
    assert "none needed" in finding.found


@pytest.mark.parametrize("gone", findings.CODECS)
def test_each_missing_codec_is_named(gone: tuple[str, str]) -> None:
    finding = findings.judge_codecs(lambda name, mode: (name, mode) != gone)
    assert finding.state == "problem"
    assert finding.found == f"no {gone[0]} {'decoder' if gone[1] == 'r' else 'encoder'}"


def test_a_codec_that_does_not_exist_is_found_missing() -> None:
    has = doctor._has_codec()
    assert has("h264", "r")
    assert not has("no_such_codec", "r")
    assert not has("libx264", "r"), "an encoder's name decodes nothing"


def test_head_pack_needs_a_baked_file_or_a_folder_to_bake_into(tmp_path: Path) -> None:
    pack, cases = tmp_path / "pack.npz", ((True, False), (False, True), (False, False))
    states = [findings.judge_head_pack(pack, baked=baked, writable=writable).state for baked, writable in cases]
    assert states == ["ok", "ok", "problem"]


@pytest.mark.parametrize(
    ("writable", "free", "state"),
    [
        (True, 50 * findings.GIB, "ok"),
        (True, findings.GIB, "warning"),
        (True, 1000, "problem"),
        (False, 50 * findings.GIB, "problem"),
    ],
)
def test_root(tmp_path: Path, writable: bool, free: int, state: str) -> None:
    finding = findings.judge_root(tmp_path, writable=writable, free=free, runs=3 * findings.GIB)
    assert finding.state == state
    assert "3.0 GiB of runs" in finding.found
    assert bool(finding.remedy) == (state != "ok")


@pytest.mark.parametrize(("available", "state"), [(None, "ok"), (8 * findings.GIB, "ok"), (findings.GIB, "warning")])
def test_memory(available: int | None, state: str) -> None:
    assert findings.judge_memory(available).state == state


@pytest.mark.parametrize(
    ("cores", "omp", "state"),
    [
        (2, "", "ok"),
        (2, "2", "ok"),
        (2.0, "2,1", "ok"),
        (2, "4", "warning"),
        (1.5, "2", "warning"),
        (0.5, "1", "ok"),
        (2, "many", "warning"),
        (2, "0", "warning"),
    ],
)
def test_threads_fit_the_cores(cores: float, omp: str, state: str) -> None:
    assert findings.judge_cores(cores, omp).state == state


def test_a_torch_that_came_before_the_package_is_a_warning_with_a_remedy() -> None:
    late = findings.judge_threads(late=True, spins="1000")
    assert (late.state, "make lab" in late.remedy) == ("warning", True)
    settled = findings.judge_threads(late=False, spins="1000")
    assert (settled.state, "1000 turns" in settled.found) == ("ok", True)
    assert findings.judge_threads(late=False, spins="").state == "ok"


@given(st.integers(0, 2**50), st.integers(0, 2**50))
def test_sizes_keep_their_order(one: int, other: int) -> None:
    units = {"B": 0, "KiB": 1, "MiB": 2, "GiB": 3}
    small, large = (doctor.size_text(size).split() for size in sorted((one, other)))
    assert (units[small[1]], float(small[0])) <= (units[large[1]], float(large[0]))
    value = float(large[0]) * 1024 ** units[large[1]]
    assert abs(value - max(one, other)) <= 0.051 * 1024 ** units[large[1]]


def test_a_look_that_fails_is_a_finding_with_its_remedy() -> None:
    def labs() -> Finding:
        raise RunError(expected="a readable run", got="a torn one", remedy="restore it")

    def disk() -> Finding:
        raise PermissionError(13, "Permission denied")

    found = doctor.looked_at("audit log", labs)
    assert (found.state, found.found, found.remedy) == ("problem", "expected a readable run; got a torn one", "restore it")
    assert "FACESWAP_LAB_ROOT" in doctor.looked_at("lab root", disk).remedy
    assert "libgl1" in doctor.looked_at("weights", lambda: no_libgl()).remedy  # type: ignore[arg-type,return-value]
    with pytest.raises(ZeroDivisionError):
        doctor.looked_at("cores", lambda: 1 // 0)  # type: ignore[arg-type,return-value]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "lab"))
    monkeypatch.setenv("FACESWAP_LAB_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("FACESWAP_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "lab"


@pytest.mark.slow
def test_asking_writes_nothing_and_calls_nobody(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the doctor called somebody")

    for call in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, call, refuse)
    doctor.examine()
    assert list(lab.parent.iterdir()) == []


@pytest.mark.slow
def test_findings_that_are_not_ok_have_a_remedy(lab: Path) -> None:
    found = doctor.examine()
    assert [finding.name for finding in found if finding.state != "ok" and not finding.remedy] == []
    assert len(by_name(found)) == len(found) == 18


@pytest.mark.slow
def test_missing_weights_are_exit_code_4_and_altered_ones_are_named(lab: Path, capsys: pytest.CaptureFixture) -> None:
    assert command_line.main(["doctor", "--json"]) == 4
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert [f["name"] for f in answer["findings"] if f["missing"]] == ["weights"]
    model = next(iter(catalogue.MODELS.values()))
    catalogue.weights_folder().mkdir()
    (catalogue.weights_folder() / model.file).write_bytes(b"other")
    assert f"{model.card.name} altered" in by_name(doctor.examine())["weights"].found


@pytest.mark.slow
def test_a_device_that_was_asked_for_must_be_there(lab: Path, capsys: pytest.CaptureFixture) -> None:
    assert command_line.main(["doctor", "--device", "cuda:99"]) == 4
    assert "no cuda:99" in capsys.readouterr().out
    assert command_line.main(["doctor", "--device", "abacus"]) == 2


@pytest.mark.slow
def test_a_cut_log_and_an_unreadable_run_are_found(lab: Path) -> None:
    for seed in "78":
        Run.start(lab, "train", "{}", {"source": f"actor:{seed}"})
    assert by_name(doctor.examine())["audit log"].found == "2 lines, intact"
    log = audit.path_of(lab)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0])
    cut = by_name(doctor.examine())["audit log"]
    assert cut.state == "problem"
    assert "log was truncated" in cut.found
    next((lab / "runs").glob("train-*/run.json")).write_text("{")
    torn = by_name(doctor.examine())["audit log"]
    assert "run.json" in torn.found
    assert "backup" in torn.remedy


@pytest.mark.slow
def test_the_doctor_speaks_where_cv2_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "FACESWAP_LAB_ROOT": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "faceswap_lab", "doctor", "--json"], capture_output=True, text=True, env=env, cwd=ROOT, check=False
    )
    assert done.returncode == 1, done.stderr
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["libGL"]["state"] == found["weights"]["state"] == "problem"
    assert "apt-get install libgl1" in found["libGL"]["remedy"]
    assert found["codecs"]["state"] == found["python"]["state"] == "ok"


# --- what stops an admission, and machines without a home ---------------------------------------------------------------------

MANIFEST = """version = 1
subject = "Jane Doe"
source = "a phone"
licence = "none"

[consent]
kind = "consent"
text = "by letter"
date = 2026-05-02
uses = ["anonymise"]
"""


def test_the_manifest_that_is_faulty_is_named_and_the_others_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "data_manifests"
    folder.mkdir()
    for name, digits in (("jane", "ab"), ("jill", "cd"), ("joan", "ef"), ("june", "ef"), ("._jane", "00")):
        (folder / f"{name}.toml").write_text(MANIFEST)
        (folder / f"{name}.csv").write_text(f"uri,sha256\n{name}.png,{digits * 32}\n")
    (folder / "._jane.toml").write_bytes(b"\0\5\x16\7")
    (folder / "jill.csv").write_text("uri,sha256\njill.png,short\n")
    finding = findings.judge_manifests(*doctor._manifests(tmp_path))
    assert finding.state == "problem"
    assert f"{folder / 'jill.csv'}, line 2" in finding.found
    assert "joan:2 and june:2 list the same file" in finding.found
    assert "jane" not in finding.found
    assert "correct the row; remove all but one of the rows" in finding.remedy
    for name in ("jill", "june"):
        (folder / f"{name}.toml").unlink()
    sound = findings.judge_manifests(*doctor._manifests(tmp_path))
    assert (sound.state, sound.remedy) == ("ok", "")
    assert "all readable" in sound.found


@pytest.mark.slow
def test_manifests_are_a_line_of_the_doctor(lab: Path) -> None:
    assert by_name(doctor.examine())["manifests"].state == "ok"
    (lab / "data_manifests").mkdir(parents=True, exist_ok=True)
    (lab / "data_manifests" / "jane.toml").write_text("version = 2")
    assert "jane.toml" in by_name(doctor.examine())["manifests"].found


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in passwd, as containers run arbitrary user ids."""
    pwd = pytest.importorskip("pwd")

    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "FACESWAP_LAB_CACHE", "FACESWAP_LAB_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.slow
@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("root", ["", "~/lab"])
def test_the_doctor_finds_that_there_is_no_home(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", root or str(tmp_path))
    assert command_line.main(["doctor", "--json"]) in (1, 4)
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    for name in ("weights", "insightface", "head pack", *(("lab root", "manifests", "audit log") if root else ())):
        assert "home folder" in found[name]["found"], name
        assert "set HOME" in found[name]["remedy"]
        assert "FACESWAP_LAB_CACHE" in found[name]["remedy"]
    assert found["codecs"]["state"] == "ok", "the others are looked at nevertheless"


@pytest.mark.usefixtures("homeless")
def test_no_folder_is_called_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match="a home folder, for ~/x"):
        user_path("~/x")
    with pytest.raises(StorageError, match="a home folder"):
        cache_folder()
    monkeypatch.setenv("FACESWAP_LAB_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: lab_module.admit("~/x.mp4"),
        lambda: lab_module.gather("x", "~/x.mp4", who="Ann", basis="consent: yes"),
        lambda: open_engine("insight:~/x", torch.device("cpu")),
        lambda: swapper_record("inswapper:~/x.onnx"),
        lambda: read_recipe(SwapRecipe, "~/x.json"),
    ],
    ids=["admit", "gather", "pack", "inswapper", "recipe"],
)
def test_a_path_of_the_user_may_begin_at_home(call: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the whole path: it was looked for where the user meant."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    with pytest.raises((LabError, OSError), match=str(tmp_path / "home")):
        call()


# --- help teaches by example ----------------------------------------------------------------------------------------------


def leaves(within: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    groups = [action for action in within._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield within
    for group in groups:
        for inner in group.choices.values():
            yield from leaves(inner)


@pytest.mark.parametrize("leaf", [pytest.param(leaf, id=leaf.prog) for leaf in leaves(parser())])
def test_help_ends_with_examples_that_parse(leaf: argparse.ArgumentParser) -> None:
    examples = [line.strip() for line in (leaf.epilog or "").splitlines()[1:]]
    assert examples
    assert leaf.format_help().endswith("\n".join(f"  {line}" for line in examples) + "\n"), "long lines must not be wrapped"
    for line in examples:
        assert line.startswith(f"{leaf.prog}")
        chosen = parser().parse_args(shlex.split(line)[1:])
        assert chosen.command is leaf.get_default("command")
