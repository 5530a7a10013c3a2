"""The widgets in a real JupyterLab in a real browser: what a hand does there arrives in Python, and nothing leaves the machine."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from faceswap_lab.faces.frame import Frame
from faceswap_lab.faces.video import encode
from faceswap_lab.views import figures
from faceswap_lab.views.report.blocks import Comparison, Drawing, Section, Video
from faceswap_lab.views.report.page import render_report

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

PATIENCE_S = 240
"""Nothing is decided by it but that a hang ends: a busy machine takes its time."""
PAINTED = """async () => {
    await Promise.all([...document.images].map(image => image.decode()));
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
"""Ends when every picture of the page is decoded and drawn."""

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
TOKEN = "only-for-this-test"

CELLS = [
    """
import json, pathlib, time
import numpy as np
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.views.align import align
from faceswap_lab.views.compare import compare

class Flat:
    # Each frame is one flat colour that tells footage and frame: `step` levels a frame in one channel.
    def __init__(self, origin, channel, step=10):
        self.origin, self.subject, self.fps, self.size = origin, "actor:1", 25.0, (120, 160)
        self.channel, self.step = channel, step
    def __len__(self):
        return 20
    def __getitem__(self, index):
        image = np.zeros((*self.size, 3), np.uint8)
        image[..., self.channel] = 40 + self.step * index
        return Frame(image=image, origin=self.origin, index=index, time_s=index / self.fps)
    def frames(self, start=0, stop=None):
        return (self[i] for i in range(start, len(self) if stop is None else stop))

class FivePoints:
    def detect(self, frame):
        points = np.array([[[60, 50], [100, 50], [80, 70], [65, 90], [95, 90]]], np.float32)
        box = np.array([[40, 30, 120, 110]], np.float32)
        return Faces(frame_index=np.array([frame.index]), boxes=box, keypoints=points, scores=np.ones(1, np.float32))

view = compare(swap=Flat("a", 0), truth=Flat("b", 2), scores={"PSNR": 27.4})
aligned = align(Flat("c", 1, step=1), engine=FivePoints())
""",
    "view",
    "aligned",
    """
print("STATE " + json.dumps({
    "frame": view.frame, "mode": view.mode, "position": view.position, "left": view.left,
    "points": aligned.points, "corrected": [(e.origin, e.index) for e in aligned.corrections.entries],
}))
""",
    """
start = time.monotonic()
while pathlib.Path("busy").exists() and time.monotonic() - start < 600:
    time.sleep(0.05)
""",
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], object], message: str) -> object:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError(message)


@dataclass
class Lab:
    page: object
    folder: Path
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def cell(self, number: int):
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def run_cell(self, number: int) -> None:
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def prompt(self, number: int) -> str:
        return self.cell(number).locator(".jp-InputPrompt").inner_text()

    def state(self) -> dict:
        before = self.prompt(3)
        self.run_cell(3)
        wait_for(lambda: self.prompt(3) not in (before, "[*]:"), "the cell that prints the state did not run")
        text = self.cell(3).locator(".jp-OutputArea-output").last.inner_text()
        return json.loads(text.split("STATE ", 1)[1])

    def pixels(self, selector: str) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(self.page.locator(selector).screenshot())).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    import nbformat  # not above: it builds a grammar of URLs for six seconds, which a run that only collects need not wait for

    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    settings = home / "settings" / "@jupyterlab"
    for extension in ("apputils-extension", "notebook-extension"):
        (settings / extension).mkdir(parents=True)
    news = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "apputils-extension" / "notification.jupyterlab-settings").write_text(json.dumps(news))
    # Every cell stays in the page, so that a test can read one that is scrolled away.
    (settings / "notebook-extension" / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    folder.mkdir()
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "views.ipynb")
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")} | {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with (home / "lab.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{url}/api?token={TOKEN}", process), (home / "lab.log").read_text()[-3000:] or "no answer")
        yield url, folder
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def answers(url: str, process: subprocess.Popen) -> bool:
    assert process.poll() is None, "JupyterLab stopped by itself"
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH: install the package `chromium` to run the browser tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(browser, server: tuple[str, Path]) -> Iterator[Lab]:
    url, folder = server
    with browser.new_context(viewport={"width": 1300, "height": 2400}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        lab = Lab(page=page, folder=folder)
        page.on("console", lambda message: lab.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: lab.errors.append(str(error)))
        page.on("request", lambda request: lab.strangers.append(request.url) if stranger(request.url, url) else None)
        page.goto(f"{url}/lab/tree/views.ipynb?token={TOKEN}")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        # Run All before the kernel answers opens a dialog that asks for one.
        page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        try:
            page.locator(".fl-compare img.fl-over[src]").wait_for()
            page.locator(".fl-align image[href]").wait_for()
            wait_for(lambda: lab.prompt(4) not in ("[ ]:", "[*]:"), "the notebook did not run to its end")
            yield lab
        finally:
            if keep := os.environ.get("FACESWAP_LAB_SCREENSHOTS"):
                page.screenshot(path=str(Path(keep) / "lab.png"))


def stranger(address: str, url: str) -> bool:
    return urlsplit(address).scheme not in ("data", "blob") and urlsplit(address).netloc != urlsplit(url).netloc


def test_scrubber_moves_the_frame_in_python_and_shows_its_picture(lab: Lab) -> None:
    scrubber = lab.page.locator(".fl-compare input[type=range]")
    scrubber.focus()
    for _ in range(7):
        lab.page.keyboard.press("ArrowRight")
    lab.page.locator(".fl-compare img.fl-over[alt='swap, frame 7']:not(.fl-late)").wait_for()
    assert lab.state()["frame"] == 7
    lab.page.evaluate(PAINTED)
    shown = lab.pixels(".fl-compare .fl-stage")
    height, width = shown.shape[:2]
    left, right = shown[height // 4, width // 4], shown[height // 4, 3 * width // 4]
    assert np.abs(left - [110, 0, 0]).max() <= 4, "left of the divider is the swap of frame 7"
    assert np.abs(right - [0, 0, 110]).max() <= 4, "right of the divider is the truth of frame 7"
    scrubber.focus()
    lab.page.keyboard.press("End")
    lab.page.locator(".fl-compare img.fl-over[alt='swap, frame 19']:not(.fl-late)").wait_for()
    assert lab.state()["frame"] == 19


def test_wipe_follows_the_pointer_and_the_keys(lab: Lab) -> None:
    stage = lab.page.locator(".fl-compare .fl-stage")
    box = stage.bounding_box()
    assert box is not None
    lab.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 30)
    lab.page.mouse.down()
    lab.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 40, steps=4)
    lab.page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 40, steps=4)
    lab.page.mouse.up()
    assert lab.state()["position"] == pytest.approx(0.2, abs=0.01)
    lab.page.mouse.move(5, 5)
    shown = lab.pixels(".fl-compare .fl-stage")
    channel = shown[shown.shape[0] // 4].argmax(axis=1)
    edge = np.flatnonzero(channel[: shown.shape[1] // 2] == 2)[0] / shown.shape[1]
    assert edge == pytest.approx(0.2, abs=0.02), "the picture changes where the divider stands"
    lab.page.locator(".fl-compare .fl-divider").focus()
    lab.page.keyboard.press("Shift+ArrowRight")
    assert lab.state()["position"] == pytest.approx(0.3, abs=0.01)


def test_modes_and_footages_are_chosen_by_name(lab: Lab) -> None:
    lab.page.get_by_role("button", name="Side by side").click()
    lab.page.get_by_label("Left footage").select_option("truth")
    lab.page.locator(".fl-compare img.fl-over[alt^='truth']:not(.fl-late)").wait_for()
    state = lab.state()
    assert (state["mode"], state["left"]) == ("side-by-side", "truth")
    shown = lab.pixels(".fl-compare .fl-stage")
    height, width = shown.shape[:2]
    assert shown[height // 4, width // 4].argmax() == shown[height // 4, 3 * width // 4].argmax() == 2
    lab.page.get_by_label("Left footage").select_option("swap")
    lab.page.get_by_role("button", name="Blink").click()
    over = lab.page.locator(".fl-compare img.fl-over")
    seen = wait_for_both(lambda: over.evaluate("image => image.style.visibility"))
    assert seen == {"hidden", "visible"}
    lab.page.get_by_role("button", name="Wipe").click()
    assert lab.state()["mode"] == "wipe"


def wait_for_both(read: Callable[[], str]) -> set[str]:
    seen: set[str] = set()
    wait_for(lambda: seen.add(read()) or len(seen) == 2, "blinking shows only one of the two")
    return seen


def test_a_dragged_point_becomes_a_correction(lab: Lab) -> None:
    before = lab.state()
    nose = lab.page.locator(".fl-align .fa-point[data-point='2'] .fa-ring")
    scale = lab.page.locator(".fl-align svg").evaluate("svg => svg.getScreenCTM().a")
    box = nose.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    lab.page.mouse.move(x + 3, y + 3)
    lab.page.mouse.down()
    lab.page.mouse.move(x + 3 + 6 * scale, y + 3, steps=5)
    lab.page.mouse.move(x + 3 + 6 * scale, y + 3 - 4 * scale, steps=5)
    lab.page.mouse.up()
    after = lab.state()
    assert after["points"][2] == pytest.approx([86.0, 66.0], abs=0.3)
    assert after["points"][:2] == before["points"][:2], "the other points stay"
    assert after["corrected"] == [["c", 0]]
    lab.page.locator(".fl-align .fa-point[data-point='2']").focus()
    lab.page.keyboard.press("ArrowDown")
    lab.page.keyboard.press("Shift+ArrowLeft")
    assert lab.state()["points"][2] == pytest.approx([81.0, 67.0], abs=0.3)
    for _ in range(3):
        lab.page.get_by_role("button", name="Undo").click()
    undone = lab.state()
    assert (undone["points"], undone["corrected"]) == (before["points"], [])


def test_pictures_arrive_while_a_cell_runs(lab: Lab) -> None:
    (lab.folder / "busy").touch()
    lab.run_cell(4)
    wait_for(lambda: lab.prompt(4) == "[*]:", "the busy cell did not start")
    lab.page.locator(".fl-compare input[type=range]").focus()
    lab.page.keyboard.press("Home")
    lab.page.keyboard.press("ArrowRight")
    lab.page.locator(".fl-compare img.fl-over[alt='swap, frame 1']:not(.fl-late)").wait_for()
    assert lab.prompt(4) == "[*]:", "the picture came while the cell was still running"
    (lab.folder / "busy").unlink()
    wait_for(lambda: lab.prompt(4) != "[*]:", "the busy cell did not end")
    assert lab.state()["frame"] == 1


def test_no_error_and_no_request_to_another_host(lab: Lab) -> None:
    assert lab.strangers == []
    assert lab.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_by_itself_and_plays_its_clip(browser, tmp_path: Path, scheme: str) -> None:
    frames = [np.full((64, 96, 3), 10 * index, np.uint8) for index in range(12)]
    timed = (Frame(image=image, origin="actor:1/test", index=i, time_s=i / 12) for i, image in enumerate(frames))
    clip = encode(tmp_path / "clip.mp4", timed, fps=12).read_bytes()
    blocks = [
        Video(data=clip, caption="A clip."),
        Comparison(
            columns={"swap": frames[:2], "truth": frames[1:3]}, labels=["0", "1"], caption="", difference_of=("swap", "truth")
        ),
        Drawing(figure=figures.lines([1, 2], {"loss": [1.0, 0.5]}), caption="A curve.", alt="A curve"),
    ]
    path = tmp_path / "report.html"
    path.write_text(render_report(title="Test", intro="A test.", sections=[Section(title="All", blocks=blocks)]), encoding="utf-8")
    asked: list[str] = []
    said: list[str] = []
    with browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme=scheme) as context:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(path.as_uri())
        # Asked through the debugger: the page's own policy lets no script run, not even this test's.
        wait_for(lambda: page.evaluate("document.querySelector('video').readyState >= 2"), "the clip did not load")
        page.evaluate("document.querySelector('video').play()")
        wait_for(lambda: page.evaluate("document.querySelector('video').currentTime > 0.2"), "the clip did not play")
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.evaluate("getComputedStyle(document.querySelector('.drawing text')).fill")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "a narrow screen need not scroll sideways"
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert said == []
    lightness = sum(int(part) for part in re.findall(r"\d+", paper)[:3]) - sum(int(part) for part in re.findall(r"\d+", ink)[:3])
    assert lightness > 0 if scheme == "light" else lightness < 0, "the curve's text stands out from the page"
