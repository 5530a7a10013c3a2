"""Make the example that the demo shows before anybody asks, for the usual actors: `.venv/bin/python docs/make_demo_example.py`.

A swap of one actor onto another's performance with the true answer and the scores: exported, so marked, by the demo's own desk.
To be run again when the version or the one-shot swapper changes; a test says when.
"""

import json
import shutil
import tempfile
from pathlib import Path

from faceswap_lab.serve.desk import Desk
from faceswap_lab.serve.site.gallery import performances
from faceswap_lab.serve.site.results import SHIPPED, make_example, name_of_example


def main() -> None:
    """Make the files anew and replace the shipped ones."""
    with tempfile.TemporaryDirectory() as folder, Desk(Path(folder) / "demo", warm=0) as desk:
        given = list(desk.sources.values())
        source, take = given[0].name, performances(given)[0]
        made = Path(folder) / "example"
        made.mkdir()
        card = made / name_of_example(desk.swapper, source, take)
        make_example(desk, source, take, card)
        parts = json.loads(card.read_text(encoding="utf-8"))
        card.write_text(json.dumps(parts | {"about": f"{source} on {take.key}. Made ahead, with this version."}, indent=1) + "\n")
        shutil.rmtree(SHIPPED, ignore_errors=True)
        shutil.copytree(made, SHIPPED)
    print("\n".join(f"{path.stat().st_size:9,} {path}" for path in sorted(SHIPPED.iterdir())))


if __name__ == "__main__":
    main()
