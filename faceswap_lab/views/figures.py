"""Figures for notebooks, the report and the README, with matplotlib's object-oriented interface only: no display, no global state.

One palette for all. `svg` replaces its colours by CSS variables, so that figures in the report adapt to light and dark mode.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.views import images
from faceswap_lab.views.images import AnyImage

PAPER, INK, MUTED, HAIRLINE = "#ffffff", "#1d2129", "#69707d", "#d9dce2"
SERIES = ("#2b6a99", "#c2641d", "#3c8757", "#8a5a9e", "#a2473f")
"""Five hues of equal weight, distinguishable with all common types of colour vision if the lines are also labelled."""

_CSS_NAMES = {PAPER: "--paper", INK: "--ink", MUTED: "--muted", HAIRLINE: "--line"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES)
}
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "faceswap_lab",
    "axes.edgecolor": HAIRLINE,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
"""Settings under which every figure is made and drawn."""

_DPI = 120
_DIFFERENCE_SCALE = 64.0


class SelfShowing(Figure):
    """A matplotlib Figure that is displayed in a notebook without pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self)


def difference(first: AnyImage, second: AnyImage) -> Float32[np.ndarray, "_ _"]:
    """Mean absolute difference over the three channels, in levels 0..255. Sensitive to colour and shape alike, not to identity."""
    if first.shape != second.shape:
        raise ValueError(f"pictures of {first.shape[:2]} and {second.shape[:2]} pixels cannot be compared")
    delta: Float32[np.ndarray, "_ _"] = np.abs(first.astype(np.float32) - second.astype(np.float32)).mean(axis=2)
    return delta


def heat(delta: Float32[np.ndarray, "h w"]) -> Image:
    """Heat map of a difference in levels, from black at 0 to pale yellow at 64 and above: the same scale in every figure."""
    coloured = colormaps["magma"](np.clip(delta / _DIFFERENCE_SCALE, 0, 1), bytes=True)
    return np.ascontiguousarray(coloured[..., :3])


def strip(frames: Sequence[Frame], labels: Sequence[str] = ()) -> SelfShowing:
    """A film strip: `frames` side by side, each with its label (by default its number and time)."""
    if not frames:
        raise ValueError("a strip needs at least one frame")
    texts = list(labels) or [f"{frame.index} · {frame.time_s:.2f} s" for frame in frames]
    if len(texts) != len(frames):
        raise ValueError(f"{len(texts)} labels for {len(frames)} frames")
    height, width = frames[0].size
    cell_in = min(2.2, 9.0 / len(frames))
    figure, axes = _grid(
        rows=1, columns=len(frames), cell_in=cell_in, aspect=height / width, left_in=0.04, top_in=0.04, bottom_in=0.26
    )
    for axis, frame, text in zip(axes[0], frames, texts, strict=True):
        _show(axis, frame.image)
        axis.set_xlabel(text, fontsize=8, labelpad=4, color=MUTED)
    return figure


def comparison(
    columns: Mapping[str, Sequence[AnyImage]], *, labels: Sequence[str] = (), difference_of: tuple[str, str] | None = None
) -> SelfShowing:
    """One row per frame, one column per name in `columns`, and a heat map of the difference of the two in `difference_of`.

    The heat map has a fixed scale of 0..64 levels in every figure: figures are comparable, and a bad swap is not concealed by
    normalisation to its own maximum.
    """
    counts = {len(pictures) for pictures in columns.values()}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(f"columns need the same number of pictures, at least one; got {sorted(counts)}")
    rows = counts.pop()
    height, width = next(iter(columns.values()))[0].shape[:2]
    names = list(columns) + (["difference"] if difference_of else [])
    # At 8 points a letter takes 0.065 inches at most.
    longest = max((len(line) for label in labels for line in label.splitlines()), default=0)
    left_in, right_in = (max(0.62, 0.12 + 0.065 * longest) if labels else 0.04), (0.55 if difference_of else 0.04)
    figure, axes = _grid(
        rows=rows,
        columns=len(names),
        cell_in=1.9,
        aspect=height / width,
        left_in=left_in,
        right_in=right_in,
        top_in=0.3,
        bottom_in=0.05,
    )
    heat = None
    for row in range(rows):
        for column, name in enumerate(columns):
            _show(axes[row][column], columns[name][row])
        if difference_of:
            first, second = (columns[name][row] for name in difference_of)
            heat = axes[row][-1].imshow(difference(first, second), cmap="magma", vmin=0, vmax=_DIFFERENCE_SCALE)
        if labels:
            axes[row][0].set_ylabel(labels[row], fontsize=8, rotation=0, ha="right", va="center", labelpad=6, color=MUTED)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=9.5, color=INK, pad=5)
    if heat is not None and difference_of:
        _heat_key(figure, axes[0][-1], axes[-1][-1], heat, difference_of)
    return figure


def _heat_key(figure: SelfShowing, top: Axes, bottom: Axes, heat: Any, names: tuple[str, str]) -> None:
    high, low = top.get_position(), bottom.get_position()
    width = 0.07 / figure.get_figwidth()
    axis = figure.add_axes((high.x1 + width, low.y0, width, high.y1 - low.y0))
    bar = figure.colorbar(heat, cax=axis, ticks=[0, 16, 32, 48, 64], extend="max", extendfrac=0.02)
    bar.outline.set_visible(False)
    axis.tick_params(labelsize=7, length=0, pad=2)
    axis.set_ylabel(f"|{names[0]} − {names[1]}|, levels", fontsize=7, labelpad=2)


def marked(frames: Sequence[Frame], points: Sequence[Float[np.ndarray, "_ 2"]], *, labels: Sequence[str]) -> SelfShowing:
    """Frames side by side, cropped to the face, with its points (in frame pixels) drawn; frames without points are not cropped."""
    if not frames or not len(frames) == len(points) == len(labels):
        raise ValueError(f"{len(frames)} frames, {len(points)} sets of points and {len(labels)} labels do not match")
    figure, axes = _grid(
        rows=1, columns=len(frames), cell_in=min(2.6, 9.0 / len(frames)), aspect=1.0, left_in=0.04, top_in=0.04, bottom_in=0.26
    )
    for axis, frame, marks, label in zip(axes[0], frames, points, labels, strict=True):
        axis.imshow(frame.image)
        axis.set_facecolor(HAIRLINE)
        height, width = frame.size
        centre, half = np.array([(width - 1) / 2, (height - 1) / 2]), max(width, height) / 2
        if len(marks):
            centre = marks.mean(axis=0)
            half = 1.9 * float(np.abs(marks - centre).max())
            axis.plot(
                *marks.T,
                linestyle="none",
                marker="o",
                markersize=6,
                markerfacecolor="none",
                markeredgecolor=PAPER,
                markeredgewidth=2.2,
            )
            axis.plot(
                *marks.T,
                linestyle="none",
                marker="o",
                markersize=6,
                markerfacecolor="none",
                markeredgecolor=SERIES[1],
                markeredgewidth=1.2,
            )
        axis.set_xlim(centre[0] - half, centre[0] + half)
        axis.set_ylim(centre[1] + half, centre[1] - half)
        axis.set_xlabel(label, fontsize=8, labelpad=4, color=MUTED)
    return figure


@runtime_checkable
class TrainingStep(Protocol):
    """The attributes of a training step that `curve` reads."""

    @property
    def number(self) -> int:
        """Number of completed steps."""
        ...

    @property
    def losses(self) -> dict[str, float]:
        """Mean losses since the previous step."""
        ...


def curve(steps: Sequence[TrainingStep], *, ylabel: str = "loss") -> SelfShowing:
    """The losses of a training over its steps; see `lines`. A loss missing at some steps has gaps there."""
    names = list(dict.fromkeys(name for step in steps for name in step.losses))
    return lines(
        [step.number for step in steps], {name: [step.losses.get(name, np.nan) for step in steps] for name in names}, ylabel=ylabel
    )


def lines(
    steps: Sequence[int], losses: Mapping[str, Sequence[float]], *, ylabel: str = "loss", xlabel: str = "step"
) -> SelfShowing:
    """Values over steps or frames, each line labelled at its end. The axis is logarithmic if values span more than tenfold."""
    if not steps or not losses or any(len(values) != len(steps) for values in losses.values()):
        raise ValueError("each loss needs one value per step, and at least one step")
    with rc_context(STYLE):
        figure = SelfShowing(figsize=(7.2, 2.7), dpi=_DPI)
        FigureCanvasAgg(figure)
        longest = max(len(f"{name} {values[-1]:.3g}") for name, values in losses.items())
        axis = figure.add_axes((0.085, 0.17, min(0.76, 0.915 - (0.12 + 0.065 * longest) / 7.2), 0.76))
    finite = np.array([list(values) for values in losses.values()], dtype=np.float64)
    shown = finite[np.isfinite(finite)]
    if shown.size and shown.min() > 0 and shown.max() > 10 * shown.min():
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    for colour, (_name, values) in zip(_cycle(len(losses)), losses.items(), strict=True):
        axis.plot(steps, values, color=colour, linewidth=1.6, solid_capstyle="round", marker="o" if len(steps) == 1 else None)
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.grid(axis="y", color=HAIRLINE, linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(which="both", length=0)
    axis.margins(x=0.01)
    axis.autoscale_view()
    _name_lines(figure, axis, steps[-1], losses)
    return figure


def _name_lines(figure: Figure, axis: Axes, last_step: int, losses: Mapping[str, Sequence[float]]) -> None:
    """Labels each line with name and last value at its right, shifted to avoid overlap (13 points between centres)."""
    ends = [(axis.transData.transform((last_step, values[-1]))[1] * 72 / _DPI, name, values[-1]) for name, values in losses.items()]
    colours = dict(zip(losses, _cycle(len(losses)), strict=True))
    lowest = -np.inf
    for height, name, value in sorted(ends, key=lambda end: (np.isnan(end[0]), end[0])):
        moved = max(height, lowest + 13.0) if np.isfinite(height) else lowest + 13.0
        lowest = moved
        axis.annotate(
            f"{name} {value:.3g}",
            xy=(1.0, moved / (figure.get_figheight() * 72)),
            xycoords=("axes fraction", "figure fraction"),
            xytext=(6, 0),
            textcoords="offset points",
            fontsize=8,
            color=colours[name],
            va="center",
            annotation_clip=False,
        )


def _cycle(count: int) -> list[str]:
    return [SERIES[number % len(SERIES)] for number in range(count)]


def _grid(
    *,
    rows: int,
    columns: int,
    cell_in: float,
    aspect: float,
    left_in: float,
    top_in: float,
    bottom_in: float,
    right_in: float = 0.04,
) -> tuple[SelfShowing, list[list[Axes]]]:
    """Axes for pictures of one shape, laid out in inches so that aspect ratios are kept and gaps are equal in both directions."""
    gap, tall = 0.06, cell_in * aspect
    width = left_in + columns * cell_in + (columns - 1) * gap + right_in
    height = top_in + rows * tall + (rows - 1) * gap + bottom_in
    with rc_context(STYLE):
        figure = SelfShowing(figsize=(width, height), dpi=_DPI, facecolor=PAPER)
        FigureCanvasAgg(figure)
        axes = [
            [
                figure.add_axes(
                    (
                        (left_in + column * (cell_in + gap)) / width,
                        (bottom_in + (rows - 1 - row) * (tall + gap)) / height,
                        cell_in / width,
                        tall / height,
                    )
                )
                for column in range(columns)
            ]
            for row in range(rows)
        ]
    for axis in (axis for line in axes for axis in line):
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
    return figure, axes


def _show(axis: Axes, image: AnyImage) -> None:
    axis.imshow(image)


def pixels(figure: Figure) -> Image:
    """`figure` rendered as an RGB array at its own resolution."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def png(figure: Figure, *, budget: int | None = 600_000) -> bytes:
    """`figure` as a PNG of at most `budget` bytes."""
    return images.png(pixels(figure), budget=budget)


def svg(figure: Figure) -> str:
    """`figure` as an inline `<svg>` with the page's CSS variables as colours and the page's font."""
    buffer = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"#[0-9a-f]{6}", lambda found: f"var({_CSS_NAMES[found[0]]})" if found[0] in _CSS_NAMES else found[0], text)
    text = re.sub(
        r"font-family: [^;\"]+",
        "font-family: var(--sans)",
        re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL),
    )
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1), count=1)
