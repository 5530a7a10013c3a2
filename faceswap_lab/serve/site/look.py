"""How the demo looks: the house's colours and fonts as a Gradio theme, and the page's own style sheet, all of it local."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradio.themes import Base
    from jinja2 import Environment

_HERE = Path(__file__).parent

SANS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", "monospace")

LIGHT = {"paper": "#fdfdfc", "raised": "#f4f4f2", "ink": "#1d2129", "muted": "#646b78", "line": "#dddfe4", "accent": "#2b6a99"}
DARK = {"paper": "#15171b", "raised": "#1d2026", "ink": "#e6e8ec", "muted": "#989fac", "line": "#32363f", "accent": "#74b0dc"}
_ON_ACCENT = {"": "#ffffff", "_dark": "#10151a"}

_COLOURS = {
    "body_background_fill": "paper",
    "body_text_color": "ink",
    "body_text_color_subdued": "muted",
    "background_fill_primary": "paper",
    "background_fill_secondary": "raised",
    "block_background_fill": "paper",
    "block_border_color": "line",
    "block_info_text_color": "muted",
    "block_label_background_fill": "paper",
    "block_label_border_color": "line",
    "block_label_text_color": "muted",
    "block_title_text_color": "ink",
    "border_color_primary": "line",
    "border_color_accent": "accent",
    "color_accent_soft": "raised",
    "panel_background_fill": "raised",
    "panel_border_color": "line",
    "link_text_color": "accent",
    "link_text_color_active": "accent",
    "link_text_color_hover": "accent",
    "link_text_color_visited": "accent",
    "input_background_fill": "paper",
    "input_background_fill_focus": "paper",
    "input_border_color": "line",
    "input_border_color_focus": "accent",
    "input_placeholder_color": "muted",
    "checkbox_background_color": "paper",
    "checkbox_background_color_selected": "accent",
    "checkbox_border_color": "muted",
    "checkbox_border_color_focus": "accent",
    "checkbox_border_color_selected": "accent",
    "checkbox_label_background_fill": "paper",
    "checkbox_label_background_fill_hover": "raised",
    "checkbox_label_background_fill_selected": "raised",
    "checkbox_label_border_color": "line",
    "checkbox_label_text_color": "ink",
    "checkbox_label_text_color_selected": "ink",
    "loader_color": "accent",
    "slider_color": "accent",
    "button_primary_background_fill": "accent",
    "button_primary_background_fill_hover": "accent",
    "button_primary_border_color": "accent",
    "button_secondary_background_fill": "paper",
    "button_secondary_background_fill_hover": "raised",
    "button_secondary_border_color": "line",
    "button_secondary_text_color": "ink",
}


def theme() -> "Base":
    """The theme, from fonts that every system has: no font is fetched."""
    import gradio as gr

    made = gr.themes.Base(font=list(SANS), font_mono=list(MONO), radius_size=gr.themes.sizes.radius_sm)
    given = {name: LIGHT[colour] for name, colour in _COLOURS.items()}
    given |= {f"{name}_dark": DARK[colour] for name, colour in _COLOURS.items()}
    for name in ("button_primary_text_color", "button_primary_text_color_hover"):
        given |= {f"{name}{mode}": colour for mode, colour in _ON_ACCENT.items()}
    flat = dict.fromkeys(("block_shadow", "block_shadow_dark", "button_primary_shadow", "button_secondary_shadow"), "none")
    sizes = {"block_label_text_size": "13px", "block_title_text_size": "14px", "block_border_width": "1px", "embed_radius": "0"}
    return made.set(color_accent=LIGHT["accent"], **given, **flat, **sizes)


def style_sheet() -> str:
    """The page's style sheet, with the house's colours as variables for both modes."""
    names = {":root": LIGHT, ".dark": DARK}
    rules = [f"{where} {{ {' '.join(f'--fl-{name}: {value};' for name, value in each.items())} }}" for where, each in names.items()]
    return "\n".join([*rules, (_HERE / "static" / "site.css").read_text(encoding="utf-8")])


def render(template: str, **values: Any) -> str:
    """One of the templates, with everything escaped that it is given."""
    return _templates().get_template(f"{template}.html").render(**values)


@cache
def _templates() -> "Environment":
    from faceswap_lab.views.html import templates_in

    return templates_in(_HERE / "templates")
