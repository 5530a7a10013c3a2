"""Images, locks, conda files, devcontainers and the Slurm recipe: read, since nothing here can build or submit them."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from faceswap_lab.compute import kinds
from tests.dockerfile import findings, lets_in, read, sources
from tests.manifests import KUBERNETES, TREES, pods, resolve

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "environments/images"
DOCKERFILE = read((IMAGES / "Dockerfile").read_text())
IGNORE = (IMAGES / "Dockerfile.dockerignore").read_text()
LOCKS = ("environments/locks/build.txt", "environments/locks/${LOCK}.txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


# --- the Dockerfile ----------------------------------------------------------------------------------------------------


def test_the_dockerfile_keeps_the_rules() -> None:
    assert {"lab", "worker", "serving", "develop"} <= DOCKERFILE.stages.keys()
    assert findings(DOCKERFILE, ROOT, made=LOCKS) == []


GOOD = """\
ARG DIGEST
FROM debian:12.1@${DIGEST} AS first
COPY README.md /
RUN apt-get install --no-install-recommends x \\
 && pip install --require-hashes -r lock.txt
FROM first AS last
USER 1000:1000
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("debian:12.1@${DIGEST}", "debian:12.1"),
        ("debian:12.1@${DIGEST}", "debian:latest@${DIGEST}"),
        ("debian:12.1@${DIGEST}", "debian@${DIGEST}"),
        ("ARG DIGEST", "ARG DIGEST=sha256:0"),
        ("USER 1000:1000", "USER lab"),
        ("USER 1000:1000", "USER 0"),
        ("USER 1000:1000", ""),
        ("COPY README.md /", "ADD https://example.org/x /"),
        ("COPY README.md /", "COPY no_such_file /"),
        (" --no-install-recommends", ""),
        (" --require-hashes", ""),
        ("RUN apt-get", "RUN curl -O https://example.org/x && apt-get"),
    ],
)
def test_a_broken_rule_of_the_dockerfile_is_noticed(before: str, after: str) -> None:
    assert findings(read(GOOD), ROOT) == []
    assert before in GOOD
    assert len(findings(read(GOOD.replace(before, after)), ROOT)) == 1


def test_only_what_the_images_are_made_of_reaches_the_builder() -> None:
    needed = [path.replace("${LOCK}", "gpu") for stage in DOCKERFILE.stages.values() for path in sources(stage)]
    assert len(needed) > 8
    assert [path for path in needed if not lets_in(IGNORE, path)] == []
    assert lets_in(IGNORE, "faceswap_lab/runs/run.py")
    private = [
        "runs/train-1/result.mkv",
        ".git/config",
        ".venv/bin/python",
        "audit.jsonl",
        "docs/cloud.md",
        "faceswap_lab/__pycache__/x.pyc",
    ]
    assert [path for path in private if lets_in(IGNORE, path)] == []


def test_image_and_manifests_agree() -> None:
    user = DOCKERFILE.user_of("lab")
    found = [pod for tree in TREES for pod in pods(resolve(KUBERNETES / tree))]
    assert {f"{pod.spec['securityContext'][key]}" for pod in found for key in ("runAsUser", "runAsGroup")} == set(user.split(":"))
    assert DOCKERFILE.user_of("worker") == DOCKERFILE.user_of("serving") == DOCKERFILE.user_of("develop") == user
    (home,) = DOCKERFILE.stages["runtime"].all_of("WORKDIR")
    (settings,) = DOCKERFILE.stages["runtime"].all_of("ENV")
    assert f"HOME={home}" in settings
    places = {
        mount["mountPath"]
        for pod in found
        for container in pod.containers
        for mount in container["volumeMounts"]
        if mount["name"] == "home"
    }
    assert places == {home}
    assert DOCKERFILE.stages["lab"].all_of("EXPOSE") == ["8888"]


def test_the_image_names_what_the_environment_needs() -> None:
    named = (ROOT / "environments/README.md").read_text()
    for library in ("libgl1", "libglib2.0-0"):
        assert library in named
        assert any(library in rest for rest in DOCKERFILE.stages["system"].all_of("RUN"))
    tag = DOCKERFILE.arguments["BASE_TAG"] or ""
    assert re.match(r"\d+\.\d+\.\d+", tag)[0] in SpecifierSet(PROJECT["requires-python"])  # type: ignore[index]
    assert tag.startswith(f"{python_of_conda('cpu')}.")


def test_it_is_said_that_nobody_has_built_them() -> None:
    assert "UNBUILT" in (IMAGES / "Dockerfile").read_text()
    assert "Nobody has built them yet" in (ROOT / "docs/cloud.md").read_text()


# --- locks -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = spec_from_file_location("environment_lock", ROOT / "environments/lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_wheel(folder: Path, name: str, version: str, requires: str = "") -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_lock_installs_what_was_locked_and_refuses_what_was_changed(
    lock: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    made = [
        make_wheel(wheels, "lab_upper", "2.0", "lab_lower>=1"),
        make_wheel(wheels, "lab_lower", "1.0"),
        make_wheel(wheels, "lab_lower", "1.5"),
    ]
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("lab-lower==1.0\n")
    offline = ("--no-index", "--find-links", str(wheels))
    packages = lock.resolve(["lab_upper"], *offline, constraints=constraints)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in made]
    assert packages == {"lab-upper": ("2.0", digests[0]), "lab-lower": ("1.0", digests[1])}

    monkeypatch.setattr(lock, "wanted", lambda kind: (["lab_upper"], []))
    monkeypatch.setattr(lock, "resolve", lambda *_: packages)
    target = lock.write("cpu", tmp_path / "locks")
    assert [path.name for path in (tmp_path / "locks").iterdir()] == ["cpu.txt"]
    install = ("install", *offline, "--no-deps", "--require-hashes", "-r", str(target), "--target")
    assert (done := pip(*install, str(tmp_path / "installed"))).returncode == 0, done.stderr
    assert "1.0" in (tmp_path / "installed/lab_lower.py").read_text()
    with zipfile.ZipFile(made[1], "a") as archive:
        archive.writestr("more.py", "")
    assert "DO NOT MATCH THE HASHES" in (done := pip(*install, str(tmp_path / "refused"))).stderr
    assert done.returncode != 0


def test_a_lock_asks_for_what_the_project_asks_for(lock: ModuleType) -> None:
    extras = PROJECT["optional-dependencies"]
    whole, alone = lock.wanted("gpu")
    assert {*PROJECT["dependencies"], *extras["gpu"], *extras["kubernetes"], *extras["s3"]} <= set(whole)
    assert [Requirement(text).name for text in alone] == ["insightface"]
    assert not {Requirement(text).name for text in whole} & {"insightface", "onnxruntime"}
    whole, alone = lock.wanted("cpu")
    assert {*extras["cpu"]} <= set(whole)
    assert alone == []
    assert lock.wanted("build")[0] == tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]


def test_a_file_without_a_hash_and_a_torch_without_cuda_are_refused(
    lock: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no SHA-256 for x"):
        lock._pinned({"metadata": {"name": "x", "version": "1"}, "download_info": {"dir_info": {}}})
    monkeypatch.setattr(lock, "resolve", lambda *_, **__: {"torch": ("2.13.0+cpu", "0" * 64)})
    with pytest.raises(ValueError, match="CPU build of torch"):
        lock.write("gpu", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert lock.write("cpu", tmp_path).read_text().endswith(f"torch==2.13.0+cpu --hash=sha256:{'0' * 64}\n")


# --- conda and devcontainers -------------------------------------------------------------------------------------------


def conda(kind: str) -> Any:
    return yaml.safe_load((ROOT / f"environments/conda/{kind}.yml").read_text())


def python_of_conda(kind: str) -> str:
    (pinned,) = [each for each in conda(kind)["dependencies"] if str(each).startswith("python=")]
    return str(pinned).partition("=")[2]


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_conda_file_brings_python_and_leaves_the_rest_to_the_constraints(kind: str) -> None:
    file = conda(kind)
    assert file.keys() == {"name", "channels", "dependencies"}
    assert "nodefaults" in file["channels"]
    assert f"{python_of_conda(kind)}.7" in SpecifierSet(PROJECT["requires-python"])
    plain = [each.partition("=")[0] for each in file["dependencies"] if isinstance(each, str)]
    assert plain == ["python", "pip", "libgl", "libglib", "make"], "what the constraints pin comes by pip"
    (by_pip,) = [each["pip"] for each in file["dependencies"] if isinstance(each, dict)]
    here = ROOT / "environments/conda"
    constraints, project = [each.split() for each in by_pip]
    assert (constraints[0], (here / constraints[1]).resolve()) == ("-c", ROOT / "environments/constraints.txt")
    path, _, extras = project[1].rstrip("]").partition("[")
    assert (project[0], (here / path).resolve()) == ("-e", ROOT)
    assert set(extras.split(",")) == {kind, "dev"} <= PROJECT["optional-dependencies"].keys()


DEVCONTAINER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "build", "remoteUser", "postCreateCommand"],
    "properties": {
        "name": {"type": "string"},
        "build": {
            "type": "object",
            "additionalProperties": False,
            "required": ["dockerfile", "context", "target", "args"],
            "properties": {
                "dockerfile": {"type": "string"},
                "context": {"type": "string"},
                "target": {"enum": list(DOCKERFILE.stages)},
                "args": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "hostRequirements": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"gpu": {"enum": [True, False, "optional"]}, "memory": {"pattern": r"^\d+[tgmk]b$"}},
        },
        "runArgs": {"type": "array", "items": {"pattern": "^--[a-z-]+=[a-z0-9]+$"}},
        "remoteUser": {"const": "lab"},
        "updateRemoteUserUID": {"type": "boolean"},
        "postCreateCommand": {"type": "string"},
        "forwardPorts": {"type": "array", "items": {"type": "integer", "minimum": 1024, "maximum": 65535}},
        "portsAttributes": {"type": "object", "patternProperties": {r"^\d+$": {"type": "object"}}, "additionalProperties": False},
        "customizations": {"type": "object"},
    },
}
"""What of the devcontainer format is used here."""


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_devcontainer_fits_its_format_and_sets_up_its_kind(kind: str) -> None:
    import jsonschema

    path = ROOT / f".devcontainer/{kind}/devcontainer.json"
    settings = json.loads(path.read_text())
    jsonschema.Draft202012Validator(DEVCONTAINER).validate(settings)
    assert (path.parent / settings["build"]["dockerfile"]).resolve() == IMAGES / "Dockerfile"
    assert (path.parent / settings["build"]["context"]).resolve() == ROOT
    assert settings["build"]["args"].keys() == {name for name, default in DOCKERFILE.arguments.items() if default is None}
    assert settings["postCreateCommand"] == f"make setup EXTRA={kind}"
    assert (
        ("--gpus=all" in settings.get("runArgs", ())) == settings.get("hostRequirements", {}).get("gpu", False) == (kind == "gpu")
    )
    assert {str(port) for port in settings["forwardPorts"]} == settings["portsAttributes"].keys()


def test_the_develop_stage_copies_nothing() -> None:
    stage = DOCKERFILE.stages["develop"]
    assert stage.base == "system"
    assert sources(stage) == sources(DOCKERFILE.stages["system"]) == [], "a devcontainer is built without locks"


# --- Slurm -------------------------------------------------------------------------------------------------------------


JOB = """
from dask_jobqueue.slurm import SLURMJob
print(SLURMJob(scheduler="tls://host:8786", name="one").job_script())
"""


@pytest.mark.slow
def test_the_slurm_recipe_asks_for_a_gpu_and_starts_a_gpu_worker(tmp_path: Path) -> None:
    settings = os.environ | {"DASK_CONFIG": str(ROOT / "environments/slurm"), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", JOB], capture_output=True, text=True, check=True, env=settings)
    lines = done.stdout.strip().splitlines()
    asked = [line for line in lines if line.startswith("#SBATCH")]
    assert {"#SBATCH --gres=gpu:1", "#SBATCH -n 1", "#SBATCH --cpus-per-task=8", "#SBATCH -p gpu"} <= set(asked)
    assert 'test -d "$FACESWAP_LAB_ROOT"' in lines
    assert lines[-1].startswith(f"{sys.executable} -m dask cuda worker tls://host:8786 --name one --nthreads 1 ")
    assert str(tmp_path) not in done.stdout, "a folder of the node that submits may not be there on the node that works"
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=False).returncode == 0


def test_the_slurm_recipe_sets_what_dask_knows() -> None:
    import dask.config
    import distributed  # noqa: F401 (its defaults)

    kinds._library("dask_jobqueue", "slurm")  # its defaults; imported plainly, it takes Ctrl-C for itself
    recipe = yaml.safe_load((ROOT / "environments/slurm/jobqueue.yaml").read_text())
    known = dask.config.get("jobqueue.slurm")
    assert {key.replace("_", "-") for key in recipe["jobqueue"]["slurm"]} <= {key.replace("_", "-") for key in known}
    assert dask.config.get("distributed.comm.tls.min-version", "missing") != "missing"
    assert dask.config.get("distributed.scheduler.no-workers-timeout", "missing") != "missing"
    assert recipe["distributed"].keys() == {"comm", "scheduler"}


def test_the_batch_script_is_shell_and_hides_the_token() -> None:
    path = ROOT / "environments/slurm/lab.sbatch"
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    text = path.read_text()
    assert "IdentityProvider.token" not in text, "a token on a command line is seen by every user of the node"
    assert "umask 077" in text
