"""The report page: whole in itself, asking nothing of the network, escaping what it is given, and marked as synthetic."""

import json
import math
import re
from html.parser import HTMLParser
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lab.views import figures
from faceswap_lab.views.report.blocks import (
    Block,
    Cell,
    Command,
    Comparison,
    Drawing,
    Facts,
    Folded,
    Heading,
    KeyNumber,
    Line,
    Node,
    Notice,
    Paragraph,
    Picture,
    Printed,
    ScoreRow,
    Scores,
    Section,
    Sheet,
    SideBySide,
    Table,
    Tree,
    Video,
)
from faceswap_lab.views.report.page import NOTICE, render_report

EVIL = """<script>alert(1)</script><img src=x onerror="alert(2)">&"'</style></title>"""
VOID = {"meta", "img", "br", "link", "input", "hr", "source", "use", "path", "rect", "line", "circle"}


class Page(HTMLParser):
    """Every tag with its attributes, the text, and whether all tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.torn: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.torn.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def picture(level: int = 100, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def one_of_each(word: str) -> list[Section]:
    figure = figures.lines([1, 2, 3], {word[:20]: [3.0, 2.0, 1.0]})
    rows = [
        ScoreRow(name=word, value=27.0, floor=15.0, ceiling=36.0, unit=word, note=word, low=26.5, high=27.5),
        ScoreRow(name="landmark error", value=1.05, floor=1.29, ceiling=1.0, better="lower"),
        ScoreRow(name="without bound", value=27.0, floor=15.0, ceiling=math.inf),
        ScoreRow(name="nothing known", value=math.nan),
    ]
    columns = {word: [picture(), picture(90)], "truth": [picture(80), picture(70)]}
    return [
        Section(
            title=word,
            blocks=[
                Paragraph(text=f"{word}\n\nsecond"),
                Picture(image=picture(), caption=word, alt=word, width=200),
                Comparison(columns=columns, labels=[word, "b"], caption=word, difference_of=(word, "truth")),
                Video(data=b"\x00\x00\x00\x18ftypmp42", caption=word, poster=picture()),
                Drawing(figure=figure, caption=word, alt=word),
            ],
        ),
        Section(
            title=word, blocks=[Scores(rows=rows, caption=word), Table(header=["a", word], rows=[["x", "1.5 s"]], caption=word)]
        ),
        Section(title="Record", blocks=[Facts(rows={word: word}, mono=True), Command(text=word)], folded=True),
        Section(title=word, blocks=of_runs(word)),
    ]


def of_runs(word: str) -> list[Block]:
    """One of each block that tells of runs."""
    cells = [Cell(text=word, share=0.5, best=True, note=word), Cell(text="2", share=-1.0)]
    return [
        Heading(text=word),
        Notice(text=word, kind="failed", facts={word: word}),
        SideBySide(runs=[word, "B"], groups={word: [Line(name=word, cells=cells, direction=word)], "none": []}, caption=word),
        Sheet(images=[picture()], labels=[word], caption=word),
        Tree(roots=[Node(title=word, role=word, detail=word, parents=[Node(title=word)])], caption=word),
        Printed(text=word, kind="error"),
        Folded(title=word, blocks=[Paragraph(text=word), Picture(image=picture(), caption=word, sharp=True)]),
    ]


def page(word: str, **extra: object) -> str:
    number = KeyNumber(label=word, value=word, detail=word)
    machine = {"run": word}
    return render_report(title=word, intro=word, sections=one_of_each(word), key_numbers=[number], machine_notice=machine, **extra)


def test_the_page_is_whole_and_well_formed() -> None:
    found = Page(page("plain"))
    assert (found.open, found.torn) == ([], [])
    ids = found.attributes("id")
    sections = [attributes["id"] for tag, attributes in found.tags if tag == "section"]
    assert len(sections) == len(set(sections)) == 4
    links = [attributes["href"] for tag, attributes in found.tags if tag == "a"]
    assert links == [f"#{name}" for name in sections]
    assert all(link.removeprefix("#") in ids for link in links)
    assert all(attributes.get("alt") for tag, attributes in found.tags if tag == "img"), "each picture says what it shows"


def test_nothing_is_asked_of_the_network() -> None:
    text = page("plain")
    found = Page(text)
    sources = [value for name in ("src", "poster", "data", "srcset") for value in found.attributes(name)]
    assert len(sources) >= 9
    assert all(re.match(r"data:(image/(jpeg|png)|video/mp4);base64,", source) for source in sources)
    links = found.attributes("href") + found.attributes("xlink:href")
    assert all(link.startswith("#") for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in found.tags}
    assert "@import" not in text
    policy = next(attributes for _, attributes in found.tags if attributes.get("http-equiv") == "Content-Security-Policy")[
        "content"
    ]
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_what_it_is_given_is_text_and_never_markup() -> None:
    plain, evil = Page(page("plain")), Page(page(EVIL))
    assert [tag for tag, _ in evil.tags if tag not in ("defs", "g", "path", "use", "text")] == [
        tag for tag, _ in plain.tags if tag not in ("defs", "g", "path", "use", "text")
    ]
    assert not any(name.startswith("on") for _, attributes in evil.tags for name in attributes)
    assert "<script" not in page(EVIL)
    assert (evil.open, evil.torn) == ([], [])
    assert evil.text.count("alert(1)") >= 10, "the words themselves are still to be read"


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40))
def test_any_text_leaves_the_page_well_formed(word: str) -> None:
    blocks = [Paragraph(text=word), Facts(rows={word: word}), Command(text=word)]
    plain = render_report(title="t", intro="i", sections=[Section(title="s", blocks=[Paragraph(text="a"), Facts(rows={"a": "a"})])])
    found = Page(render_report(title=word, intro=word, sections=[Section(title=word, blocks=blocks)]))
    assert (found.open, found.torn) == ([], [])
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in Page(plain).tags} | {"pre", "code"}


def test_the_notice_is_seen_by_people_and_machines() -> None:
    found = Page(page("plain"))
    assert found.text.count(NOTICE) == 2
    content = next(attributes for _, attributes in found.tags if attributes.get("name") == "synthetic-media")["content"]
    assert json.loads(content) == {"synthetic": True, "notice": NOTICE, "generator": "faceswap_lab", "run": "plain"}
    content = next(a for _, a in Page(page(EVIL)).tags if a.get("name") == "synthetic-media")["content"]
    assert json.loads(content)["run"] == EVIL


@pytest.mark.parametrize("notice", ["", "  \n"])
def test_no_page_without_a_notice(notice: str) -> None:
    with pytest.raises(ValueError, match="synthetic"):
        render_report(title="t", intro="i", sections=[], notice=notice)


@pytest.mark.parametrize(
    ("row", "share"),
    [
        (ScoreRow(name="a", value=27.0, floor=15.0, ceiling=39.0), 0.5),
        (ScoreRow(name="a", value=1.05, floor=1.25, ceiling=1.0, better="lower"), 0.8),
        (ScoreRow(name="a", value=10.0, floor=15.0, ceiling=35.0), -0.25),
        (ScoreRow(name="a", value=2.0, floor=0.0, ceiling=1.0), 2.0),
        (ScoreRow(name="a", value=1.0, floor=1.0, ceiling=1.0), None),
        (ScoreRow(name="a", value=1.0, floor=None, ceiling=1.0), None),
        (ScoreRow(name="a", value=1.0, floor=0.0, ceiling=math.inf), None),
        (ScoreRow(name="a", value=math.nan, floor=0.0, ceiling=1.0), None),
    ],
)
def test_normalised_is_the_way_from_floor_to_ceiling(row: ScoreRow, share: float | None) -> None:
    assert row.normalised == (share if share is None else pytest.approx(share))


def test_the_score_table_shows_value_floor_ceiling_and_bar() -> None:
    rows = [
        ScoreRow(name="PSNR", value=27.0, floor=15.0, ceiling=39.0, unit="dB", digits=1),
        ScoreRow(name="worse than nothing", value=-3.0, floor=0.0, ceiling=10.0),
        ScoreRow(name="unbounded", value=3.0, floor=0.0, ceiling=math.inf),
        ScoreRow(name="a target that scores better than the truth", value=0.09, floor=0.08, ceiling=0.087, better="lower"),
    ]
    text = render_report(title="t", intro="i", sections=[Section(title="s", blocks=[Scores(rows=rows)])])
    assert all(part in text for part in ("27.0&nbsp;dB", "15.0&nbsp;dB", "39.0&nbsp;dB", "50 %", "−3.00", "∞"))
    assert [float(width) for width in re.findall(r'<span style="width:([\d.]+)%">', text)] == [50.0, 0.0], (
        "a bar stays in its frame"
    )
    assert text.count("no share") == 2


def test_every_kind_of_block_has_its_template() -> None:
    shown = {type(block) for section in one_of_each("plain") for block in section.blocks}
    assert shown == set(get_args(Block)), "one_of_each draws all that a page can hold"


def test_ragged_input_is_refused() -> None:
    def render(block: object) -> str:
        return render_report(title="t", intro="i", sections=[Section(title="s", blocks=[block])])

    with pytest.raises(ValueError, match="one label per row"):
        render(Comparison(columns={"a": [picture()]}, labels=["1", "2"], caption=""))
    with pytest.raises(ValueError, match="2 cells"):
        render(Table(header=["a", "b"], rows=[["1"]]))
    with pytest.raises(ValueError, match="a cell for each of the 2 runs"):
        SideBySide(runs=["a", "b"], groups={"g": [Line(name="x", cells=[Cell(text="1")])]})
    with pytest.raises(ValueError, match="one label per picture"):
        Sheet(images=[picture()], labels=[], caption="")
    with pytest.raises(ValueError, match="too large to embed"):
        Video(data=bytes(24_000_001), caption="")


def test_the_same_data_give_the_same_page_and_none_leaves_without_a_notice() -> None:
    sections = [Section(title="s", blocks=[Paragraph(text="first")])]
    first = render_report(title="t", intro="i", sections=sections)
    assert render_report(title="t", intro="i", sections=sections) == first
    with pytest.raises(ValueError, match="synthetic"):
        render_report(title="t", intro="i", sections=[], notice="")
