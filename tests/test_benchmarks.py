"""What the benchmarks judge by: the unit of time, ratios within rounds, what others take of the cores, and imports in order."""

import ast
from pathlib import Path

import pytest
import torch

from benchmarks import reference, shared_machine
from benchmarks.shared_machine import Cell, Timing

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


def imported(path: Path) -> list[str]:
    """Top-level packages in the order in which a script's own imports load them."""
    names: list[str] = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names += [each.name.partition(".")[0] for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(str(node.module).partition(".")[0])
    return names


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_package_comes_before_torch_whose_threads_it_settles(path: Path) -> None:
    names = imported(path)
    assert "torch" not in names or "faceswap_lab" in names[: names.index("torch")]


def test_the_unit_is_of_one_thread_and_leaves_the_number_as_it_was() -> None:
    before = torch.get_num_threads()
    assert 0 < reference.unit_seconds() < 60
    assert torch.get_num_threads() == before


def test_a_ratio_is_taken_within_a_round() -> None:
    """A machine that is ten times slower in one round is so on both sides."""
    cell = Cell(seconds={"alone": [1.0, 10.0, 1.0], "two busy": [2.0, 20.0, 2.5], "another lab": [4.0, 40.0, 4.0]})
    assert (cell.ratio("two busy"), cell.ratio("another lab")) == (2.0, 4.0)
    verdicts = {name: bar["ok"] for name, bar in shared_machine.bars({"train": cell}).items()}
    assert verdicts == {"train_beside_two_busy": True, "train_beside_another_lab": False}


def test_a_disturbed_unit_is_repeated_while_time_is_left_and_the_least_disturbed_counts() -> None:
    timings = iter([Timing(seconds=3, foreign=0.5), Timing(seconds=2, foreign=0.2), Timing(seconds=1, foreign=0.01)])
    assert shared_machine.quiet(lambda: next(timings), float("inf")).seconds == 1
    timings = iter([Timing(seconds=3, foreign=0.5)])
    assert shared_machine.quiet(lambda: next(timings), 0.0).seconds == 3


@pytest.mark.slow
def test_a_lab_process_works_on_demand_and_beside_another() -> None:
    setting = shared_machine.SETTINGS[shared_machine.OURS]
    with shared_machine.lab_process(setting) as lab, shared_machine.lab_process(setting) as other:
        for kind in shared_machine.BESIDE:
            found = shared_machine.timed(lab, other, kind, "render")
            assert found.seconds > 0
            assert found.foreign >= 0
