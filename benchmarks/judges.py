"""What the judges can do on test actors: AUC, d', thresholds at a false-accept rate of 1 %, and how alike they err.

    .venv/bin/python benchmarks/judges.py            # 60 actors, 5 views each: a quarter of an hour on two cores
    .venv/bin/python benchmarks/judges.py --quick

Nothing is chosen here: alignments were chosen on validation actors. Pairs of two actors are all pairs of their pictures, so they
are not independent: a threshold at 1 % is known to a tenth.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from faceswap_lab.actors.splits import FIRST_TEST
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.judges import Recogniser, judges
from faceswap_lab.models.judges.thresholds import RULES, verdict
from faceswap_lab.models.pack.render import render_views
from faceswap_lab.progress import Progress

FIRST, VIEWS, SIZE = FIRST_TEST + 700_000, 5, 320
FALSE_ACCEPTS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A picture of an actor with the points that the offline engine found in it, and SFace's embedding."""

    seed: int
    image: Image
    points: np.ndarray
    sface: np.ndarray


def rendered(count: int) -> Iterator[Sample]:
    """The pictures in which a face was found, of `count` test actors who wear nothing."""
    engine, line = OfflineEngine(), Progress("test pictures", count * VIEWS, unit="pictures")
    for number in range(count * VIEWS):
        seed, view = FIRST + number // VIEWS, number % VIEWS
        (labelled,) = render_views(seed, [view], SIZE)
        frame = Frame(image=labelled.image, origin=f"actor:{seed}", index=view)
        found = engine.detect(frame)
        line.update(number + 1)
        if len(found):
            face = engine.embed(frame, found[0])
            assert face.embeddings is not None
            yield Sample(seed=seed, image=labelled.image, points=face.keypoints[0], sface=face.embeddings[0])
    line.close()


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Of all pairs of vectors."""
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray((unit @ unit.T)[np.triu_indices(len(unit), 1)])


def row(name: str, vectors: np.ndarray, same: np.ndarray, sface: np.ndarray) -> str:
    """One line of the table."""
    found, count = cosines(vectors), int(same.sum())
    auc = (rankdata(found)[same].sum() - count * (count + 1) / 2) / (count * int((~same).sum()))
    spread = np.sqrt((found[same].var() + found[~same].var()) / 2)
    threshold = float(np.quantile(found[~same], 1 - FALSE_ACCEPTS))
    figures = (auc, (found[same].mean() - found[~same].mean()) / spread, found[same].mean(), found[~same].mean(), threshold)
    told = " | ".join(f"{figure:.3f}" for figure in figures)
    alike = np.corrcoef(found[~same], sface[~same])[0, 1]
    return f"| {name} | {told} | {(found[same] >= threshold).mean():.2f} | {alike:.2f} |"


def rate_of(judge: Recogniser, vectors: np.ndarray, same: np.ndarray, domain: str) -> float:
    """The share of pairs of two actors that a rule takes for one person."""
    first, second = np.triu_indices(len(vectors), 1)
    pairs = [(int(one), int(two)) for one, two in zip(first[~same], second[~same], strict=True)]
    return float(np.mean([verdict(judge.name, vectors[one], vectors[two], domain).taken for one, two in pairs]))  # type: ignore[arg-type]


def table(samples: list[Sample]) -> None:
    """Print it."""
    seeds = np.array([sample.seed for sample in samples])
    first, second = np.triu_indices(len(seeds), 1)
    same = seeds[first] == seeds[second]
    print(f"{len(samples)} pictures of {len(set(seeds))} test actors from {FIRST}; {same.sum()} and {(~same).sum()} pairs")
    print(f"| recogniser | AUC | d' | same | different | threshold at {FALSE_ACCEPTS:.0%} | found at it | correlation with SFace |")
    print("|---|---|---|---|---|---|---|---|")
    sface = cosines(np.stack([sample.sface for sample in samples]))
    print(row("sface (selects)", np.stack([sample.sface for sample in samples]), same, sface))
    described = {each: np.stack([each.describe(s.image, s.points) for s in samples]) for each in judges()}
    for judge, vectors in described.items():
        print(row(f"{judge.name} ({judge.card.sha256[:8]})", vectors, same, sface))
    one, two = (cosines(vectors)[~same] for vectors in described.values())
    print(f"the two judges on pairs of two actors correlate by {np.corrcoef(one, two)[0, 1]:.2f}")
    for judge, vectors in described.items():
        for name, domain in RULES:
            if name == judge.name:
                rate = rate_of(judge, vectors, same, domain)
                print(f"{name}, {domain}: {RULES[name, domain]} takes {rate:.2%} of pairs of two actors for one")


def main() -> None:
    """Parse arguments, render, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="six actors: to see that it works")
    parser.add_argument("--actors", type=int, default=60)
    options = parser.parse_args()
    table(list(rendered(6 if options.quick else options.actors)))


if __name__ == "__main__":
    main()
