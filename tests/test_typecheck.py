"""The checks of shapes and types that hold in every test are there, also where one is built at its first call."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError, jaxtyped

from faceswap_lab.faces import align
from tests.typecheck import check

ROOT = Path(__file__).parents[1]


def test_the_package_is_checked() -> None:
    assert align.invert(np.eye(2, 3)).shape == (2, 3)
    with pytest.raises(TypeCheckError, match="parameter 'matrix'"):
        align.invert(np.eye(3))


@pytest.mark.parametrize("calls_before", [0, 1])
def test_arguments_and_results_are_checked_at_the_first_call_and_later(calls_before: int) -> None:
    @jaxtyped(typechecker=check)
    def half(x: float, wrong: bool = False) -> float:
        return "half" if wrong else x / 2  # type: ignore[return-value]

    for _ in range(calls_before):
        assert half(2) == 1.0, "an int is a float"
    with pytest.raises(TypeCheckError, match="parameter 'x'"):
        half("two")  # type: ignore[arg-type]
    with pytest.raises(TypeCheckError, match="return value"):
        half(2.0, wrong=True)


def test_a_hint_that_cannot_be_checked_is_an_error() -> None:
    @jaxtyped(typechecker=check)
    def odd(x: 7) -> None:  # type: ignore[valid-type]
        pass

    with pytest.raises(TypeCheckError):
        odd(7)


EVERY_CHECK = """
import importlib, pkgutil
from jaxtyping import install_import_hook
import tests.typecheck
install_import_hook("faceswap_lab", "tests.typecheck.check_now")
import faceswap_lab
for module in pkgutil.walk_packages(faceswap_lab.__path__, "faceswap_lab."):
    importlib.import_module(module.name)
"""


@pytest.mark.slow
def test_every_check_of_the_package_can_be_built() -> None:
    done = subprocess.run([sys.executable, "-c", EVERY_CHECK], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
