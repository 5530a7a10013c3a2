"""The page: choose a face, choose a picture, agree, swap; and beside it the result with its scores."""

from typing import TYPE_CHECKING, Any

from faceswap_lab.serve.site import words
from faceswap_lab.serve.site.handlers import Handlers
from faceswap_lab.serve.site.look import render

if TYPE_CHECKING:
    import gradio as gr

_MOST_CALLS = 200

FILE_TYPES = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"]


def page(handlers: Handlers, *, keep_s: float) -> "gr.Blocks":
    """The demo as Gradio's Blocks: the page, and the endpoint `/swap` for gradio_client."""
    import gradio as gr

    blocks = gr.Blocks(analytics_enabled=False, title="faceswap_lab · demo", delete_cache=(60, int(keep_s)), fill_width=True)
    with blocks:
        head = _text(render("head", title=words.TITLE, intro=words.INTRO, user=""))
        with gr.Row(elem_classes="fl-columns", equal_height=False):
            with gr.Column(scale=4, min_width=320, elem_classes="fl-form"):
                form = _form(handlers, keep_s)
            with gr.Column(scale=6, min_width=320, elem_classes="fl-result"):
                result = _result()
        _wire(handlers, blocks, head, form, result)
        _endpoint(handlers)
    # The desk keeps the line; Gradio only bounds how many talk to it.
    blocks.queue(max_size=_MOST_CALLS, default_concurrency_limit=None, api_open=False)
    return blocks


def _form(handlers: Handlers, keep_s: float) -> dict[str, Any]:
    """The left column. Which face and which performance are chosen is kept in states: a gallery is only its picture."""
    import gradio as gr

    found: dict[str, Any] = {}
    _text(render("title", title="The face", about=""))
    found["source"] = gr.State(handlers.first_source)
    found["sources"] = _gallery("Faces to choose from", "fl-faces", columns=4)
    found["chosen"] = _text(handlers.about_source(handlers.first_source))
    _text(render("title", title="The picture", about=""))
    found["own"] = gr.State(False)
    found["take"] = gr.State(handlers.first_take)
    with gr.Tabs():
        with gr.Tab("An actor's performance", id="take") as found["take_tab"]:
            found["takes"] = _gallery("Performances to choose from", "fl-takes", columns=4)
        with gr.Tab("Your own", id="own") as found["own_tab"]:
            found["file"] = gr.File(label="A picture or a short clip", file_types=FILE_TYPES, height=132)
            _text(render("line", text=f"{handlers.limits_told} Deleted within {words.duration(keep_s)}."))
            found["consent"] = gr.Checkbox(label=words.STATEMENT, elem_id="consent")
            found["reason"] = gr.Textbox(
                label=words.REASON, placeholder="It is me. / Jo agreed on 3 May, in writing.", max_length=300, elem_id="reason"
            )
    found["go"] = gr.Button("Swap", variant="primary", elem_classes="fl-go", elem_id="swap")
    return found


def _text(html: str, elem_id: str | None = None) -> "gr.Markdown":
    """A piece of the page from a template. Gradio's HTML component would evaluate strings as scripts, which our policy forbids."""
    import gradio as gr

    return gr.Markdown(html, elem_id=elem_id, elem_classes="fl-text", sanitize_html=True, container=False)


def _gallery(label: str, kind: str, *, columns: int) -> "gr.Gallery":
    import gradio as gr

    return gr.Gallery(
        label=label, show_label=False, columns=columns, allow_preview=False, interactive=False, buttons=[], height="auto",
        object_fit="cover", elem_classes=["fl-gallery", kind], container=False, selected_index=0,
    )  # fmt: skip


def _result() -> dict[str, Any]:
    """The right column: what it is, a still or a clip with the true answer beside it, scores, and the file."""
    import gradio as gr

    found: dict[str, Any] = {"title": _text(render("title", title="An example", about=words.SAMPLE))}
    found["state"] = _text(words.waiting("the example is being rendered"), elem_id="state")
    with gr.Row(elem_classes="fl-pair"):
        with gr.Column(scale=1, min_width=220, visible=False) as found["still"]:
            found["slider"] = gr.ImageSlider(
                show_label=False,
                type="filepath",
                buttons=["fullscreen"],
                container=False,
                elem_classes="fl-slider",
                max_height=900,
                elem_id="slider",
            )
            _text(render("names", names=["before", "after"]))
        with gr.Column(scale=1, min_width=220, visible=False) as found["truth_column"]:
            found["truth"] = gr.Image(show_label=False, type="filepath", buttons=[], container=False, interactive=False)
            _text(render("names", names=["the true answer"]))
    with gr.Row(elem_classes="fl-pair", visible=False) as found["clip"]:
        for name, label in (("before", "before"), ("after", "after"), ("true_clip", "the true answer")):
            with gr.Column(scale=1, min_width=180) as found[f"{name}_column"]:
                found[name] = gr.Video(show_label=False, buttons=[], container=False, elem_id=name, loop=True, interactive=False)
                _text(render("names", names=[label]))
    found["scores"] = _text("", elem_id="scores")
    found["download"] = gr.DownloadButton(
        "Download, marked as synthetic", visible=False, elem_id="download", elem_classes="fl-download"
    )
    return found


def _wire(handlers: Handlers, blocks: "gr.Blocks", head: Any, form: dict[str, Any], result: dict[str, Any]) -> None:
    outputs = [result[name] for name in handlers.SHOWN]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": True, "concurrency_limit": None}
    blocks.load(handlers.welcome, None, [head, form["sources"], form["takes"]], **quiet)
    blocks.load(handlers.example, None, outputs, **quiet)
    form["sources"].select(handlers.choose_source, None, [form["source"], form["chosen"]], **quiet)
    form["takes"].select(handlers.choose_take, None, form["take"], **quiet)
    form["take_tab"].select(lambda: False, None, form["own"], **quiet)
    form["own_tab"].select(lambda: True, None, form["own"], **quiet)
    inputs = [form[name] for name in ("source", "own", "take", "file", "consent", "reason")]
    form["go"].click(
        handlers.swap, inputs, outputs, trigger_mode="once", api_name="button", **quiet,
    )  # fmt: skip
    blocks.unload(handlers.gone)


def _endpoint(handlers: Handlers) -> None:
    """The endpoint for programs: the same as the button, with its inputs and outputs named."""
    import gradio as gr

    with gr.Group(visible=False):
        picture = gr.File(label="picture", file_types=FILE_TYPES)
        source = gr.Textbox(label="source", value=handlers.first_source)
        consent = gr.Checkbox(label="consent")
        reason = gr.Textbox(label="reason")
        accept = [gr.Number(0, label=name, precision=0) for name in ("accept_frames", "accept_faces")]
        outputs = [gr.File(label="result"), gr.JSON(label="scores")]
        gr.Button().click(
            handlers.endpoint,
            [picture, source, consent, reason, *accept],
            outputs,
            api_name="swap",
            api_description="Put the face of `source` on a picture or clip. `consent`: the people shown agreed; `reason`: to what.",
            concurrency_limit=None,
        )
