"""Markdown of a notebook as plain blocks: headings, paragraphs, lists and fences; of inline markup the text alone."""

import re
from collections.abc import Iterator

from faceswap_lab.views.report.blocks import Heading, Paragraph, Printed

_INLINE = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|\*\*([^*]+)\*\*|`([^`]+)`|<[^>\n]+>")
_ITEM = r"(?:[-*+]|\d+\.)\s"


def blocks_in_markdown(text: str) -> Iterator[Heading | Paragraph | Printed]:
    """Headings and paragraphs; of inline markup the text alone. A fence is preformatted."""
    for place, piece in enumerate(re.split(r"^```.*$", text, flags=re.MULTILINE)):
        if place % 2:
            yield Printed(text=piece.strip("\n"), kind="code")
            continue
        for part in re.split(r"\n\s*\n", piece):
            yield from _part(part.strip())


def _part(part: str) -> Iterator[Heading | Paragraph | Printed]:
    while part.startswith("#"):
        heading, _, part = part.partition("\n")
        yield Heading(text=_plain(heading.lstrip("#")))
        part = part.strip()
    if not part:
        return
    lines = part.split("\n")
    if all(re.match(rf"\s*{_ITEM}", line) for line in lines if not line.startswith(("  ", "\t"))):
        items = re.split(rf"\n(?=\s*{_ITEM})", part)
        yield Paragraph(text="\n\n".join(_plain("• " + re.sub(rf"^\s*{_ITEM}\s*", "", item)) for item in items))
    elif lines[0].lstrip().startswith("|"):
        yield Printed(text=part)
    else:
        yield Paragraph(text=_plain(part))


def _plain(text: str) -> str:
    return " ".join(_INLINE.sub(lambda hit: hit[1] or hit[2] or hit[3] or "", text).split())
