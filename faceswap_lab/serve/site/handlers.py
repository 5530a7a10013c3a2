"""What happens when a visitor does something: each handler takes what the page holds and gives back what it shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gradio as gr  # this module is imported only when a demo starts: Gradio reads the annotations of handlers

from faceswap_lab.errors import ConsentError, LabError, MediaError
from faceswap_lab.serve.desk import Desk, Step
from faceswap_lab.serve.orders import Declaration, Outcome
from faceswap_lab.serve.refusals import StoppedError
from faceswap_lab.serve.site import results, words
from faceswap_lab.serve.site.gallery import performances
from faceswap_lab.serve.site.house import House, Pictures
from faceswap_lab.serve.site.look import render
from faceswap_lab.serve.site.results import Shown
from faceswap_lab.serve.site.visitors import Visitor, Visitors


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a visitor asks for: whose face, on an upload under a declaration or, without one, on one of the performances."""

    source: str
    take: str
    upload: str | None = None
    declaration: Declaration | None = None
    accept: tuple[int, int] = (0, 0)


class Handlers:
    """The handlers of one demo."""

    SHOWN: ClassVar = (
        "title", "state", "still", "slider", "truth_column", "truth", "clip", "before", "after", "true_clip_column", "true_clip",
        "scores", "download",
    )  # fmt: skip
    """The parts of the result on the page, in the order in which handlers give their values."""

    def __init__(self, desk: Desk, house: House, visitors: Visitors) -> None:
        self.desk, self.house, self.visitors = desk, house, visitors
        self.first_source, self.first_take = house.sources[0].key, house.takes[0].key
        self._takes = {take.key: take for take in performances(desk.sources.values())}
        self._busy: set[str] = set()
        self._left: set[str] = set()

    @property
    def limits_told(self) -> str:
        """What may be uploaded, in a sentence."""
        limits = self.desk.limits
        return f"At most {limits.max_bytes / 1e6:.0f} MB; a clip at most {limits.max_seconds:g} s and {limits.max_frames} frames."

    def about_source(self, key: str) -> str:
        """A line about a chosen face."""
        return render("line", text=next(each.about for each in self.house.sources if each.key == key))

    def welcome(self, request: gr.Request) -> Iterator[tuple[Any, Any, Any]]:
        """The way out of a login, and the galleries, which fill while they are being rendered for the first time."""
        user = self._visitor(request).user
        out = gr.update(value=f"Log out {user}", visible=bool(user))
        for sources, takes in self.house.pictures():
            yield out, self._gallery(sources), self._gallery(takes)

    def example(self) -> list[Any]:
        """The first result on the screen."""
        try:
            told = f"{words.SAMPLE} {words.MADE_BY.get(self.desk.swapper, '')}"
            return self._result(None, self.house.example(), "An example", told)
        except LabError as error:
            return self._refused(error)

    def choose_source(self, chosen: gr.SelectData) -> tuple[str, str]:
        """A face was chosen in the gallery."""
        key = self.house.sources[int(chosen.index)].key
        return key, self.about_source(key)

    def choose_take(self, chosen: gr.SelectData) -> str:
        """A performance was chosen in the gallery."""
        return self.house.takes[int(chosen.index)].key

    def swap(
        self, source: str, own: bool, take: str, file: str | None, consent: bool, reason: str, request: gr.Request
    ) -> Iterator[list[Any]]:
        """The button: the line, then the result, or why there is none."""
        try:
            visitor = self._visitor(request)
            if own and not file:
                remedy = "choose one above, or take one of the actors' performances"
                raise MediaError(expected="a picture or a clip of your own", got="no file yet", remedy=remedy)
            declaration = Declaration(reason=reason or "", agreed=bool(consent)) if own else None
            wish = Wish(source=source, take=take, upload=file if own else None, declaration=declaration)
            for step in self._steps(visitor, wish, str(request.session_hash)):
                if isinstance(step, Step):
                    yield self._state(words.waiting(step.words, step.share))
                else:
                    yield self._result(visitor, step, "The result", step.about)
        except LabError as error:
            yield self._refused(error)

    def endpoint(
        self,
        picture: str | None,
        source: str,
        consent: bool,
        reason: str,
        accept_frames: float,
        accept_faces: float,
        request: gr.Request,
    ) -> tuple[str, Any]:
        """The same for programs: the marked file and the scores."""
        try:
            visitor = self._visitor(request)
            if not picture:
                raise MediaError(expected="a picture or a clip", got="no file", remedy="pass it as handle_file(PATH)")
            wish = Wish(
                source=source or self.first_source,
                take="",
                upload=picture,
                declaration=Declaration(reason=reason or "", agreed=consent is True),
                accept=(int(accept_frames or 0), int(accept_faces or 0)),
            )
            *_, shown = self._steps(visitor, wish, str(request.session_hash))
        except LabError as error:
            raise gr.Error(str(error), title="Refused", print_exception=False) from error
        assert isinstance(shown, Shown)
        return self._give(visitor, shown.file), dict(shown.scores)

    def gone(self, request: gr.Request) -> None:
        """A tab was closed: its job, if it has one, ends with the next step."""
        if request.session_hash in self._busy:
            self._left.add(str(request.session_hash))

    def _visitor(self, request: gr.Request) -> Visitor:
        found = self.visitors.with_session(str(request.session_hash))
        if found is None:
            raise ConsentError(expected="a visitor of this page", got="one who was away for too long", remedy="open the page again")
        return found

    def _steps(self, visitor: Visitor, wish: Wish, session: str) -> Iterator[Step | Shown]:
        """The job's steps and, at its end, what is shown."""
        steps = self._begun(visitor, wish)
        self._busy.add(session)
        try:
            for step in steps:
                if session in self._left:
                    raise StoppedError(expected="a visitor who waits for it", got="nobody", remedy="begin again")
                yield step if isinstance(step, Step) else self._shown(step, wish)
        finally:
            steps.close()
            self._busy.discard(session)
            self._left.discard(session)

    def _begun(self, visitor: Visitor, wish: Wish) -> Any:
        if wish.upload is None:
            if wish.take not in self._takes:
                raise MediaError(expected="one of the performances", got="another one", remedy="choose one in the gallery")
            return self.desk.sample(visitor.id, self._takes[wish.take].sample, source=wish.source)
        if not self.visitors.may_read(visitor, wish.upload):
            raise MediaError(expected="a file that you uploaded", got="another one", remedy="upload it again")
        assert wish.declaration is not None
        name = Path(wish.upload).name
        return self.desk.swap(
            visitor.id, wish.upload, source=wish.source, declaration=wish.declaration, name=name, accept=wish.accept
        )

    def _shown(self, outcome: Outcome, wish: Wish) -> Shown:
        if wish.upload is not None:
            return results.of_upload(outcome, Path(wish.upload), wish.source)
        return results.of_sample(outcome, self._takes[wish.take], wish.source, folder=self.house.folder, root=self.desk.root)

    def _state(self, html: str) -> list[Any]:
        """A new state; the rest stays as it is."""
        return [gr.update(value=html, visible=True) if name == "state" else gr.skip() for name in self.SHOWN]

    def _refused(self, error: LabError) -> list[Any]:
        """A refusal in place of the state; an earlier result stays where it is."""
        return self._state(words.refusal(error))

    def _result(self, visitor: Visitor | None, shown: Shown, title: str, about: str) -> list[Any]:
        """The result's parts as `SHOWN` has them."""
        before, after = self._give(visitor, shown.before), self._give(visitor, shown.file)
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
            "download": gr.update(value=after, visible=True),
        }
        return [parts[name] for name in self.SHOWN]

    def _gallery(self, pictures: Pictures) -> list[tuple[str, str]]:
        return [(self._give(None, path), caption) for path, caption in pictures]

    def _give(self, visitor: Visitor | None, path: Path) -> str:
        """The copy of a file that Gradio serves, named by its content, for this visitor alone; for None, for everybody."""
        from gradio.processing_utils import save_file_to_cache

        kept = str(save_file_to_cache(path, cache_dir=str(self.desk.arrivals)))
        # A copy has its original's time, by which it would be overdue at once if the gallery is of yesterday.
        Path(kept).touch()
        if visitor is None:
            self.visitors.publish(kept)
        else:
            self.visitors.give(visitor, kept)
        return kept
