# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why truth? Reconstruction rises while the swap gets worse
#
# Who trains a swapper of two people without a true answer watches one thing: how well each decoder redraws its own person. That
# score rises all the time. Whether the *swap* gets better, nobody can see, because nobody has filmed one person's performance with
# another's face. With actors it can be rendered. Here four trainings of the same two actors, on the same pictures, are scored on
# both, on views that none of them has learned from:
#
# - **classic**: the common recipe. One encoder, a decoder for each person, each learns from its own person's warped pictures;
# - **normalised**: the same, with mean and contrast of each picture taken out before the encoder, one line of code;
# - **supervised**: the network of *classic*, but each decoder is shown what the true swap of a picture is;
# - **with skips**: supervised too, with skip connections, which without truth would only learn to copy. `lab.train` does this.
#
# About a quarter of an hour of one CPU core's work, several times that on a machine that is shared; smoke takes a minute of one
# core, and nothing is learned.

# %% tags=["parameters"]
recipe: str = "small"  # "small", or "smoke": everything runs in a minute or two and nothing is learned
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"
source: int = 7  # seeds of the two actors; these two differ in skin tone, where the trap is widest
target: int = 30
steps: int = 0  # of each training; 0: the recipe's own

# %%
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

import faceswap_lab as lab
from faceswap_lab.models import device as devices
from faceswap_lab.models import metrics
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.training.pair import Portraits, fresh_pair, train_pair
from faceswap_lab.progress import Progress
from faceswap_lab.verbs.train import crops
from faceswap_lab.views import figures

settings = {"smoke": lab.recipes.smoke(), "small": lab.recipes.pair(600, size=64, num_views=120)}[recipe]
settings = settings.with_(supervision="truth", **({"train__steps": steps} if steps else {}))
num_unseen, num_looks = (4, 3) if recipe == "smoke" else (32, 15)
# A constant rate, so that the end of the training is no special time.
config = replace(settings.train, learning_rate=5e-4, schedule="constant", report_every=max(1, settings.train.steps // num_looks))
where = devices.pick(device)
hero, double = lab.actor(source), lab.actor(target)

# %% [markdown]
# ## The pictures
# Crops of both, each with its truth, as `lab.train` gathers them; and others from performances with other seeds, for the scores.
# The source gives the face, so the decoder that counts is the one that draws it.


# %%
def gathered(num_views: int, seed: int) -> tuple[Portraits, Portraits]:
    """Crops of both people in performances from this seed on."""
    asked = replace(settings, data=replace(settings.data, num_views=num_views, seed=seed))
    line = Progress("crops", 2 * num_views, unit="views")
    try:
        return crops.gather(asked, hero, double, OfflineEngine(), line)
    finally:
        line.close()


learned, unseen = gathered(settings.data.num_views, settings.data.seed), gathered(num_unseen, 5000)[0]


def pictures(stack: torch.Tensor) -> list[np.ndarray]:
    """A stack of pictures, channels last."""
    return [np.ascontiguousarray(each) for each in stack.permute(0, 2, 3, 1).numpy()]


own, own_masks = pictures(unseen.self_images), pictures(unseen.self_masks)
targets, truths, masks = pictures(unseen.inputs), pictures(unseen.targets), pictures(unseen.target_masks)
shown = np.linspace(0, len(targets) - 1, 4).astype(int)
figures.comparison({"target": [targets[n] for n in shown[:2]], "its true swap": [truths[n] for n in shown[:2]]})

# %% [markdown]
# ## Train, and look at both scores
# Inside the face, in the aligned crop. *Reconstruction*: the source's own unseen pictures, redrawn. *Swap*: unseen pictures of the
# target, against the truth. *Calibrated*: the swap after the best gain and offset for each channel, which forgives light and tone
# and leaves errors of shape. *Sharpness*: gradient energy in eyes and mouth over the truth's.


# %%
def drawn(net: torch.nn.Module, stack: torch.Tensor) -> list[np.ndarray]:
    """What the source's decoder makes of pictures."""
    with torch.inference_mode():
        made = net(stack.to(where).float().div(255), 0)[:, :3]
    return pictures(made.float().mul(255).round().clamp(0, 255).byte().cpu())


def mean(
    metric: Callable[..., float], one: list[np.ndarray], two: list[np.ndarray], masks: list[np.ndarray], channel: int = 0
) -> float:
    """A metric's mean over pairs of pictures, inside the face (channel 0 of the masks) or in eyes and mouth (1)."""
    return float(np.mean([metric(*each[:2], each[2][..., channel] > 127) for each in zip(one, two, masks, strict=True)]))


def scored(net: torch.nn.Module) -> dict[str, float]:
    """The scores of a network as it is."""
    again, swapped = drawn(net, unseen.self_images), drawn(net, unseen.inputs)
    return {
        "reconstruction": mean(metrics.psnr, again, own, own_masks),
        "swap": mean(metrics.psnr, swapped, truths, masks),
        "calibrated": mean(metrics.psnr_calibrated, swapped, truths, masks),
        "ssim": mean(metrics.ssim, swapped, truths, masks),
        "sharpness": mean(metrics.sharpness, swapped, truths, masks, 1),
    }


def without_truth(portraits: Portraits) -> Portraits:
    """The same pictures, and nothing of what a swap of them would be."""
    return replace(portraits, inputs=None, targets=None, target_masks=None)


blind = (without_truth(learned[0]), without_truth(learned[1]))
plain = replace(settings.net, skips=False, normalise=False)
kinds = {
    "classic": (plain, blind),
    "normalised": (replace(plain, normalise=True), blind),
    "supervised": (plain, learned),
    "with skips": (replace(plain, skips=True), learned),
}
curves: dict[str, dict[int, dict[str, float]]] = {}
results, seconds = {}, {}
for name, (net, people) in kinds.items():
    state = fresh_pair(net, config, where)
    line = Progress(name, config.steps, unit="steps")
    curves[name] = {}
    for step in train_pair(state, people, config):
        curves[name][step.number] = scored(state.averaged)
        line.update(step.number, f"swap {curves[name][step.number]['swap']:.1f} dB")
    seconds[name] = round(line.close(), 1)
    results[name] = drawn(state.averaged, unseen.inputs)
numbers = list(curves["classic"])

# %% [markdown]
# ## What is watched, and what is true
# The classic recipe: reconstruction, which everybody watches, and the swap, which only truth shows.


# %%
def over_steps(name: str, score: str) -> list[float]:
    """A score at each look."""
    return [float(found[score]) for found in curves[name].values()]


floor = mean(metrics.psnr, targets, truths, masks)
figures.lines(
    numbers,
    {
        "reconstruction": over_steps("classic", "reconstruction"),
        "swap, calibrated": over_steps("classic", "calibrated"),
        "swap": over_steps("classic", "swap"),
        "not swapped": [floor] * len(numbers),
    },
    ylabel="classic: PSNR, dB",
)

# %% [markdown]
# ## The swap under each recipe

# %%
figures.lines(numbers, {name: over_steps(name, "swap") for name in kinds}, ylabel="swap: PSNR to the truth, dB")

# %%
columns = {"target": targets, **results, "true swap": truths}
figures.comparison({name: [column[number] for number in shown] for name, column in columns.items()})

# %% [markdown]
# ## The figures

# %%
best = {name: max(over_steps(name, "swap")) for name in kinds}
last = {name: found[numbers[-1]] for name, found in curves.items()}
print(f"{'':12}{'reconstruction':>15}{'swap':>8}{'at best':>9}{'calibrated':>12}{'SSIM':>7}{'sharpness':>11}")
for name, found in last.items():
    print(
        f"{name:12}{found['reconstruction']:12.1f} dB{found['swap']:5.1f} dB{best[name]:6.1f} dB{found['calibrated']:9.1f} dB"
        f"{found['ssim']:7.3f}{found['sharpness']:11.2f}"
    )
print(f"{'not swapped':12}{'':15}{floor:5.1f} dB; {len(targets)} unseen views")

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

rise = last["classic"]["reconstruction"] - over_steps("classic", "reconstruction")[0]
drift = best["classic"] - last["classic"]["swap"]
gap = last["supervised"]["swap"] - last["classic"]["swap"]
emit_summary(
    {
        "found": f"classic: reconstruction rose by {rise:.1f} dB after the first look, the true swap ended {drift:.1f} dB below "
        f"its best; the same network, shown the truth, ended {gap:.1f} dB above it",
        "why_truth": {name: {score: round(value, 3) for score, value in found.items()} for name, found in last.items()},
        "best_swap": {name: round(value, 2) for name, value in best.items()},
        "floor": round(floor, 2),
        "steps": config.steps,
        "looks": numbers,
        "over_steps": {
            score: {name: [round(value, 2) for value in over_steps(name, score)] for name in kinds}
            for score in ("reconstruction", "swap", "calibrated")
        },
        "people": [hero.subject, double.subject],
        "views": [len(learned[0].self_images), len(learned[1].self_images), len(targets)],
        "seconds": seconds,
        "device": devices.describe(where),
    }
)
