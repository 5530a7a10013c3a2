"""Scores of a one-shot network on draped examples of people that it was not trained on."""

from typing import Any

import numpy as np
import torch

from faceswap_lab.models import metrics
from faceswap_lab.models.oneshot.examples import Examples
from faceswap_lab.models.oneshot.net import OneshotNet
from faceswap_lab.models.training.oneshot import batch_of

_AT_ONCE = 8
_FEWEST_PIXELS = 400


def score_examples(net: OneshotNet, examples: Examples, limit: int = 400) -> dict[str, Any]:
    """Means over at most `limit` examples, spread evenly: PSNR, SSIM and sharpness of the pasted crop where the true swap changes
    it, and the floor, the untouched target. Of people of the split "val", by which settings were chosen: not a test."""
    numbers = np.unique(np.linspace(0, len(examples) - 1, min(limit, len(examples))).round().astype(np.int64))
    device = next(net.parameters()).device
    rows = []
    for start in range(0, len(numbers), _AT_ONCE):
        seen, truth, _ = batch_of(examples, numbers[start : start + _AT_ONCE], device)
        with torch.inference_mode():
            drawn = net.eval()(seen).float()
        pasted = drawn[:, 3:] * drawn[:, :3] + (1 - drawn[:, 3:]) * seen.target
        images = [_levels(batch) for batch in (pasted, seen.target, truth)]
        rows += [_row(*row) for row in zip(*images, strict=True)]
    known = [row for row in rows if row is not None]
    means = {name: round(float(np.mean([row[name] for row in known])), 4) for name in (known[0] if known else {})}
    return {"examples": len(known), **means}


def _row(pasted: np.ndarray, target: np.ndarray, truth: np.ndarray) -> dict[str, float] | None:
    region = metrics.changed_region(target, truth)
    if region.sum() < _FEWEST_PIXELS:
        return None
    found = {}
    for name, picture in (("", pasted), ("floor_", target)):
        found[f"{name}psnr"] = metrics.psnr(picture, truth, region)
        found[f"{name}ssim"] = metrics.ssim(picture, truth, region)
        found[f"{name}sharpness"] = metrics.sharpness(picture, truth, region)
    return found


def _levels(batch: torch.Tensor) -> list[np.ndarray]:
    return list((batch.clamp(0, 1) * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy())
