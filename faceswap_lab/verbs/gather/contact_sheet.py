"""The contact sheet of a faceset: everybody's faces, sorted by yaw, in one small picture."""

import base64
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faceswap_lab.faces import align
from faceswap_lab.faces.faceset import Row
from faceswap_lab.faces.frame import Image, inline_jpeg, read_still

_TILE, _COLUMNS, _SHEET_ROWS = 64, 12, 8


def contact_sheet(rows: Sequence[Row], folder: Path) -> bytes:
    """A contact sheet as JPEG: each person's faces from right to left profile, sampled evenly if there are too many."""
    people = [person for person, _ in Counter(row.person for row in rows).most_common(_SHEET_ROWS)]
    lines = max(1, _SHEET_ROWS // len(people))
    strips: list[Image] = []
    for person in people:
        own = sorted((row for row in rows if row.person == person), key=lambda row: (row.yaw_deg, row.number))
        places = np.unique(np.linspace(0, len(own) - 1, min(len(own), lines * _COLUMNS)).round().astype(int))
        tiles = [_tile(folder / own[place].crop) for place in places]
        blank = np.full((_TILE, _TILE, 3), 255, np.uint8)
        tiles += [blank] * (-len(tiles) % _COLUMNS)
        strips += [np.concatenate(tiles[start : start + _COLUMNS], axis=1) for start in range(0, len(tiles), _COLUMNS)]
    picture = np.ascontiguousarray(np.concatenate(strips))
    return base64.b64decode(inline_jpeg(picture, max_side=_TILE * _COLUMNS, max_bytes=58_000).partition(",")[2])


def _tile(path: Path) -> Image:
    image = read_still(path)
    scale = _TILE / image.shape[0]
    matrix = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    return align.crop(image, matrix, _TILE)
