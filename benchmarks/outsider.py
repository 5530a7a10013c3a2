"""An outsider: a face moved by its five points and blended by OpenCV's seamlessClone, from files to files, as any other tool.

faceswap-lab bench --pairs-to pairs && python benchmarks/outsider.py pairs results
faceswap-lab bench --score results --score-as seamless_clone

python benchmarks/outsider.py            # all of that, in one call
python benchmarks/outsider.py --quick
"""

import argparse
import json
import platform
import tempfile
from pathlib import Path

import cv2
import numpy as np

from faceswap_lab.faces.face import largest
from faceswap_lab.faces.frame import Frame, Image, read_still, write_still
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.verbs.bench.bench import bench
from faceswap_lab.verbs.bench.handing_out import write_pairs
from faceswap_lab.verbs.recipes import BenchRecipe


def cloned(source: Image, target: Image, engine: OfflineEngine) -> Image:
    """The source's face on the target; the target where either has no face."""
    found = [largest(engine.detect(Frame(image=image, origin="outsider", index=0, time_s=0.0))) for image in (source, target)]
    if not all(map(len, found)):
        return target
    matrix, _ = cv2.estimateAffinePartial2D(found[0].keypoints[0], found[1].keypoints[0])
    moved = cv2.warpAffine(source, matrix, target.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    x1, y1, x2, y2 = found[1].boxes[0]
    mask = np.zeros(target.shape[:2], np.uint8)
    centre = (round(float(x1 + x2) / 2), round(float(y1 + y2) / 2))
    cv2.ellipse(mask, centre, (round(float(x2 - x1) * 0.42), round(float(y2 - y1) * 0.42)), 0, 0, 360, 255, -1)
    x, y, width, height = cv2.boundingRect(mask)
    return np.asarray(cv2.seamlessClone(moved, target, mask, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE))


def write_results(pairs: Path, results: Path) -> None:
    """Write a result for every target of the folder `pairs`."""
    engine = OfflineEngine()
    results.mkdir(parents=True, exist_ok=True)
    for pair in json.loads((pairs / "manifest.json").read_text())["pairs"]:
        source = read_still(pairs / pair["sources"][0])
        for target, result in zip(pair["targets"], pair["results"], strict=True):
            write_still(results / result, cloned(source, read_still(pairs / target), engine))


def main() -> None:
    """Make results for a folder of pairs; or, without one, write the pairs, make results and score them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="?", type=Path, help="a folder of `faceswap-lab bench --pairs-to`; none: all at once")
    parser.add_argument("results", nargs="?", type=Path, help="where results go")
    parser.add_argument("--quick", action="store_true", help="the plan smoke, whose scores mean nothing")
    options = parser.parse_args()
    if options.pairs is not None and options.results is not None:
        write_results(options.pairs, options.results)
        return
    recipe = BenchRecipe(
        plan="smoke" if options.quick else "quick", methods=(), judges="engine" if options.quick else "independent"
    )
    with tempfile.TemporaryDirectory() as folder:
        pairs, results = write_pairs(recipe, Path(folder) / "pairs"), Path(folder) / "results"
        write_results(pairs, results)
        told = bench(recipe, folder=results, name="seamless_clone").table
    found = {name: score["value"] for name, score in told["scores"]["seamless_clone"]["all"].items()}
    machine = f"{platform.processor() or platform.machine()}, OpenCV {cv2.__version__}"
    print(json.dumps({"name": "outsider", "machine": machine, "plan": recipe.plan, "scores": found, "bars": {}}))


if __name__ == "__main__":
    main()
