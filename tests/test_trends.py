"""Trends: each finished benchmark is a point; what moved is told against its interval; what cannot be read is named."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faceswap_lab.runs import record
from faceswap_lab.runs.run import Run
from faceswap_lab.views.printed_table import PrintedTable
from faceswap_lab.views.trend_figure import over_code
from faceswap_lab.views.trends import Change, Point, Trend, moves_told, table, trends


def score(value: float | None, **given: Any) -> dict[str, Any]:
    return {
        "value": value,
        "floor": 15.0,
        "ceiling": None,
        "low": None,
        "high": None,
        "unit": "dB",
        "higher_is_better": True,
    } | given


def benchmark(root: Path, methods: Any, *, name: str = "small", done: bool = True) -> Run:
    with Run.start(root, "notebook", "{}", {"notebook": "50"}, force=True) as run:
        if done:
            run.finish(benchmark={"name": name, "pairs": 8, "frames": 32, "methods": methods})
    return run


def test_each_finished_benchmark_is_a_point_and_no_other_run(tmp_path: Path) -> None:
    first = benchmark(tmp_path, {"warp": {"psnr_face": score(18.0, low=17.0, high=19.0)}})
    second = benchmark(tmp_path, {"warp": {"psnr_face": score(18.5)}, "pair": {"psnr_face": score(27.0)}})
    benchmark(tmp_path, {"warp": {"psnr_face": score(1.0)}}, done=False)
    benchmark(tmp_path, {"warp": {"psnr_face": score(2.0)}}, name="smoke")
    with Run.start(tmp_path, "notebook", "{}", {"notebook": "62"}) as other:
        other.finish(hours=1.0)
    with Run.start(tmp_path, "train", "{}", {"source": "actor:7"}) as other:
        other.finish(benchmark={"name": "small", "methods": {"warp": {"psnr_face": score(3.0)}}})
    found = {(each.name, each.method): each for each in trends(tmp_path)}
    assert list(found) == [("small", "pair"), ("small", "warp"), ("smoke", "warp")]
    warp = found["small", "warp"]
    assert [(point.run, point.value, point.low) for point in warp.points] == [(first.id, 18.0, 17.0), (second.id, 18.5, None)]
    assert warp.points[0].code == first.record.code
    assert warp.points[0].created == first.record.created < warp.points[1].created
    assert (warp.score, warp.unit, warp.higher_is_better) == ("psnr_face", "dB", True)
    assert [each.value for each in found["small", "pair"].points] == [27.0], "a method may begin later than the benchmark"
    assert trends(tmp_path, "small") == [each for each in found.values() if each.name == "small"]
    assert trends(tmp_path, "large") == []


def test_a_score_without_a_figure_is_no_point(tmp_path: Path) -> None:
    benchmark(tmp_path, {"truth": {"psnr_face": score(None), "ssim_face": score(1.0)}})
    assert [each.score for each in trends(tmp_path)] == ["ssim_face"]


@pytest.mark.parametrize(
    "methods", ["none", ["warp"], {"warp": 3}, {"warp": {"psnr_face": {"value": "high"}}}, {"warp": {"psnr_face": 18.0}}]
)
def test_an_entry_that_cannot_be_read_is_named_and_the_others_are_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, methods: Any
) -> None:
    good, bad = benchmark(tmp_path, {"warp": {"psnr_face": score(18.0)}}), benchmark(tmp_path, methods)
    with caplog.at_level(logging.WARNING):
        found = trends(tmp_path)
    assert [point.run for point in found[0].points] == [good.id]
    assert bad.id in caplog.text


def test_a_score_that_was_written_into_the_record_later_is_no_point(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = benchmark(tmp_path, {"warp": {"psnr_face": score(18.0)}})
    told = json.loads((run.path / "run.json").read_text())
    told["summary"]["benchmark"]["methods"]["warp"]["psnr_face"]["value"] = 40.0
    record.write_record(run.path, told)
    with caplog.at_level(logging.WARNING):
        assert trends(tmp_path) == []
    assert run.id in caplog.text


def point(value: float, code: str, *, floor: float | None = 15.0, low: float | None = None, high: float | None = None) -> Point:
    return Point(run=f"notebook-{code}", code=code, created="2026-11-28T01:00:00Z", value=value, floor=floor, low=low, high=high)


def of(*points: Point) -> Trend:
    return Trend(name="small", method="warp", score="psnr_face", points=points)


@pytest.mark.parametrize(
    ("after", "beyond", "moved"),
    [
        (point(18.9, "b"), False, False),
        (point(19.1, "b"), True, True),
        (point(16.9, "b"), True, True),
        (point(19.1, "a"), True, False),  # the code is the same: something else moved it
        (point(19.1, "b", floor=15.2), True, False),  # other pictures
        (point(19.1, "b", floor=None), True, False),
    ],
)
def test_a_change_of_code_moves_a_score_when_it_leaves_the_interval_on_the_same_pictures(
    after: Point, beyond: bool, moved: bool
) -> None:
    trend = of(point(18.0, "a", low=17.0, high=19.0), after)
    assert [change.beyond for change in trend.changes] == [beyond]
    assert bool(trend.moved) is moved
    assert trend.changes[0].by == pytest.approx(after.value - 18.0)


def test_without_an_interval_nothing_is_claimed() -> None:
    trend = of(point(18.0, "a"), point(30.0, "b"))
    assert trend.changes == [Change(before=trend.points[0], after=trend.points[1])]
    assert trend.changes[0].beyond is None
    assert not trend.moved
    assert not of(point(18.0, "a")).changes


def test_what_moved_is_told_with_the_codes_and_what_cannot_be_compared_with_the_reason() -> None:
    before = point(18.0, "0.1.0+aaaaaaaa11111111", low=17.0, high=19.0)
    assert moves_told([of(before, point(21.0, "0.1.0+bbbbbbbb2222"))]) == [
        "warp, psnr_face: 18 to 21, better, outside the interval 17 to 19, with the change of code aaaaaaaa to bbbbbbbb "
        "(notebook-0.1.0+bbbbbbbb2222)."
    ]
    error = replace(of(before, point(21.0, "0.1.0+bbbbbbbb2222")), higher_is_better=False)
    assert "worse" in moves_told([error])[0]
    assert "with the same code aaaaaaaa" in moves_told([of(before, point(21.0, before.code))])[0]
    other = moves_told([of(before, point(18.1, "0.1.0+bbbbbbbb2222", floor=12.0))])[0]
    assert "can't be compared: the floor went from 15 to 12" in other
    assert moves_told([of(before, point(18.5, "b"))]) == []


def test_the_table_has_a_row_for_each_run_and_method_and_leaves_out_what_was_not_measured() -> None:
    psnr = of(
        point(18.0, "0.1.0+aaaaaaaa", low=17.0, high=19.0), replace(point(19.0, "0.1.0+bbbbbbbb"), created="2026-11-29T01:00")
    )
    ssim = replace(psnr, score="ssim_face", points=(replace(psnr.points[1], value=0.61, floor=None),))
    made = table([psnr, ssim], ["psnr_face", "ssim_face"])
    assert list(made.header) == ["when", "code", "run", "method", "psnr_face", "ssim_face"]
    first, second = made.rows
    assert list(first) == ["2026-11-28 01:00", "aaaaaaaa", "notebook-0.1.0+aaaaaaaa", "warp", "18 (17 to 19); floor 15", ""]
    assert list(second[4:]) == ["19; floor 15", "0.61"]


def test_a_table_is_html_in_a_browser_and_aligned_text_elsewhere() -> None:
    made = PrintedTable(header=("run", "what"), rows=[("swap-1", "<b>"), ("train-22", "b")])
    assert repr(made).splitlines() == ["run       what", "--------  ----", "swap-1    <b>", "train-22  b"]
    page = made._repr_html_()
    assert "&lt;b&gt;" in page
    assert (page.count("<tr>"), page.count("<td"), page.count("<th ")) == (3, 4, 2)
    with pytest.raises(ValueError, match="2 cells"):
        PrintedTable(header=("run", "what"), rows=[("swap-1",)])


def test_the_figure_has_every_value_and_grey_on_the_worse_side_of_the_floor() -> None:
    psnr = of(point(18.0, "a", low=17.0, high=19.0), point(21.0, "b"))
    error = replace(
        psnr, score="landmark_error", higher_is_better=False, points=(point(0.1, "a", floor=0.2), point(0.09, "b", floor=0.2))
    )
    made = over_code([psnr, error], ["landmark_error", "psnr_face"])
    upper, lower = made.axes
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("landmark_error", "psnr_face")
    for axis, trend in ((upper, error), (lower, psnr)):
        drawn = [line for line in axis.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"]
        assert list(drawn[0].get_ydata()) == [each.value for each in trend.points]
        (grey,) = axis.collections
        heights = grey.get_paths()[0].vertices[:, 1]
        bottom, top = axis.get_ylim()
        floor = trend.points[0].floor
        assert floor is not None
        expected = (floor, top) if trend is error else (bottom, floor)
        assert (heights.min(), heights.max()) == pytest.approx(expected)
    rings = [line for line in lower.lines if line.get_markersize() > 9]
    assert [list(line.get_ydata()) for line in rings] == [[21.0]], "only what a change of code moved is ringed"


def test_one_run_is_no_trend() -> None:
    with pytest.raises(ValueError, match="two runs"):
        over_code([of(point(18.0, "a"))], ["psnr_face"])
    with pytest.raises(ValueError, match="two runs"):
        over_code([of(point(18.0, "a"), point(19.0, "b"))], ["ssim_face"])
