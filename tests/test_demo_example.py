"""The example that the package ships for a demo's first start: it fits this version, is marked, and is what the demo would make."""

import json
from pathlib import Path

import pytest

from faceswap_lab.serve.desk import Desk
from faceswap_lab.serve.site.gallery import performances
from faceswap_lab.serve.site.results import SHIPPED, example, is_shipped, make_example, name_of_example
from faceswap_lab.serve.sources import ACTORS, Source
from faceswap_lab.trust.marks.metadata import read_mark

TAKE = performances([Source.actor(seed) for seed in ACTORS])[0]
FACE = f"actor:{ACTORS[0]}"
REMEDY = "make it anew: .venv/bin/python docs/make_demo_example.py"


def shipped() -> dict:
    return json.loads((SHIPPED / name_of_example("oneshot", FACE, TAKE)).read_text())


def test_the_usual_demo_has_its_example_in_this_version_and_no_other_file() -> None:
    assert is_shipped("oneshot", FACE, TAKE), REMEDY
    parts = shipped()
    files = {name_of_example("oneshot", FACE, TAKE), parts["before"], parts["file"], parts["truth"]}
    assert {path.name for path in SHIPPED.iterdir()} == files, REMEDY
    assert not is_shipped("inswapper:x.onnx", FACE, TAKE)
    assert not is_shipped("oneshot", "actor:8", TAKE)


@pytest.mark.parametrize("part", ["before", "file", "truth"])
def test_its_pictures_say_that_they_are_synthetic(part: str) -> None:
    mark = (read_mark(SHIPPED / shipped()[part]) or [{}])[0]
    assert "digitalsourcetype" in mark["digital_source_type"].lower()
    assert "actor:" in json.dumps(mark)


@pytest.mark.slow
@pytest.mark.weights
def test_it_is_what_the_demo_makes(tmp_path: Path) -> None:
    with Desk(tmp_path / "demo", warm=0) as desk:
        assert example(desk, source=FACE, take=TAKE, folder=tmp_path / "cache").before.parent == SHIPPED
        assert not (tmp_path / "cache").exists(), "nothing is made that is there"
        (tmp_path / "made").mkdir()
        card = tmp_path / "made" / name_of_example(desk.swapper, FACE, TAKE)
        make_example(desk, FACE, TAKE, card)
    made, kept = json.loads(card.read_text()), shipped()
    assert made["scores"].keys() == kept["scores"].keys()
    for name, score in kept["scores"].items():
        found = made["scores"][name]
        for role in ("value", "floor", "ceiling"):
            assert found[role] == (None if score[role] is None else pytest.approx(score[role], rel=0.01, abs=0.01)), REMEDY
