"""Trends: each finished benchmark is a point; what moved is told against its interval; what cannot be read is named."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from faceswap_lab.runs import record
from faceswap_lab.runs.run import Run
from faceswap_lab.views.trends import Change, Point, Trend, trends


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
