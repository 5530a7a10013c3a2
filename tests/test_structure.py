"""The shape of the package: no cycle of modules, folders and functions of a size one can read, names that say something.

Each rule is a function over a folder, so that a test can show it a small package that breaks it.
"""

import ast
import graphlib
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

PACKAGE = Path(__file__).parents[1] / "faceswap_lab"
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "core", "base", "manager", "misc"}
MOST_MODULES = 14
P90_LINES = 25
MEDIAN_LINES = range(100, 201)


def cycle(package: str) -> list[str]:
    """The modules of one cycle of imports, the first one again at its end; empty where there is none.

    Imports inside functions and under TYPE_CHECKING count; those of the package's own `__init__`, which names the public objects,
    don't.
    """
    graph = grimp.build_graph(package, cache_dir=None)
    order = graphlib.TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules if module != package}
    )
    try:
        order.prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def modules(package: Path) -> Iterator[Path]:
    return (path for path in sorted(package.rglob("*.py")) if path.name != "__init__.py")


def crowded(package: Path) -> dict[str, int]:
    """Folders of more than 14 modules, with their number; the folder's `__init__` isn't counted."""
    counts = Counter(str(path.parent.relative_to(package.parent)) for path in modules(package))
    return {folder: count for folder, count in counts.items() if count > MOST_MODULES}


def nameless(package: Path) -> list[str]:
    """Modules and folders whose name would fit any other as well."""
    named = [path for path in package.rglob("*") if path.suffix == ".py" or path.is_dir()]
    return sorted(str(path.relative_to(package.parent)) for path in named if path.stem in SAYS_NOTHING)


def function_lengths(package: Path) -> dict[str, int]:
    """The number of lines of each function and method, its decorators left out and its docstring included."""
    return {
        f"{path.relative_to(package.parent)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def p90(lengths: dict[str, int]) -> float:
    return statistics.quantiles(lengths.values(), n=10)[-1]


def median_lines(package: Path) -> float:
    return statistics.median(len(path.read_text(encoding="utf-8").splitlines()) for path in modules(package))


# --- the package ------------------------------------------------------------------------------------------------------------


def test_no_module_imports_itself_by_a_detour() -> None:
    assert not (found := cycle("faceswap_lab")), " -> ".join(found)


def test_no_folder_is_crowded() -> None:
    assert not crowded(PACKAGE)


def test_every_module_has_a_name_of_its_own() -> None:
    assert not nameless(PACKAGE)


def test_nine_functions_of_ten_fit_in_25_lines() -> None:
    lengths = function_lengths(PACKAGE)
    longest = sorted(lengths, key=lengths.__getitem__)[-10:]
    assert p90(lengths) <= P90_LINES, f"the longest: {longest}"


def test_the_middle_module_has_100_to_200_lines() -> None:
    assert MEDIAN_LINES.start <= median_lines(PACKAGE) < MEDIAN_LINES.stop


# --- each rule goes red -----------------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `made` with two modules that break nothing."""
    package = tmp_path / "made"
    (package / "room").mkdir(parents=True)
    (package / "__init__.py").write_text("import made.door\n")
    (package / "door.py").write_text("import made\nimport made.room.table\n")
    (package / "room" / "__init__.py").touch()
    (package / "room" / "table.py").write_text("\n" * 150)
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    sys.modules.pop("made", None)


def test_the_made_package_breaks_no_rule(made: Path) -> None:
    """Without this, the next tests could be red for the package's sake and not the rule's."""
    assert cycle("made") == []
    assert crowded(made) == {}
    assert nameless(made) == []


@pytest.mark.parametrize(
    "line",
    [
        "import made.door",
        "def open_it():\n    from made.door import handle",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import made.door",
    ],
)
def test_a_cycle_is_found(made: Path, line: str) -> None:
    (made / "room" / "table.py").write_text(f"{line}\n")
    found = cycle("made")
    assert set(found) == {"made.door", "made.room.table"}
    assert found[0] == found[-1]


def test_a_crowded_folder_is_found(made: Path) -> None:
    for number in range(MOST_MODULES):
        (made / "room" / f"chair_{number}.py").touch()
    assert crowded(made) == {str(Path("made", "room")): MOST_MODULES + 1}


def test_a_name_that_says_nothing_is_found(made: Path) -> None:
    (made / "room" / "helpers.py").touch()
    (made / "core").mkdir()
    assert nameless(made) == [str(Path("made", "core")), str(Path("made", "room", "helpers.py"))]


def test_long_functions_and_modules_are_found(made: Path) -> None:
    functions = [f"def short_{number}():\n    return 1\n" for number in range(8)]
    functions += [f"class Long:\n    async def long_{number}(self):\n" + "        x = 1\n" * 30 for number in range(2)]
    (made / "room" / "table.py").write_text("".join(functions))
    (made / "door.py").write_text("\n" * 500)
    assert p90(function_lengths(made)) > P90_LINES
    assert median_lines(made) > MEDIAN_LINES.stop
