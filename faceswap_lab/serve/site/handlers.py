"""What happens when a visitor does something: each handler takes what the page holds and gives back what it shows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import gradio as gr  # this module is imported only when a demo starts: Gradio reads the annotations of handlers

from faceswap_lab.errors import ConsentError, LabError, MediaError
from faceswap_lab.serve.site import words
from faceswap_lab.serve.site.house import House
from faceswap_lab.serve.site.look import render
from faceswap_lab.serve.site.visitors import Visitor, Visitors

Tell = Callable[[float, str], None]
"""Hears how far a job is, 0 to 1, and with what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a visitor asks for: whose face, on which upload or, if that is None, on which of the house's performances."""

    source: str
    upload: Path | None
    take: str
    consent: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What came of it, as files: `file` is the marked one to download; `truth` exists for performances of actors."""

    is_clip: bool
    before: Path
    after: Path
    truth: Path | None
    file: Path
    scores: Mapping[str, Mapping[str, Any]]
    num_frames: int
    about: str


class Desk(Protocol):
    """Does the work, one job at a time."""

    def swap(self, visitor: str, wish: Wish, tell: Tell) -> Shown:
        """The result of a wish. LabError for whatever the visitor can do something about."""

    def gone(self, visitor: str) -> None:
        """A visitor left: nobody waits for what is under way."""


class Handlers:
    """The handlers of one demo."""

    SHOWN: ClassVar = (
        "title", "state", "still", "slider", "truth_column", "truth", "clip", "before", "after", "true_clip_column", "true_clip",
        "scores", "download",
    )  # fmt: skip
    """The parts of the result on the page, in the order in which handlers give their values."""

    def __init__(self, desk: Desk, house: House, visitors: Visitors, *, files: Path, limits_told: str) -> None:
        self.desk, self.house, self.visitors, self.files, self.limits_told = desk, house, visitors, files, limits_told
        self.first_source, self.first_take = house.sources[0].key, house.takes[0].key

    def about_source(self, key: str) -> str:
        """A line about a chosen face."""
        return render("line", text=next(each.about for each in self.house.sources if each.key == key))

    def welcome(self, request: gr.Request) -> Iterator[tuple[Any, Any, Any]]:
        """Head and galleries, which fill while they are being rendered for the first time."""
        head = render("head", title=words.TITLE, intro=words.INTRO, user=self._visitor(request).user)
        for sources, takes in self.house.pictures():
            self.visitors.publish(*(self._kept(path) for path, _ in (*sources, *takes)))
            yield head, self._gallery(sources), self._gallery(takes)

    def example(self) -> Any:
        """The first result on the screen."""
        shown = self.house.example()
        return self._result(None, shown, "An example", words.SAMPLE)

    def choose_source(self, chosen: gr.SelectData) -> tuple[str, str]:
        """A face was chosen in the gallery."""
        key = self.house.sources[int(chosen.index)].key
        return key, self.about_source(key)

    def choose_take(self, chosen: gr.SelectData) -> str:
        """A performance was chosen in the gallery."""
        return self.house.takes[int(chosen.index)].key

    def swap(
        self, source: str, own: bool, take: str, file: str | None, consent: bool, reason: str, request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # Gradio finds it by this default
    ) -> Any:  # fmt: skip
        """The button: the result, or why there is none."""
        try:
            visitor = self._visitor(request)
            if own and file is None:
                raise MediaError(expected="a picture or a clip", got="no file yet", remedy="choose one under “Your own”, or an actor's performance")
            wish = Wish(source=source, upload=Path(file) if own and file else None, take=take, consent=consent, reason=reason)
            shown = self._done(visitor, wish, progress)
        except LabError as error:
            return self._refused(error)
        return self._result(visitor, shown, "The result", shown.about)

    def endpoint(
        self, picture: str | None, source: str, consent: bool, reason: str, request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[str, Any]:  # fmt: skip
        """The same for programs: the marked file and the scores."""
        try:
            visitor = self._visitor(request)
            if picture is None:
                raise MediaError(expected="a picture or a clip", got="no file", remedy="pass it as handle_file(PATH)")
            wish = Wish(source=source or self.first_source, upload=Path(picture), take="", consent=consent, reason=reason)
            shown = self._done(visitor, wish, progress)
        except LabError as error:
            raise gr.Error(words.one_line(error), title="Refused", print_exception=False) from error
        return self._give(visitor, shown.file), {name: dict(score) for name, score in shown.scores.items()}

    def gone(self, request: gr.Request) -> None:
        """A tab was closed."""
        visitor = self.visitors.with_session(str(request.session_hash))
        if visitor is not None:
            self.desk.gone(visitor.id)

    def _visitor(self, request: gr.Request) -> Visitor:
        found = self.visitors.with_session(str(request.session_hash))
        if found is None:
            raise ConsentError(expected="a visitor of this page", got="one who was away for too long", remedy="open the page again")
        return found

    def _done(self, visitor: Visitor, wish: Wish, progress: gr.Progress) -> Shown:
        if wish.upload is not None and not self.visitors.may_read(visitor, str(wish.upload)):
            raise MediaError(expected="a file that you uploaded", got="another one", remedy="upload it again")
        return self.desk.swap(visitor.id, wish, lambda share, text: progress(share, desc=text))

    def _refused(self, error: LabError) -> list[Any]:
        """A refusal in place of the state; an earlier result stays where it is."""
        return [gr.update(value=words.refusal(error), visible=True) if name == "state" else gr.skip() for name in self.SHOWN]

    def _result(self, visitor: Visitor | None, shown: Shown, title: str, about: str) -> list[Any]:
        """The result's parts as `SHOWN` has them."""
        before, after = self._give(visitor, shown.before), self._give(visitor, shown.after)
        truth = None if shown.truth is None else self._give(visitor, shown.truth)
        still, clip = not shown.is_clip, shown.is_clip
        parts = {
            "title": render("title", title=title, about=about),
            "state": gr.update(value="", visible=False),
            "still": gr.update(visible=still),
            "slider": (before, after) if still else None,
            "truth_column": gr.update(visible=still and truth is not None),
            "truth": truth if still else None,
            "clip": gr.update(visible=clip),
            "before": before if clip else None,
            "after": after if clip else None,
            "true_clip_column": gr.update(visible=clip and truth is not None),
            "true_clip": truth if clip else None,
            "scores": words.score_table(shown.scores, truth=truth is not None, frames=shown.num_frames),
            "download": gr.update(value=self._give(visitor, shown.file), visible=True),
        }
        return [parts[name] for name in self.SHOWN]

    def _kept(self, path: Path) -> str:
        """Where Gradio serves a file from: its own copy, named by its content."""
        from gradio.processing_utils import save_file_to_cache

        return str(save_file_to_cache(path, cache_dir=str(self.files)))

    def _give(self, visitor: Visitor | None, path: Path) -> str:
        """The file's copy for this visitor; for None, for everybody."""
        kept = self._kept(path)
        if visitor is None:
            self.visitors.publish(kept)
        else:
            self.visitors.give(visitor, kept)
        return kept

    def _gallery(self, pictures: list[tuple[Path, str]]) -> list[tuple[str, str]]:
        return [(self._kept(path), caption) for path, caption in pictures]
