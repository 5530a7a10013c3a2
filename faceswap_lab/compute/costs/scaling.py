"""How training gets faster with more nodes: a model from seconds of computing, bytes exchanged, latency and overlap.

Each node works on a batch of its own and all average their gradients by a ring: every node sends 2 (n - 1) messages of one n-th of
the gradients. The model knows of no stragglers, no congestion and no input that is too slow, nor that a larger batch may need more
samples: what is measured will lie below it. `faceswap-lab cost` takes a curve of it, or a measured one.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from faceswap_lab.compute.costs.pricing import require_positive

NETWORKS_GBIT_S = (10.0, 25.0, 100.0, 400.0)
"""Bandwidths of a node's link that the tables show."""

BYTES_FP32 = 4
BITS = 8.0
GIGA = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class StepModel:
    """One training step: `compute_s` seconds on one node, `gradient_bytes` to average, `latency_s` a message.

    `overlap` is the share of the exchange, 0..1, that can go on while gradients are still being computed; 0 is the cautious answer.
    """

    compute_s: float
    gradient_bytes: float
    latency_s: float = 20e-6
    overlap: float = 0.0

    def __post_init__(self) -> None:
        require_positive("compute_s", self.compute_s)
        require_positive("gradient_bytes", self.gradient_bytes)
        if not 0.0 <= self.latency_s < math.inf:
            raise ValueError(f"latency_s must not be negative, got {self.latency_s}")
        if not 0.0 <= self.overlap <= 1.0:
            raise ValueError(f"overlap must be within 0..1, got {self.overlap}")

    def exchange_s(self, nodes: int, gbit_s: float) -> float:
        """Seconds of the exchange itself, hidden or not."""
        require_positive("gbit_s", gbit_s)
        seconds = exchanged_bytes(nodes, self.gradient_bytes) * BITS / (gbit_s * GIGA)
        return seconds + 2 * (nodes - 1) * self.latency_s

    def step_s(self, nodes: int, gbit_s: float) -> float:
        """Seconds of one step. Computing hides `overlap` of the exchange, but no more than it takes itself."""
        exchange = self.exchange_s(nodes, gbit_s)
        return self.compute_s + exchange - min(self.overlap * exchange, self.compute_s)

    def efficiency(self, nodes: int, gbit_s: float) -> float:
        """Speed-up for each node, 0..1."""
        return self.compute_s / self.step_s(nodes, gbit_s)

    def speed_up(self, nodes: int, gbit_s: float) -> float:
        """Samples a second over those of one node."""
        return nodes * self.efficiency(nodes, gbit_s)

    def curve(self, nodes: Iterable[int], gbit_s: float) -> dict[int, float]:
        """Number of nodes to speed-up, as `pricing.choices` takes it."""
        return {each: self.speed_up(each, gbit_s) for each in nodes}

    def explained(self, nodes: int, gbit_s: float) -> str:
        """The arithmetic of one step, in lines."""
        sent, exchange = exchanged_bytes(nodes, self.gradient_bytes) / 1e6, 1e3 * self.exchange_s(nodes, gbit_s)
        compute, step = 1e3 * self.compute_s, 1e3 * self.step_s(nodes, gbit_s)
        hidden, efficiency = min(self.overlap * exchange, compute), self.efficiency(nodes, gbit_s)
        latency = f"2 x {nodes - 1} x {1e6 * self.latency_s:g} us"
        return "\n".join(
            (
                f"bytes sent by a node  2 x {nodes - 1} / {nodes} x {self.gradient_bytes / 1e6:.2f} MB = {sent:.2f} MB",
                f"exchange              {sent:.2f} MB x 8 / {gbit_s:g} Gbit/s + {latency} = {exchange:.3f} ms",
                f"hidden by computing   {self.overlap:g} x {exchange:.3f} ms, at most {compute:.3f} = {hidden:.3f} ms",
                f"step                  {compute:.3f} + {exchange:.3f} - {hidden:.3f} = {step:.3f} ms",
                f"efficiency            {compute:.3f} / {step:.3f} = {efficiency:.1%}",
                f"speed-up              {nodes} x {efficiency:.3f} = {self.speed_up(nodes, gbit_s):.2f}",
            )
        )

    # --- the other way round ----------------------------------------------------------------------------------------------------

    def most_exchange_s(self, efficiency: float) -> float:
        """The longest exchange with which a step still reaches this efficiency."""
        if not 0.0 < efficiency <= 1.0:
            raise ValueError(f"efficiency must be above 0 and at most 1, got {efficiency}")
        shown = self.compute_s * (1.0 / efficiency - 1.0)
        # What shows of an exchange e is the larger of (1 - overlap) e and e - compute_s.
        return min(shown / (1.0 - self.overlap) if self.overlap < 1.0 else math.inf, shown + self.compute_s)

    def most_gradient_bytes(self, nodes: int, gbit_s: float, efficiency: float = 0.9) -> float:
        """The largest gradients that this network still exchanges fast enough; 0 if latency alone is too long, inf for one node."""
        if nodes == 1:
            return math.inf
        seconds = self.most_exchange_s(efficiency) - 2 * (nodes - 1) * self.latency_s
        return max(0.0, seconds) * gbit_s * GIGA / BITS / exchanged_bytes(nodes, 1.0)

    def least_gbit_s(self, nodes: int, efficiency: float = 0.9) -> float:
        """The slowest network that is fast enough for these gradients; inf if latency alone is too long, 0 for one node."""
        if nodes == 1:
            return 0.0
        seconds = self.most_exchange_s(efficiency) - 2 * (nodes - 1) * self.latency_s
        return exchanged_bytes(nodes, self.gradient_bytes) * BITS / GIGA / seconds if seconds > 0.0 else math.inf


def exchanged_bytes(nodes: int, gradient_bytes: float) -> float:
    """What each node sends (and receives) in one ring all-reduce: 2 (n - 1) / n of the gradients."""
    if nodes < 1:
        raise ValueError(f"nodes must be at least 1, got {nodes}")
    return 2.0 * (nodes - 1) / nodes * gradient_bytes


def table(model: StepModel, nodes: Iterable[int], networks: Iterable[float] = NETWORKS_GBIT_S) -> list[dict[str, float]]:
    """A row for each number of nodes and network: step in milliseconds, efficiency and speed-up."""
    networks = tuple(networks)
    return [
        {
            "nodes": each,
            "gbit_s": gbit_s,
            "step_ms": 1e3 * model.step_s(each, gbit_s),
            "efficiency": model.efficiency(each, gbit_s),
            "speed_up": model.speed_up(each, gbit_s),
        }
        for each in nodes
        for gbit_s in networks
    ]
