"""What is installed: lines of a crontab, units of systemd and CronJobs, read back by the programs that will read them.

Nothing here touches this machine's crontab, units or cluster: `crontab`, `systemctl` and `kubectl` are programs of the tests' own.
"""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faceswap_lab import __main__ as command_line
from faceswap_lab.errors import ScheduleError
from faceswap_lab.pipelines.schedules import cron, kubernetes, systemd
from faceswap_lab.pipelines.schedules.job import Job, name_for
from faceswap_lab.pipelines.schedules.when import read_when
from tests import policies
from tests.manifests import KUBERNETES, resolve

ROOT = Path(__file__).parents[1]
NASTY = [
    "a=50%",
    "a=100%%d",
    "a=%%",
    "a=it's",
    'a="quoted"',
    "a=two  blanks ",
    "a=$HOME ${HOME} $(id) `id`",
    "a=; rm -rf / #",
    "a=| & > /dev/null <",
    "a=!history *?[x] {1,2} ~",
    "a=ünï ∀ 🙂",
    "a=-n",
    "a=",
]
"""Parameters that a shell, cron, systemd or Kubernetes would take for something else."""

CONTROL = ["a=1\n* * * * * id", "a=1\r", "a=\0", "a=\x1b[2J", "a=\u2028x", "a=\udc80"]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "FACESWAP_LAB_CACHE",
        "FACESWAP_LAB_WEIGHTS",
        "FACESWAP_LAB_NOTICES",
        "FACESWAP_LAB_TRACK",
        "XDG_CACHE_HOME",
        "SSL_CERT_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(cron, "machine_zone", lambda: "Etc/UTC")


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "lab" / "runs").mkdir(parents=True)
    return tmp_path / "lab"


def job(lab: Path, *parameters: str, **changes: Any) -> Job:
    program = (sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))")
    given = {"name": "nightly", "pipeline": "nightly", "when": read_when(at="03:30"), "root": lab, "program": program}
    return Job(**given | {"parameters": parameters} | changes)


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Puts small programs before everything else on the PATH."""
    folder.mkdir(exist_ok=True)
    for name, text in scripts.items():
        path = folder / name
        (folder / f"{name}.py").write_text(text)
        # The interpreter's path may have blanks, which the line with #! can't have.
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(folder / name))}.py "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


# --- what is refused before anything else --------------------------------------------------------------------------------


@pytest.mark.parametrize("parameter", CONTROL)
def test_line_breaks_and_control_characters_are_refused(parameter: str, lab: Path) -> None:
    with pytest.raises(ScheduleError, match="printable"):
        job(lab, parameter)
    with pytest.raises(ScheduleError, match="printable"):
        job(lab, pipeline=f"/lab/{parameter}.toml")
    with pytest.raises(ScheduleError, match="printable"):
        job(lab / parameter.replace("\0", "\n"))


@pytest.mark.parametrize("name", ["", "Nightly", "a b", "a/b", "../a", "-a", "a-", "a" * 41, "a\nb", "a%", "nächtlich"])
def test_a_name_is_one_that_files_and_kubernetes_take(name: str, lab: Path) -> None:
    with pytest.raises(ScheduleError, match="--name"):
        job(lab, name=name)


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [("nightly", "nightly"), ("train_and_report", "train-and-report"), ("/a b/Mine (2).toml", "mine-2"), ("x" * 60, "x" * 40)],
)
def test_a_schedule_is_named_after_its_pipeline(pipeline: str, name: str) -> None:
    assert name_for(pipeline) == name


@pytest.mark.parametrize(
    "target", ["https://u:p@example.org/x", "https://example.org/hook?token=1", f"https://example.org/{'a' * 24}"]
)
def test_an_address_that_may_be_a_secret_gets_into_no_schedule(target: str, lab: Path) -> None:
    with pytest.raises(ScheduleError, match=r"notices\.toml") as refused:
        job(lab, notify=(target,))
    assert "token" not in str(refused.value)
    assert "aaaa" not in str(refused.value)


# --- cron -------------------------------------------------------------------------------------------------------------


def as_cron_reads(line: str) -> str:
    """The command of a crontab's line, as crontab(5) has it: five fields, then text in which a bare % ends the command."""
    command = line.split(None, 5)[5]
    return re.split(r"(?<!\\)%", command)[0].replace("\\%", "%")


def words_of(line: str, lab: Path) -> list[str]:
    """What the program is called with if a shell runs the line."""
    log = lab / "runs" / ".schedule-nightly.log"
    log.unlink(missing_ok=True)
    subprocess.run(["/bin/sh", "-c", as_cron_reads(line)], check=True, cwd="/", env={"PATH": "/usr/bin:/bin"})
    return json.loads(log.read_text(encoding="utf-8"))


def test_a_line_runs_the_pipeline_in_the_lab(lab: Path) -> None:
    made = job(lab, "recipe=small", smoke=True, notify=("mail:lab@example.org", "webhook:team"))
    line = cron.line(made)
    assert line.startswith("30 3 * * * ")
    assert "\n" not in line
    told = ["--notify", "mail:lab@example.org", "--notify", "webhook:team"]
    assert words_of(line, lab) == ["pipelines", "run", "nightly", "--root", str(lab), "-p", "recipe=small", "--smoke", *told]


@pytest.mark.parametrize("parameter", NASTY)
def test_cron_and_the_shell_hand_every_parameter_over_unchanged(parameter: str, lab: Path) -> None:
    assert words_of(cron.line(job(lab, parameter)), lab)[-1] == parameter


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="\\"), max_size=30))
def test_cron_and_the_shell_hand_any_parameter_over_unchanged(text: str, lab: Path) -> None:
    assert words_of(cron.line(job(lab, f"a={text}")), lab)[-1] == f"a={text}"


@pytest.mark.parametrize("folder", ["a b", "50%", "it's", "$HOME", "-x"])
def test_a_lab_in_any_folder_is_found(folder: str, tmp_path: Path) -> None:
    lab = tmp_path / folder
    (lab / "runs").mkdir(parents=True)
    assert words_of(cron.line(job(lab)), lab)[4] == str(lab)


def test_cron_is_told_no_backslash_and_no_long_line(lab: Path) -> None:
    with pytest.raises(ScheduleError, match="backslash"):
        cron.line(job(lab, "a=\\"))
    with pytest.raises(ScheduleError, match="998"):
        cron.line(job(lab, f"a={'x' * 900}"))


@pytest.mark.parametrize(
    ("machine", "zone", "fine"),
    [
        ("Etc/UTC", "UTC", True),
        ("Etc/UTC", "Africa/Abidjan", True),
        ("Europe/Berlin", "Europe/Paris", True),
        ("Europe/Berlin", "UTC", False),
        ("Etc/UTC", "Europe/London", False),
        ("Europe/Berlin", "Africa/Lagos", False),
    ],
)
def test_cron_is_given_times_of_its_own_clock_only(
    machine: str, zone: str, fine: bool, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cron, "machine_zone", lambda: machine)
    made = job(lab, when=read_when(at="03:30", zone=zone))
    if fine:
        assert cron.line(made).startswith("30 3 ")
    else:
        with pytest.raises(ScheduleError, match="--zone local"):
            cron.line(made)


def test_a_run_that_still_goes_on_is_not_started_twice(lab: Path) -> None:
    """The first holds until the test lets it go; the second ends at once and says so in the log."""
    script = lab / "wait.py"
    script.write_text(
        "import pathlib, sys, time\nprint('begun', flush=True)\n"
        "while not pathlib.Path(sys.argv[-1]).exists():\n    time.sleep(0.05)\n"
    )
    go, log = lab / "go", lab / "runs" / ".schedule-nightly.log"
    command = as_cron_reads(cron.line(job(lab, str(go), program=(sys.executable, str(script)))))
    first = subprocess.Popen(["/bin/sh", "-c", command])
    while not log.exists() or "begun" not in log.read_text():
        time.sleep(0.05)
        assert first.poll() is None
    second = subprocess.Popen(["/bin/sh", "-c", command])
    while "not started" not in log.read_text() and log.read_text().count("begun") < 2:
        time.sleep(0.05)
    go.touch()
    assert (first.wait(), second.wait()) == (0, 0)
    assert "not started, the last run still goes on" in log.read_text()
    assert log.read_text().count("begun") == 1
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert log.read_text().count("begun") == 2


CRONTAB = """
import os, pathlib, sys
table = pathlib.Path(os.environ["TABLE"])
if sys.argv[1:] == ["-l"]:
    if not table.exists():
        sys.exit("no crontab for tester")
    sys.stdout.buffer.write(table.read_bytes())
elif sys.argv[1:] == ["-"]:
    new = sys.stdin.buffer.read()
    if os.environ.get("REFUSES"):
        sys.exit('"-":1: bad minute')
    table.write_bytes(new)
else:
    sys.exit("usage")
"""

FOREIGN = (
    b'# m h  dom mon dow   command\nMAILTO=""\n\n  */5 * * * * /opt/backup --all % in \xff\xe4 \x0c x\x85y\t\n'
    b"30 3 * * * echo '# faceswap-lab schedule: nightly is not this'\n# 30 3 * * * old # faceswap-lab schedule: nightly\n"
)
"""Other people's lines: what could be taken for ours, bytes that are no text, and characters that Python takes for line ends."""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs(tmp_path / "bin", monkeypatch, crontab=CRONTAB)
    monkeypatch.setenv("TABLE", str(tmp_path / "table"))
    return tmp_path / "table"


def test_a_line_is_installed_once_changed_in_place_and_removed(lab: Path, table: Path) -> None:
    assert cron.installed() == []
    assert cron.install(job(lab)) is not None
    assert table.read_text() == cron.line(job(lab)) + "\n"
    assert cron.install(job(lab)) is None
    assert cron.install(job(lab, when=read_when(at="04:00"))) is not None
    assert cron.install(job(lab, name="other")) is not None
    assert [(each["name"], each["when"]) for each in cron.installed()] == [("nightly", "0 4 * * *"), ("other", "30 3 * * *")]
    assert cron.remove("nightly", lab) is not None
    assert [each["name"] for each in cron.installed()] == ["other"]
    assert cron.remove("nightly", lab) is None


def test_other_lines_are_kept_to_the_byte_and_the_table_of_before_is_kept(lab: Path, table: Path) -> None:
    table.write_bytes(FOREIGN)
    backup = cron.install(job(lab))
    assert backup is not None
    assert backup.read_bytes() == FOREIGN
    assert backup.stat().st_mode & 0o077 == 0
    assert table.read_bytes() == FOREIGN + cron.line(job(lab)).encode() + b"\n"
    cron.remove("nightly", lab)
    assert table.read_bytes() == FOREIGN


def test_a_table_that_cron_refuses_changes_nothing(lab: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table.write_bytes(FOREIGN)
    monkeypatch.setenv("REFUSES", "1")
    with pytest.raises(ScheduleError, match="bad minute"):
        cron.install(job(lab))
    assert table.read_bytes() == FOREIGN


def test_without_cron_the_line_is_printed_and_an_installation_says_what_is_missing(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(lab))
    assert cron.line(job(lab))
    assert cron.installed() == []
    with pytest.raises(ScheduleError, match="flock"):
        cron.install(job(lab))


@pytest.mark.skipif(shutil.which("crontab") is None, reason="no cron")
def test_the_real_crontab_accepts_the_line(lab: Path) -> None:
    """`crontab -n` only checks; the crontab of this user stays as it is."""
    line = cron.line(job(lab, *NASTY[:4]))
    done = subprocess.run(["crontab", "-n", "-"], input=f"{line}\n", text=True, capture_output=True, check=False)
    if "usage" in done.stderr:
        pytest.skip("this crontab has no -n")
    assert done.returncode == 0, done.stderr
    assert subprocess.run(["crontab", "-n", "-"], input="99 3 * * * x\n", text=True, capture_output=True, check=False).returncode


# --- systemd ----------------------------------------------------------------------------------------------------------

systemd_reads = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")


def exec_words(text: str) -> list[str]:
    """The words of ExecStart as systemd.service(5) has it: double quotes, backslash escapes, doubled $ and %."""
    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    found = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
    return [re.sub(r"\\(.)", r"\1", word).replace("%%", "%").replace("$$", "$") for word in found]


@systemd_reads
def test_systemd_itself_accepts_the_units(lab: Path) -> None:
    units = systemd.units(
        job(lab, *NASTY, "a=\\", pipeline="/a b/50% mine.toml", when=read_when(cron="30 2 13 * fri", zone="Europe/Berlin"))
    )
    assert systemd.verify(units)
    for fault in ("OnCalendar=", "Type="):
        spoilt = {name: re.sub(f"{fault}.*", f"{fault}nonsense", text) for name, text in units.items()}
        with pytest.raises(ScheduleError, match="nonsense"):
            systemd.verify(spoilt)


@pytest.mark.parametrize("parameter", [*NASTY, "a=\\", "a=\\n %h $$"])
def test_units_keep_every_parameter(parameter: str, lab: Path) -> None:
    made = job(lab, parameter)
    assert exec_words(systemd.units(made)["faceswap-lab-nightly.service"]) == made.words


MANAGER = Path("/lib/systemd/systemd")


@pytest.mark.slow
@pytest.mark.skipif(not MANAGER.is_file() or os.getuid() != 0, reason="needs systemd, and root to become another user")
def test_systemds_own_parser_reads_the_words_that_were_meant(tmp_path_factory: pytest.TempPathFactory, lab: Path) -> None:
    """`systemd --test` loads units without starting any and prints the command lines that it has read, quoted as a shell would."""
    made = job(Path("/tmp"), *NASTY[:-1], "a=\\", program=("/usr/bin/env",))
    with_units = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        place = with_units / "systemd" / "user"
        place.mkdir(parents=True)
        for name, text in systemd.units(made).items():
            (place / name).write_text(text)
        subprocess.run(["chmod", "-R", "a+rwX", with_units], check=True)
        variables = {
            "HOME": str(with_units),
            "XDG_CONFIG_HOME": str(with_units),
            "XDG_RUNTIME_DIR": str(with_units),
            "PATH": "/usr/bin:/bin",
        }
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(MANAGER), "--user", "--test"]
        said = subprocess.run(
            [*words, "--unit=faceswap-lab-nightly.timer"], capture_output=True, text=True, env=variables, check=False
        )
    finally:
        shutil.rmtree(with_units)
    line = next((each for each in said.stdout.splitlines() if "Command Line: /usr/bin/env" in each), None)
    if line is None:
        pytest.skip(f"this systemd shows no command lines: {said.stderr[-200:]}")
    # `$$` becomes `$` only when the command is started.
    words = subprocess.run(
        ["/bin/sh", "-c", f"printf '%s\\0' {line.partition('Command Line:')[2]}"], capture_output=True, check=True
    )
    assert [word.replace("$$", "$") for word in words.stdout.decode().split("\0")[:-1]] == made.words


def test_a_service_waits_for_nobody_and_a_missed_time_is_made_up_for(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_CACHE", "/a b/50%")
    units = systemd.units(job(lab))
    service, timer = units["faceswap-lab-nightly.service"], units["faceswap-lab-nightly.timer"]
    assert "Type=oneshot" in service
    assert 'Environment="FACESWAP_LAB_CACHE=/a b/50%%"' in service
    assert "Persistent=true" in timer
    assert "OnCalendar=*-*-* 03:30:00 UTC" in timer


SYSTEMCTL = """
import os, pathlib, sys
with pathlib.Path(os.environ["CALLS"]).open("a") as calls:
    print(*sys.argv[1:], file=calls)
if "is-active" in sys.argv:
    sys.exit(0 if os.environ.get("ACTIVE") else 3)
if "daemon-reload" in sys.argv and os.environ.get("BROKEN"):
    sys.exit("Failed to connect to bus: No medium found")
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs(tmp_path / "bin", monkeypatch, systemctl=SYSTEMCTL)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def test_units_are_installed_listed_and_removed(lab: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = systemd.folder_of_units() / "faceswap-lab-mine.timer"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("[Timer]\nOnCalendar=daily\n")
    assert systemd.install(job(lab))
    assert "--user restart faceswap-lab-nightly.timer" in calls.read_text()
    monkeypatch.setenv("ACTIVE", "1")
    assert not systemd.install(job(lab))
    assert systemd.install(job(lab, when=read_when(at="04:00")))
    (row,) = systemd.installed()
    assert (row["name"], row["when"]) == ("nightly", "*-*-* 04:00:00 UTC")
    assert systemd.remove("nightly")
    assert not systemd.remove("nightly")
    assert not systemd.remove("mine")
    assert list(foreign.parent.iterdir()) == [foreign]


def test_where_no_systemd_runs_the_units_of_before_are_left(lab: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert systemd.install(job(lab))
    before = {path: path.read_bytes() for path in systemd.folder_of_units().iterdir()}
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(ScheduleError, match="No medium found"):
        systemd.install(job(lab, when=read_when(at="04:00")))
    with pytest.raises(ScheduleError):
        systemd.install(job(lab, name="other"))
    assert {path: path.read_bytes() for path in systemd.folder_of_units().iterdir()} == before


# --- kubernetes -------------------------------------------------------------------------------------------------------


def cronjob(lab: Path = Path("/lab"), *parameters: str, **changes: Any) -> dict[str, Any]:
    when = read_when(every="week", zone="Europe/Berlin")
    return kubernetes.manifest(job(lab, *parameters, when=when, program=("faceswap-lab",), **changes), kubernetes.placement())


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("notify", [(), ("webhook:team",)])
def test_the_cronjob_fits_the_schema(version: str, notify: tuple[str, ...]) -> None:
    import kubernetes_validate

    found = yaml.safe_load(kubernetes.as_yaml(cronjob(notify=notify)))
    kubernetes_validate.validate(found, version, strict=True)
    found["spec"]["concurrencyPolice"] = found["spec"].pop("concurrencyPolicy")
    with pytest.raises(Exception, match="concurrencyPolice"):
        kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize(
    "rule",
    [
        policies.runs_as_root,
        policies.has_privileges,
        policies.lacks_limits,
        policies.floats,
        policies.tells_secrets,
        policies.wastes_gpus,
        policies.speaks_to_the_api,
        policies.mounts_nothing,
        policies.exceeds,
    ],
    ids=lambda rule: rule.__name__,
)
def test_the_cronjob_keeps_the_rules_of_the_cluster_it_is_put_into(rule: policies.Rule) -> None:
    assert rule([*resolve(KUBERNETES / "base"), cronjob(notify=("webhook:team", "mail:lab@example.org"))]) == []


def test_the_cronjob_is_as_closed_as_the_one_that_stands_there() -> None:
    (standing,) = [each for each in resolve(KUBERNETES / "base") if each["kind"] == "CronJob"]
    theirs, ours = (each["spec"]["jobTemplate"]["spec"]["template"]["spec"] for each in (standing, cronjob()))
    for name in ("securityContext", "serviceAccountName", "nodeSelector", "automountServiceAccountToken", "restartPolicy"):
        assert ours[name] == theirs[name]
    assert ours["containers"][0]["securityContext"] == theirs["containers"][0]["securityContext"]
    assert ours["containers"][0]["image"] == theirs["containers"][0]["image"]
    assert {each["mountPath"] for each in ours["containers"][0]["volumeMounts"]} == {
        each["mountPath"] for each in theirs["containers"][0]["volumeMounts"]
    }


def test_the_cronjob_goes_by_the_zone_and_never_runs_twice_at_once() -> None:
    spec = cronjob()["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("30 3 * * 1", "Europe/Berlin", "Forbid")
    assert len(cronjob(name="a" * 40)["metadata"]["name"]) <= 52


@pytest.mark.parametrize("parameter", [*NASTY, "a=$(FACESWAP_LAB_ROOT) $$(x)"])
def test_yaml_and_kubernetes_hand_every_parameter_over_unchanged(parameter: str) -> None:
    """Kubernetes puts a variable for $(NAME), and $( for $$(."""
    found = yaml.safe_load(kubernetes.as_yaml(cronjob(Path("/lab"), parameter)))
    container = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    variables = {each["name"]: each["value"] for each in container["env"]}
    expand = lambda word: re.sub(  # noqa: E731
        r"\$\$|\$\((\w+)\)", lambda m: "$" if m[0] == "$$" else variables.get(m[1], m[0]), word
    )
    assert expand(container["command"][-1]) == parameter


@pytest.mark.parametrize(
    "given",
    [
        {"image": "lab"},
        {"image": "lab:latest"},
        {"namespace": "A b"},
        {"cpu": "many"},
        {"memory": "16 Gi"},
        {"hours": 0},
        {"hours": "12"},
    ],
)
def test_a_placement_that_kubernetes_would_refuse_is_refused_here(given: dict) -> None:
    with pytest.raises(ScheduleError):
        kubernetes.placement(**given)


KUBECTL = """
import json, os, pathlib, sys
place = pathlib.Path(os.environ["CLUSTER"])
held = json.loads(place.read_text()) if place.exists() else []
if sys.argv[1] == "apply":
    given = json.load(sys.stdin)
    if os.environ.get("REFUSES"):
        sys.exit("error: exceeded quota")
    if "--dry-run=server" not in sys.argv:
        held = [each for each in held if each["metadata"]["name"] != given["metadata"]["name"]] + [given]
    print("cronjob.batch/" + given["metadata"]["name"] + " configured")
elif sys.argv[1] == "get":
    print(json.dumps({"items": held}))
elif sys.argv[1] == "delete":
    held = [each for each in held if each["metadata"]["name"] != sys.argv[3]]
place.write_text(json.dumps(held))
"""


def test_a_cronjob_is_applied_listed_and_removed_through_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch, kubectl=KUBECTL)
    monkeypatch.setenv("CLUSTER", str(tmp_path / "cluster"))
    assert "configured" in kubernetes.install(cronjob())
    kubernetes.install(cronjob())
    (row,) = kubernetes.installed("faceswap-lab")
    assert (row["name"], row["when"]) == ("nightly", "30 3 * * 1 Europe/Berlin")
    assert kubernetes.remove("nightly", "faceswap-lab")
    assert not kubernetes.remove("nightly", "faceswap-lab")
    monkeypatch.setenv("REFUSES", "1")
    with pytest.raises(ScheduleError, match="exceeded quota"):
        kubernetes.install(cronjob())
    assert kubernetes.installed("faceswap-lab") == []


# --- the command ------------------------------------------------------------------------------------------------------


def called(*words: str) -> int:
    return command_line.main(["schedule", *words])


def test_what_is_printed_is_the_line_alone_and_warnings_go_beside_it(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cron, "machine_zone", lambda: "Europe/Berlin")
    assert called("cron", "quickstart", "--at", "02:30", "--zone", "Europe/Berlin", "--root", str(lab)) == 0
    said = capsys.readouterr()
    assert said.out.count("\n") == 1
    assert said.out.startswith("30 2 * * * umask 077; cd ")
    assert said.err.count("warning: 02:30 ") == 2


def test_a_schedule_is_installed_listed_and_removed_by_commands(lab: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--root", str(lab), "--json"]
    table.write_bytes(FOREIGN)
    for expected in (True, False):
        assert called("cron", "quickstart", "--every", "day", "--install", *where) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["installed"] is expected
    assert len(answer["next"]) == 3
    assert called("list", *where) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["kind"]) == ("quickstart", "cron")
    assert called("remove", "quickstart", *where) == 0
    capsys.readouterr()
    assert table.read_bytes() == FOREIGN
    assert called("remove", "quickstart", *where) == 1
    assert "schedule list" in json.loads(capsys.readouterr().out)["error"]["remedy"]


def test_a_cronjob_is_printed_as_yaml_without_a_lab(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FACESWAP_LAB_ROOT", raising=False)
    assert called("kubernetes", "quickstart", "--at", "03:30", "--memory", "32Gi") == 0
    found = yaml.safe_load(capsys.readouterr().out)
    container = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["faceswap-lab", "pipelines", "run", "quickstart", "--root", "/lab"]
    assert container["resources"]["limits"]["memory"] == "32Gi"
    assert called("kubernetes", "mine.toml", "--at", "03:30") == 1
    assert "/lab/pipelines/mine.toml" in capsys.readouterr().err
