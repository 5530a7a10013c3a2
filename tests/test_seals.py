"""Seals: who may read the key may make them; nobody else, and no other lab."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faceswap_lab import seals
from faceswap_lab.seals import KEY, is_sealed, seal_of


def test_a_seal_holds_for_its_text_in_its_lab(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    seal = seal_of(one, "a grant")
    assert is_sealed(one, "a grant", seal)
    assert seal_of(one, "a grant") == seal
    for root, text, given in ((one, "another", seal), (one, "a grant", ""), (one, "a grant", "00" * 32), (other, "a grant", seal)):
        assert not is_sealed(root, text, given)
    seal_of(other, "a grant")
    assert not is_sealed(other, "a grant", seal)
    assert not is_sealed(tmp_path / "none", "a grant", seal), "asking makes no key"
    assert not (tmp_path / "none").exists()


def test_many_at_once_make_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: seal_of(tmp_path, "x"), range(32)))
    assert len(made) == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [KEY]


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_damaged_key_is_made_anew_and_seals_nothing_of_before(tmp_path: Path, content: bytes) -> None:
    before = seal_of(tmp_path, "x")
    (tmp_path / "runs" / KEY).write_bytes(content)
    assert not is_sealed(tmp_path, "x", before)
    after = seal_of(tmp_path, "x")
    assert is_sealed(tmp_path, "x", after)
    assert after != before


def test_a_lab_that_cannot_be_written_to_has_a_key_for_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(seals.tempfile, "mkstemp", full)
    seal = seal_of(tmp_path, "x")
    assert is_sealed(tmp_path, "x", seal)
    monkeypatch.undo()
    assert is_sealed(tmp_path, "x", seal_of(tmp_path, "x"))
