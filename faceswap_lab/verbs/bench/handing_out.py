"""The benchmark as folders for other tools: its pairs as pictures with a manifest, and results in CASIA's layout."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from faceswap_lab.actors.tracks import TONE, VERSION, TrackPair
from faceswap_lab.errors import MediaError
from faceswap_lab.faces.frame import Image
from faceswap_lab.files import lab_root
from faceswap_lab.progress import Progress
from faceswap_lab.trust.export_pictures import ActorPicture, export_pictures
from faceswap_lab.verbs.bench.folder import casia_name
from faceswap_lab.verbs.bench.scored_pair import pairs_in
from faceswap_lab.verbs.recipes import BenchRecipe

UNTRAINED = frozenset({"copy", "truth", "warp"})


def write_pairs(recipe: BenchRecipe, path: Path) -> Path:
    """Write every source picture and target frame of the recipe's pairs as PNG into the new folder `path`; returns it.

    `manifest.json` lists the pairs: which pictures show the source, which target gets the face, and under which name the result is
    looked for. The pictures are marked, and the export is logged. MediaError for a folder with other files in it.
    """
    pairs = pairs_in(recipe)
    facts = {"benchmark": VERSION, "plan": recipe.plan, "tone": TONE, "pairs": [_pair(pair) for pair in pairs]}
    shown = {seeds for pair in pairs for seeds in ((pair.source, pair.source), (pair.target, pair.target))}
    return export_pictures(_inputs(pairs), path, run="", pairs=shown, facts=facts, root=lab_root()).path


Pictures = Callable[[TrackPair], Mapping[str, Sequence[Image]]]
"""The kept pictures of a pair: see `BenchRun.pictures`."""


def write_results(recipe: BenchRecipe, pictures: Pictures, path: Path, *, run: str, root: Path) -> Path:
    """See `BenchRun.export_results`. MediaError if the recipe has no track that CASIA's layout knows."""
    pairs, methods = [pair for pair in pairs_in(recipe) if pair.track != "video"], recipe.methods
    if not pairs or not methods:
        raise MediaError(
            expected="results of the lab's methods on a track of pictures",
            got=f"the tracks {', '.join(recipe.tracks)} and the methods {', '.join(methods) or 'of a folder only'}",
            remedy="score other tracks or methods",
        )
    facts = {"benchmark": VERSION, "plan": recipe.plan, "tone": TONE}
    swaps = {(pair.source, pair.target) for pair in pairs}
    return export_pictures(_results(pictures, pairs, methods), path, run=run, pairs=swaps, facts=facts, root=root).path


def source_names(pair: TrackPair) -> list[str]:
    """The files that show a pair's source."""
    return [f"sources/{pair.name}-{number}.png" for number in range(len(pair.shown()))]


def _pair(pair: TrackPair) -> dict[str, Any]:
    casia = {} if pair.track == "video" else {"casia": casia_name(pair)}
    return {
        "name": pair.name,
        "track": pair.track,
        "source": pair.source,
        "target": pair.target,
        "sources": source_names(pair),
        "targets": [f"targets/{picture}.png" for picture in pair.pictures],
        "results": [f"{picture}.png" for picture in pair.pictures],
        "size": pair.size,
    } | casia


def _inputs(pairs: Sequence[TrackPair]) -> Iterator[ActorPicture]:
    line = Progress("pairs", len(pairs), unit="pairs")
    for done, pair in enumerate(pairs, 1):
        for name, (take, index) in zip(source_names(pair), pair.shown(), strict=True):
            yield ActorPicture(name=name, image=take.rendered(index).image, source=pair.source, target=pair.source)
        take = pair.take()
        for picture, index in zip(pair.pictures, pair.frames, strict=True):
            image = take.rendered(index).image
            yield ActorPicture(name=f"targets/{picture}.png", image=image, source=pair.target, target=pair.target)
        line.update(done)
    line.close()


def _results(pictures: Pictures, pairs: Sequence[TrackPair], methods: Sequence[str]) -> Iterator[ActorPicture]:
    for pair in pairs:
        kept = pictures(pair)
        for method in methods:
            yield ActorPicture(
                name=f"swap_results/{method.replace(':', '-').replace('/', '-')}/{casia_name(pair)}",
                image=kept[f"by {method}"][0],
                source=pair.source,
                target=pair.target,
                trained=method not in UNTRAINED,
            )
