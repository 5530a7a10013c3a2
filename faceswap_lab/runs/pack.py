"""Making the pack of actors: pictures, detector, landmarks, recogniser, scores."""

import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from faceswap_lab.actors.splits import check_trainable
from faceswap_lab.models.pack_data import PackSets
from faceswap_lab.models.pack_render import make_part


def render_parts(sets: PackSets, missing: Mapping[str, range], folder: Path, *, workers: int) -> Iterator[tuple[str, Path]]:
    """Render these parts into `folder`, yielding the name and the file of each as it gets ready.

    Raises SplitError for a test person.
    """
    for seeds in missing.values():
        for seed in seeds:
            check_trainable(seed)
    places = {name: folder / Path(name).name for name in missing}
    if workers == 1:
        for name, seeds in missing.items():
            make_part(places[name], list(seeds), sets.num_views, sets.size)
            yield name, places[name]
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = {
            pool.submit(make_part, places[name], list(seeds), sets.num_views, sets.size): name for name, seeds in missing.items()
        }
        for task in as_completed(tasks):
            task.result()
            yield tasks[task], places[tasks[task]]
