"""An actor in a virtual studio: sliders for cast, pose, expression, light and lens, and a take to film.

Moving a slider re-renders in the kernel (about a tenth of a second). Without a browser the same object shows its picture.
"""

import math
from collections.abc import Mapping
from typing import Any

import ipywidgets

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.actors.performance.lights import LIGHTS, LightKind, light_of
from faceswap_lab.actors.performance.performance import KINDS, Kind
from faceswap_lab.actors.performance.view import View
from faceswap_lab.actors.person.figure import build_figure, texture_rows
from faceswap_lab.actors.render.render import Rendered, render
from faceswap_lab.faces.frame import Image
from faceswap_lab.views import images

EXPRESSIONS: Mapping[str, Mapping[str, float]] = {
    "smile": {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5},
    "mouth open": {"jawOpen": 0.8},
    "pucker": {"mouthPucker": 1.0},
    "sad": {"mouthFrownLeft": 1.0, "mouthFrownRight": 1.0, "browInnerUp": 0.6},
    "brows up": {"browInnerUp": 0.8, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0},
    "frown": {"browDownLeft": 1.0, "browDownRight": 1.0},
    "sneer": {"noseSneerLeft": 1.0, "noseSneerRight": 1.0},
    "eyes shut": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
}
"""Expression sliders: name to the actions at full strength. If two move the same action, the sum is clipped to 1."""

_SHOWN = 384
_LABEL = {"description_width": "84px"}


class StudioView(ipywidgets.HBox):  # type: ignore[misc]
    """The actor of a seed, rendered as in `view`; `set(yaw=30, smile=0.8, light="side")` moves sliders by name, angles in degrees.

    `rendered` is the shown picture with ground truth, `take` what the film button would film. Raises ValueError for an unknown
    slider; values are clipped to a slider's range.
    """

    def __init__(self, actor: Actor, *, side: int = _SHOWN) -> None:
        self._side = side
        self._rendered: Rendered | None = None
        self.controls: dict[str, ipywidgets.ValueWidget] = _controls(actor.seed)
        self._image = ipywidgets.Image(format="jpeg", width=side, height=side)
        self._caption = ipywidgets.HTML()
        self._strip = ipywidgets.HTML()
        self._film = ipywidgets.Button(description="Film", icon="video-camera", tooltip="Render a film strip of the take")
        self._film.on_click(self._show_strip)
        for control in self.controls.values():
            control.observe(self._draw, names="value")
        stage = ipywidgets.VBox([self._image, self._caption, self._strip])
        super().__init__([stage, self._desk()], layout=ipywidgets.Layout(flex_flow="row wrap", grid_gap="4px 24px"))
        self._draw()

    @property
    def actor(self) -> Actor:
        """The selected actor."""
        return Actor(int(self.controls["actor"].value))

    @property
    def view(self) -> View:
        """Pose, expression, camera and light from the sliders."""
        at = {name: control.value for name, control in self.controls.items()}
        actions = _actions({name: at[name] for name in EXPRESSIONS})
        actions |= _gaze(at["look aside"], at["look up"])
        light: LightKind = at["light"]
        return View(
            actions=actions,
            yaw=math.radians(at["yaw"]),
            pitch=math.radians(at["pitch"]),
            roll=math.radians(at["roll"]),
            fov_deg=at["lens"],
            scale=at["framing"],
            offset_m=(0.0, 0.0),
            light=light_of(light, int(at["light seed"]), 0.0),
            background_seed=0,
            noise=0.0,
            noise_seed=0,
        )

    @property
    def rendered(self) -> Rendered:
        """The shown picture with its ground truth."""
        assert self._rendered is not None, "drawn by the constructor"
        return self._rendered

    @property
    def take(self) -> Take:
        """What would be filmed: this actor with this light and lens, in the selected performance."""
        kind: Kind = self.controls["performance"].value
        seconds, light = float(self.controls["seconds"].value), self.controls["light"].value
        seed, fov = int(self.controls["light seed"].value), float(self.controls["lens"].value)
        return self.actor.perform(kind, seconds=seconds, seed=seed, light=light, fov_deg=fov)

    def set(self, **values: float | str) -> None:
        """Sets controls by name, with `_` for spaces: `set(mouth_open=0.5, light="back")`."""
        for name, value in values.items():
            known = name.replace("_", " ")
            if known not in self.controls:
                raise ValueError(f"no control {known!r}; there are {', '.join(self.controls)}")
            self.controls[known].value = value

    def picture(self) -> Image:
        """The shown picture, `side` pixels square."""
        return self.rendered.image

    def _draw(self, _: object = None) -> None:
        actor = self.actor
        self._rendered = render(build_figure(actor.seed, texture_rows(self._side)), self.view, size=self._side)
        self._image.value = images.jpeg(self._rendered.image)
        who = "man" if actor.traits.is_male else "woman"
        self._caption.value = f"<b>{actor.subject}</b>, a synthetic {who}"
        self._strip.value = ""

    def _show_strip(self, _: object) -> None:
        self._film.disabled = True
        try:
            self._strip.value = self.take._repr_html_()
        finally:
            self._film.disabled = False

    def _desk(self) -> ipywidgets.HBox:
        """The controls in groups, side by side if there is room."""
        groups = {
            "Cast": ["actor"],
            "Pose": ["yaw", "pitch", "roll", "look aside", "look up"],
            "Expression": list(EXPRESSIONS),
            "Light and camera": ["light", "light seed", "lens", "framing"],
            "Film": ["performance", "seconds"],
        }
        boxes = {
            title: [ipywidgets.HTML(f"<b>{title}</b>"), *(self.controls[name] for name in names)] for title, names in groups.items()
        }
        boxes["Film"].append(self._film)
        left = ipywidgets.VBox([*boxes["Cast"], *boxes["Pose"], *boxes["Film"]])
        right = ipywidgets.VBox([*boxes["Expression"], *boxes["Light and camera"]])
        return ipywidgets.HBox([left, right], layout=ipywidgets.Layout(flex_flow="row wrap", grid_gap="4px 24px"))

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and a still picture for viewing the notebook without a kernel."""
        shown = super()._repr_mimebundle_(**kwargs)
        still = images.base64_text(images.png(self.picture(), budget=400_000))
        return {**shown, "image/png": still, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"StudioView({self.actor.subject})"


def studio(actor: Actor, *, side: int = _SHOWN) -> StudioView:
    """An actor in the studio, with sliders; `side` is the picture's side in pixels."""
    return StudioView(actor, side=side)


def _controls(seed: int) -> dict[str, ipywidgets.ValueWidget]:
    slider = ipywidgets.FloatSlider
    strength = {"min": 0.0, "max": 1.0, "step": 0.05}
    spec: dict[str, ipywidgets.ValueWidget] = {
        "actor": ipywidgets.BoundedIntText(seed, min=0, max=2**31 - 1),
        "yaw": slider(0.0, min=-80, max=80, step=1, readout_format=".0f"),
        "pitch": slider(0.0, min=-35, max=35, step=1, readout_format=".0f"),
        "roll": slider(0.0, min=-35, max=35, step=1, readout_format=".0f"),
        "look aside": slider(0.0, min=-1, max=1, step=0.05),
        "look up": slider(0.0, min=-1, max=1, step=0.05),
        **{name: slider(0.0, **strength) for name in EXPRESSIONS},
        "light": ipywidgets.Dropdown(options=[kind for kind in LIGHTS if kind != "auto"], value="studio"),
        "light seed": ipywidgets.IntSlider(0, min=0, max=50),
        "lens": slider(24.0, min=10, max=60, step=1, readout_format=".0f"),
        "framing": slider(1.0, min=0.7, max=2.0, step=0.05),
        "performance": ipywidgets.Dropdown(options=list(KINDS), value="speech"),
        "seconds": slider(2.0, min=0.2, max=20, step=0.2),
    }
    for name, control in spec.items():
        control.description = name
        control.style = _LABEL
    return spec


def _actions(strengths: Mapping[str, float]) -> dict[str, float]:
    actions: dict[str, float] = {}
    for name, strength in strengths.items():
        for action, full in EXPRESSIONS[name].items():
            actions[action] = min(1.0, actions.get(action, 0.0) + full * strength)
    return actions


def _gaze(aside: float, up: float) -> dict[str, float]:
    """Actions of both eyes; `aside` is positive to the subject's left, -1..1."""
    left, right = max(0.0, aside), max(0.0, -aside)
    return {
        "eyeLookOutLeft": left,
        "eyeLookInRight": left,
        "eyeLookInLeft": right,
        "eyeLookOutRight": right,
        "eyeLookUpLeft": max(0.0, up),
        "eyeLookUpRight": max(0.0, up),
        "eyeLookDownLeft": max(0.0, -up),
        "eyeLookDownRight": max(0.0, -up),
    }
