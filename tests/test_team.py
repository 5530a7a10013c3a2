"""Ranks that train together: each has its own rows of the same batch, and together they take the step of one process."""

import multiprocessing
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faceswap_lab.models.training.pair import _batch, _draw, _shared, fresh_pair, train_pair
from faceswap_lab.models.training.sharded import shard
from faceswap_lab.models.training.shards import local
from faceswap_lab.models.training.team import ALONE, WHOLE, Parallel, Share, joined, sizes_for
from tests.test_train import CONFIG, CPU, GOLDEN, NET, people


@given(batch=st.integers(1, 48), size=st.integers(1, 6), parts=st.integers(1, 4))
def test_shares_have_every_row_once(batch: int, size: int, parts: int) -> None:
    shares = [Share(rank, size).part(part, parts) for rank in range(size) for part in range(parts)]
    rows = [share.rows(batch).tolist() for share in shares]
    assert sorted(row for each in rows for row in each) == list(range(batch))
    if batch % (size * parts) == 0:
        assert {len(each) for each in rows} == {batch // (size * parts)}


@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize(("size", "parts"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_a_shares_batch_is_its_rows_of_the_whole_batch(supervised: bool, size: int, parts: int) -> None:
    both = people(supervised)
    numbers = _draw(both, CONFIG, torch.Generator().manual_seed(5))
    whole_numbers = iter(numbers)
    whole = [_batch(portraits, whole_numbers) for portraits in both]
    for rank in range(size):
        for part in range(parts):
            share = Share(rank, size).part(part, parts)
            own = iter(_shared(numbers, both, share))
            for portraits, expected in zip(both, whole, strict=True):
                for found, wanted in zip(_batch(portraits, own), expected, strict=True):
                    assert torch.equal(found, wanted[share.rows(CONFIG.batch)])
            assert next(own, None) is None


@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize("parts", [2, 4])
def test_a_step_in_parts_is_the_step_in_one(supervised: bool, parts: int) -> None:
    one, several = (fresh_pair(NET, GOLDEN, CPU) for _ in range(2))
    whole = list(train_pair(one, people(supervised), GOLDEN))
    steps = list(train_pair(several, people(supervised), GOLDEN, how=Parallel(accumulate=parts)))
    assert torch.equal(one.generator.get_state(), several.generator.get_state())
    for a, b in zip(whole, steps, strict=True):
        assert b.losses == pytest.approx(a.losses, rel=2e-4)
    for a, b in zip(one.averaged.parameters(), several.averaged.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)


def test_batches_that_cannot_be_shared_equally_are_refused() -> None:
    assert sizes_for(8) == [8, 4, 2, 1]
    assert sizes_for(8, 2) == [4, 2, 1]
    assert Parallel().sizes(8, 3) == [2, 1]
    assert Parallel().sizes(8, 100) == [8, 4, 2, 1]
    assert Parallel(ranks=4, fewest=2).sizes(8, 1) == [4, 2]
    with pytest.raises(ValueError, match="3 ranks can't share a batch of 8 equally in 1 parts each; these can: 8, 4, 2, 1"):
        Parallel(ranks=3).sizes(8, 3)
    with pytest.raises(ValueError, match="5 equal parts"):
        Parallel(accumulate=5).sizes(8, 1)
    with pytest.raises(ValueError, match="share a batch of 4"):
        next(train_pair(fresh_pair(NET, CONFIG, CPU), people(), CONFIG, how=Parallel(accumulate=3)))
    for wrong in ({"ranks": 0}, {"accumulate": 0}, {"fewest": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Parallel(**wrong)


def test_one_process_is_a_team_without_a_network() -> None:
    with joined(CPU, environment={"RANK": "0", "WORLD_SIZE": "1"}) as team:
        assert team == ALONE
    assert WHOLE.rows(3).tolist() == [0, 1, 2]
    assert ALONE.any(True) is True
    assert ALONE.any(False) is False


# --- with processes ---------------------------------------------------------------------------------------------------------


def together(work: Callable[..., None], size: int, folder: Path) -> list[Any]:
    """What `work(team, rank, folder)` saves in each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_rank, args=(work, rank, size, port, folder)) for rank in range(size)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    assert [each.exitcode for each in ranks] == [0] * size
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


def _rank(work: Callable[..., Any], rank: int, size: int, port: str, folder: Path) -> None:
    import os

    torch.set_num_threads(1)
    own = {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update(own)
    with joined(CPU) as team:
        torch.save(work(team), folder / f"{rank}.pt")


def _trained(team: Any) -> Any:
    state = fresh_pair(NET, GOLDEN, CPU)
    steps = list(train_pair(state, people(), GOLDEN, team=team))
    return state.averaged.state_dict(), [step.losses for step in steps], state.generator.get_state()


def _stopped(team: Any) -> Any:
    state = fresh_pair(NET, GOLDEN, CPU)
    # Only rank 1 is asked to, and only after step 3.
    return [step.number for step in train_pair(state, people(), GOLDEN, lambda: team.rank == 1 and state.step >= 3, team)]


@pytest.mark.slow
def test_two_ranks_take_the_steps_of_one_process(tmp_path: Path) -> None:
    first, second = together(_trained, 2, tmp_path)
    alone = _trained(ALONE)
    assert all(torch.equal(a, b) for a, b in zip(first[0].values(), second[0].values(), strict=True)), "the ranks agree to the bit"
    assert first[1] == second[1]
    assert torch.equal(first[2], alone[2])
    for a, b in zip(alone[1], first[1], strict=True):
        assert b == pytest.approx(a, rel=2e-4)
    for name, value in alone[0].items():
        torch.testing.assert_close(first[0][name], value, atol=2e-3, rtol=0)


def _sharded(team: Any) -> Any:
    state = fresh_pair(NET, GOLDEN, CPU)
    whole_bytes = sum(value.numel() for value in state.net.parameters())
    shard(state, GOLDEN, team.size)
    own_bytes = sum(local(value).numel() for value in state.net.parameters())
    steps = list(train_pair(state, people(), GOLDEN, lambda: state.step >= 4, team))
    kept = state.state_dict()
    # Half of the steps, then from what was saved: as without the pause.
    again = fresh_pair(NET, GOLDEN, CPU)
    shard(again, GOLDEN, team.size)
    again.load_state_dict(kept)
    steps += train_pair(again, people(), GOLDEN, team=team)
    return again.state_dict(), [step.losses for step in steps], own_bytes / whole_bytes


@pytest.mark.slow
def test_shards_on_two_ranks_are_the_training_of_one_process(tmp_path: Path) -> None:
    first, second = together(_sharded, 2, tmp_path)
    alone, losses, _ = _trained(ALONE)
    assert first[2] == pytest.approx(0.5, abs=0.02)
    assert first[0]["average"].keys() == second[0]["average"].keys()
    for a, b in zip(losses, first[1], strict=True):
        assert b == pytest.approx(a, rel=2e-4)
    single = fresh_pair(NET, GOLDEN, CPU)
    single.load_state_dict(first[0])
    for name, value in alone.items():
        torch.testing.assert_close(single.averaged.state_dict()[name], value, atol=2e-3, rtol=0)


def _compiled(team: Any) -> Any:
    state = fresh_pair(NET, GOLDEN, CPU)
    return [step.losses for step in train_pair(state, people(), GOLDEN, team=team, how=Parallel(compile=True))]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.skipif(" " in sys.prefix, reason="torch's compiler does not work where its own path has a blank in it")
def test_a_compiled_network_learns_the_same(tmp_path: Path) -> None:
    """In a process of its own: the checks of types in tests are not for compilers."""
    [losses] = together(_compiled, 1, tmp_path)
    for a, b in zip(_trained(ALONE)[1], losses, strict=True):
        assert b == pytest.approx(a, rel=1e-3)


@pytest.mark.slow
def test_ranks_stop_at_the_same_step(tmp_path: Path) -> None:
    first, second = together(_stopped, 2, tmp_path)
    assert first == second
    assert first[-1] == 3
