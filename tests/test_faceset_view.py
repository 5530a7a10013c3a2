"""The faceset's widget in a real browser, over a stand-in for Jupyter's model: what a hand does there is sent to Python."""

import base64
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from faceswap_lab.views import images, widget
from faceswap_lab.views.faceset import mosaic

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (30, 200, 200), (200, 30, 200)] * 2

MODEL = """
const state = STATE, sprite = SPRITE, heard = {};
window.sent = [];
const tell = (name, ...rest) => (heard[name] || []).forEach((each) => each(...rest));
window.change = (name, value) => { state[name] = value; tell(`change:${name}`); };
const model = {
  get: (name) => state[name],
  set: (name, value) => { window.change(name, value); },
  save_changes: () => {},
  on: (name, call) => (heard[name] ||= []).push(call),
  off: (name, call) => { heard[name] = (heard[name] || []).filter((each) => each !== call); },
  send: (message) => {
    window.sent.push(message);
    if (message.want) {
      const bytes = Uint8Array.from(atob(sprite), (char) => char.charCodeAt(0));
      setTimeout(() => tell("msg:custom", { page: state.tiles.map((tile) => tile.crop) }, [new DataView(bytes.buffer)]), 0);
    }
    if (!message.mark) return;
    const [crop, out] = message.mark;
    window.change("tiles", state.tiles.map((tile) => (tile.crop === crop ? { ...tile, out } : tile)));
  },
};
window.forget = render({ model, el: document.getElementById("here") });
window.ready = true;
"""


@pytest.fixture(scope="module")
def page() -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH: install the package `chromium` to run the browser tests")
    from playwright.sync_api import sync_playwright

    faces = [np.full((96, 96, 3), colour, np.uint8) for colour in COLOURS]
    sprite = base64.b64encode(images.jpeg(mosaic(faces, columns=10))).decode()
    tiles = [{"crop": f"crops/{number}.png", "note": f"face {number}", "out": False} for number in range(len(faces))]
    state = {
        "columns": 10, "orders": ["sharpness", "pose", "time"], "order": "sharpness", "person": "person-1", "page": 0,
        "num_pages": 3,
        "identities": [["person-1", "", 12], ["person-2", "Jane Doe", 4]], "tiles": tiles,
        "namable": True, "caption": "16 faces kept", "problem": "",
    }  # fmt: skip
    script = widget.script("faceset").replace("export default { render };", "")
    script += MODEL.replace("STATE", repr(state).replace("False", "false").replace("True", "true")).replace("SPRITE", repr(sprite))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1000, "height": 420})
        page.set_default_timeout(240_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_content(f"<style>{widget.style('faceset')}</style><div id=here></div>")
        page.add_script_tag(type="module", content=script)
        page.wait_for_function("window.ready && document.querySelector('.fs-face').style.backgroundImage")
        yield page
        if keep := os.environ.get("FACESWAP_LAB_SCREENSHOTS"):
            page.screenshot(path=str(Path(keep) / "faceset.png"))
        browser.close()
        assert not errors


def colour_of(page: object, number: int) -> np.ndarray:
    picture = page.locator(".fs-face").nth(number).screenshot()
    image = np.asarray(Pillow.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    return image[image.shape[0] // 4, image.shape[1] // 4]


def test_every_face_is_cut_from_its_place_in_the_picture(page) -> None:
    for number, colour in enumerate(COLOURS):
        assert np.abs(colour_of(page, number) - colour).max() < 12, number


def test_a_click_leaves_a_face_out_and_another_takes_it_back(page) -> None:
    face = page.locator(".fs-face").nth(11)
    face.click()
    assert page.evaluate("window.sent.at(-1)") == {"mark": ["crops/11.png", True]}
    page.locator(".fs-face[aria-pressed=true]").wait_for()
    assert page.locator(".fs-face[aria-pressed=true]").get_attribute("title") == "face 11"
    page.locator(".fs-face").nth(11).click()
    assert page.evaluate("window.sent.at(-1)") == {"mark": ["crops/11.png", False]}


def test_a_name_is_sent_and_a_person_and_page_are_chosen(page) -> None:
    name = page.get_by_label("Name")
    name.fill("Ann Example")
    name.press("Enter")
    assert page.evaluate("window.sent.filter((each) => each.name)") == [{"name": ["person-1", "Ann Example"]}]
    page.get_by_label("Next page").click()
    page.get_by_text("2 of 3").wait_for()
    page.get_by_label("Person").select_option("person-2")
    page.wait_for_function("document.querySelector('[aria-label=Person]').value === 'person-2'")
    page.get_by_label("Order").select_option("pose")
    assert page.get_by_label("Order").input_value() == "pose"


def test_a_refused_name_is_told(page) -> None:
    page.evaluate("window.change('problem', 'another person of this set')")
    page.locator(".fs-problem").get_by_text("another person of this set").wait_for()
    page.evaluate("window.change('problem', '')")
