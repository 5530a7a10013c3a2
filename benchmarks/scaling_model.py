"""How fast training would get on several nodes: step time, efficiency and speed-up at 10, 25, 100 and 400 Gbit/s, from a model.

    python benchmarks/scaling_model.py                    the arithmetic with a step of 30 ms
    python benchmarks/scaling_model.py --compute-ms 12    with a step that was measured elsewhere
    python benchmarks/scaling_model.py --measure          with a step measured on this machine
    python benchmarks/scaling_model.py --quick            the arithmetic for 2 and 8 nodes only

The network is built to count its parameters; nothing is sent anywhere. `faceswap_lab.compute.costs.scaling` says what the model
knows and what it doesn't. Beside it stands what the article on face swapping in the cloud claims: 72 hours on one node, 18 on
eight. Ends with one line of JSON.
"""

import faceswap_lab  # noqa: F401 (before torch: it sets how torch's threads wait)

# isort: split
import argparse
import json
import platform
import statistics
import time

import torch

from faceswap_lab.compute.costs.scaling import BYTES_FP32, NETWORKS_GBIT_S, StepModel, table
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.models.training.pair import PairTraining

CLAIM_HOURS, CLAIM_NODES = (72.0, 18.0), 8
GOAL = 0.9
SAMPLES = PairTraining().samples_per_step
NODES = (1, 2, 4, 8, 16)


def parameters(size: int, width: int) -> int:
    """Trainable parameters of a pair network, all of whose gradients are averaged."""
    return sum(each.numel() for each in PairNet(PairNetConfig(size=size, width=width)).parameters())


def step_seconds(size: int, width: int, steps: int) -> float:
    """The median of a few steps on ready tensors, forward, backward and update, on this machine's processor or GPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = PairNet(PairNetConfig(size=size, width=width)).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4)
    pictures = torch.rand(SAMPLES // 2, 3, size, size, device=device)
    seconds = []
    for number in range(steps + 2):
        start = time.perf_counter()
        loss = sum((net(pictures, person)[:, :3] - pictures).abs().mean() for person in (0, 1))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= 2:  # the first are slower: memory is taken, kernels are chosen
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def print_table(model: StepModel, nodes: tuple[int, ...]) -> None:
    print(f"{'nodes':>5} " + "".join(f"{gbit_s:>22g} Gbit/s" for gbit_s in NETWORKS_GBIT_S))
    rows = table(model, nodes)
    for count in nodes:
        cells = [row for row in rows if row["nodes"] == count]
        print(
            f"{count:>5} "
            + "".join(f"{each['step_ms']:>12.2f} ms {each['efficiency']:>5.0%} {each['speed_up']:>6.2f}x" for each in cells)
        )


def print_goal(model: StepModel, count: int) -> dict[str, float]:
    """Which network and which size of model reach 90 % on 8 nodes."""
    print(f"\nlargest model that keeps {GOAL:.0%} on {CLAIM_NODES} nodes, {1e3 * model.compute_s:.4g} ms of computing a step:")
    largest = {f"{gbit_s:g}": model.most_gradient_bytes(CLAIM_NODES, gbit_s, GOAL) for gbit_s in NETWORKS_GBIT_S}
    for name, size in largest.items():
        print(
            f"  {name:>4} Gbit/s: {size / 1e6:>10.1f} MB of gradients = {size / BYTES_FP32 / 1e6:>8.2f} million parameters (fp32)"
        )
    print(f"this model ({count / 1e6:.2f} million) needs {model.least_gbit_s(CLAIM_NODES, GOAL):.1f} Gbit/s")
    return largest


def claim_bytes(model: StepModel, gbit_s: float) -> float:
    """The gradients with which 8 nodes are just as efficient as the article claims."""
    return model.most_gradient_bytes(CLAIM_NODES, gbit_s, CLAIM_HOURS[0] / CLAIM_HOURS[1] / CLAIM_NODES)


def print_claim(model: StepModel) -> None:
    alone, together = CLAIM_HOURS
    share = f"{alone / together / CLAIM_NODES:.0%}"
    print(f"\nthe article: {alone:g} h to {together:g} h on {CLAIM_NODES} nodes = {alone / together:g} times, {share}")
    for gbit_s in NETWORKS_GBIT_S:
        hours, size = alone / model.speed_up(CLAIM_NODES, gbit_s), claim_bytes(model, gbit_s) / 1e6
        print(f"  {gbit_s:>4g} Gbit/s: ours {hours:>5.1f} h; {share} is what {size:,.0f} MB of gradients would reach")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 and 8 nodes only; with --measure fewer steps")
    parser.add_argument("--measure", action="store_true", help="measure the step on this machine")
    parser.add_argument("--compute-ms", type=float, default=30.0, help="milliseconds of one step on one node; default: 30, assumed")
    parser.add_argument("--latency-us", type=float, default=20.0, help="of one message; default: 20")
    parser.add_argument("--overlap", type=float, default=0.0, help="share of the exchange hidden behind computing; default: 0")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--width", type=int, default=32)
    options = parser.parse_args()
    count = parameters(options.size, options.width)
    seconds = options.compute_ms / 1e3
    if options.measure:
        seconds = step_seconds(options.size, options.width, 3 if options.quick else 10)
    model = StepModel(
        compute_s=seconds, gradient_bytes=count * BYTES_FP32, latency_s=options.latency_us / 1e6, overlap=options.overlap
    )
    how = "measured here" if options.measure else "given, not measured"
    network = f"pair network, {options.size} pixels, width {options.width}"
    print(f"{network}: {count:,} parameters = {model.gradient_bytes / 1e6:.2f} MB (fp32)")
    print(f"computing {1e3 * seconds:.2f} ms a step of {SAMPLES} samples ({how})\n")
    print_table(model, (2, 8) if options.quick else NODES)
    print(f"\n{CLAIM_NODES} nodes at 10 Gbit/s:\n{model.explained(CLAIM_NODES, 10.0)}")
    largest = print_goal(model, count)
    print_claim(model)
    figures = {
        "parameters": count,
        "compute_ms": round(1e3 * seconds, 3),
        "measured": options.measure,
        "efficiency_8": {f"{gbit_s:g}": round(model.efficiency(CLAIM_NODES, gbit_s), 4) for gbit_s in NETWORKS_GBIT_S},
        "speed_up_8": {f"{gbit_s:g}": round(model.speed_up(CLAIM_NODES, gbit_s), 2) for gbit_s in NETWORKS_GBIT_S},
        "largest_mb_90": {name: round(size / 1e6, 2) for name, size in largest.items()},
        "least_gbit_s_90": round(model.least_gbit_s(CLAIM_NODES, GOAL), 2),
    }
    print(json.dumps({"name": "scaling_model", "machine": platform.platform(), "figures": figures, "bars": {}}))


if __name__ == "__main__":
    main()
