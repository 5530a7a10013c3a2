"""The scaling model: a ring simulated message by message as oracle, its limits, and the way back from efficiency to size."""

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceswap_lab.compute.costs.scaling import StepModel, exchanged_bytes, table

NODES = st.integers(2, 64)
GBIT_S = st.floats(1, 800)
MODELS = st.builds(
    StepModel,
    compute_s=st.floats(1e-3, 10),
    gradient_bytes=st.floats(1e3, 1e10),
    latency_s=st.floats(0, 1e-4),
    overlap=st.floats(0, 1),
)


def ring(nodes: int, chunks: int) -> list[int]:
    """Chunks that each node sends until all have the sum, by passing them on in a ring: first the sums, then the results."""
    have = [[{node} for _ in range(chunks)] for node in range(nodes)]
    sent = [0] * nodes
    for phase in range(2 * (nodes - 1)):
        moved = [(node, (node - phase) % nodes) for node in range(nodes)]
        passed = [set(have[node][chunk]) for node, chunk in moved]
        for (node, chunk), what in zip(moved, passed, strict=True):
            sent[node] += 1
            have[(node + 1) % nodes][chunk] |= what
    assert all(len(chunk) == nodes for node in have for chunk in node), "every node has the sum of every chunk"
    return sent


@pytest.mark.parametrize("nodes", [2, 3, 4, 8, 13])
def test_the_bytes_are_those_of_a_ring_passed_message_by_message(nodes: int) -> None:
    """With gradients of one byte a chunk and a chunk a node."""
    assert ring(nodes, nodes) == pytest.approx([exchanged_bytes(nodes, nodes)] * nodes)
    model = StepModel(compute_s=1, gradient_bytes=nodes, latency_s=1)
    assert model.exchange_s(nodes, 1e9) == pytest.approx(ring(nodes, nodes)[0]), "one latency a message"


@given(MODELS, NODES, GBIT_S)
def test_the_speed_up_is_between_nothing_and_perfect(model: StepModel, nodes: int, gbit_s: float) -> None:
    assert 0 < model.speed_up(nodes, gbit_s) <= nodes * (1 + 1e-12)
    assert model.efficiency(1, gbit_s) == 1
    assert model.step_s(nodes, gbit_s) >= max(model.compute_s, model.exchange_s(nodes, gbit_s)) * (1 - 1e-12)


@given(MODELS, NODES, GBIT_S, st.floats(1, 10))
def test_a_faster_network_a_longer_step_and_more_overlap_never_hurt(
    model: StepModel, nodes: int, gbit_s: float, times: float
) -> None:
    before = model.efficiency(nodes, gbit_s)
    longer = StepModel(
        compute_s=model.compute_s * times,
        gradient_bytes=model.gradient_bytes,
        latency_s=model.latency_s,
        overlap=min(1.0, model.overlap * times),
    )
    assert model.efficiency(nodes, gbit_s * times) >= before - 1e-12
    assert longer.efficiency(nodes, gbit_s) >= before - 1e-12


@given(MODELS, NODES, GBIT_S, st.floats(0.05, 0.99))
def test_the_largest_gradients_reach_just_the_efficiency(model: StepModel, nodes: int, gbit_s: float, efficiency: float) -> None:
    largest = model.most_gradient_bytes(nodes, gbit_s, efficiency)
    if largest > 1:
        at = StepModel(compute_s=model.compute_s, gradient_bytes=largest, latency_s=model.latency_s, overlap=model.overlap)
        assert at.efficiency(nodes, gbit_s) == pytest.approx(efficiency, rel=1e-6)


@given(MODELS, NODES, st.floats(0.05, 0.99))
def test_the_slowest_network_reaches_just_the_efficiency(model: StepModel, nodes: int, efficiency: float) -> None:
    slowest = model.least_gbit_s(nodes, efficiency)
    if 1e-9 < slowest < math.inf:
        assert model.efficiency(nodes, slowest) == pytest.approx(efficiency, rel=1e-6)


def test_a_step_by_hand() -> None:
    """100 MB on 8 nodes at 10 Gbit/s: 2 x 7/8 x 100 = 175 MB, 140 ms; beside 60 ms of computing that is 30 %."""
    model = StepModel(compute_s=0.06, gradient_bytes=1e8, latency_s=0)
    assert model.exchange_s(8, 10) == pytest.approx(0.14)
    assert model.efficiency(8, 10) == pytest.approx(0.3)
    assert model.speed_up(8, 10) == pytest.approx(2.4)
    assert model.most_gradient_bytes(8, 10) == pytest.approx(1e8 * (0.06 / 9) / 0.14)
    text = model.explained(8, 10)
    assert "2 x 7 / 8 x 100.00 MB = 175.00 MB" in text
    assert "140.000 ms" in text
    assert "30.0%" in text


def test_latency_alone_can_be_too_long() -> None:
    model = StepModel(compute_s=1e-3, gradient_bytes=1, latency_s=1e-2)
    assert model.most_gradient_bytes(8, 400) == 0
    assert model.least_gbit_s(8) == math.inf
    assert model.most_gradient_bytes(1, 10) == math.inf
    assert model.least_gbit_s(1) == 0


def test_the_table_has_a_row_for_each_pair_and_the_curve_agrees() -> None:
    model = StepModel(compute_s=0.1, gradient_bytes=1e7)
    rows = table(model, [1, 8], [10, 100])
    assert [(row["nodes"], row["gbit_s"]) for row in rows] == [(1, 10), (1, 100), (8, 10), (8, 100)]
    assert model.curve([1, 8], 100) == {1: 1.0, 8: pytest.approx(rows[-1]["speed_up"])}


def test_the_benchmark_counts_the_network_and_prints_the_claim(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import scaling_model

    monkeypatch.setattr("sys.argv", ["scaling_model.py", "--quick", "--size", "32", "--width", "4", "--compute-ms", "5"])
    scaling_model.main()
    text = capsys.readouterr().out
    figures = json.loads(text.splitlines()[-1])["figures"]
    width, side, code = [4, 8, 16, 24], 2, 256
    encoder = 3 * 4 * 25 + 4 + sum(9 * a * b + b for a, b in pairwise(width)) + 2 * 24 * side**2 * code + code + 24 * side**2
    ups = [*pairwise([24, 16, 8, 4, 2])]
    mixes = [2 * (9 * b * b + b) for _, b in ups]
    joins = [a * b + b for a, b in [(16, 16), (8, 8), (4, 4)]] + [9 * 3 * 2 + 2]
    decoder = sum(9 * a * 4 * b + 4 * b for a, b in ups) + sum(mixes) + sum(joins) + 9 * 2 * 4 + 4
    assert figures["parameters"] == encoder + 2 * decoder
    model = StepModel(compute_s=0.005, gradient_bytes=4 * figures["parameters"])
    assert figures["speed_up_8"]["25"] == pytest.approx(model.speed_up(8, 25), abs=0.01)
    assert not figures["measured"]
    assert "72 h to 18 h on 8 nodes = 4 times, 50%" in text


@pytest.mark.parametrize("change", [{"compute_s": 0}, {"gradient_bytes": -1}, {"latency_s": -1}, {"overlap": 1.1}])
def test_a_model_that_cannot_be_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        StepModel(**{"compute_s": 1.0, "gradient_bytes": 1.0} | change)
