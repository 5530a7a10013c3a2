// Wipe, blink and side-by-side comparison of frames that the kernel sends on demand. No dependencies, no network.

const CACHE = 60;
const BLINK_MS = 700;

const MODES = [
  ["wipe", "Wipe"],
  ["blink", "Blink"],
  ["side-by-side", "Side by side"],
];

// Requests one picture at a time, always the most recently wanted, so that fast scrubbing never queues stale frames.
class Pictures {
  constructor(model, onPicture) {
    this.model = model;
    this.onPicture = onPicture;
    this.urls = new Map();
    this.wanted = [];
    this.asked = null;
    this.failed = new Map();
    this.receive = (message, buffers) => {
      if (message.failed) this.fail(JSON.stringify(message.failed), message.why);
      if (!message.picture) return;
      const key = JSON.stringify(message.picture);
      if (!this.urls.has(key)) this.keep(key, URL.createObjectURL(new Blob([buffers[0]], { type: "image/jpeg" })));
      if (this.asked === key) this.asked = null;
      this.onPicture();
      this.next();
    };
    model.on("msg:custom", this.receive);
  }

  fail(key, why) {
    this.failed.set(key, why);
    if (this.asked === key) this.asked = null;
    this.onPicture();
    this.next();
  }

  keep(key, url) {
    this.urls.set(key, url);
    for (const old of this.urls.keys()) {
      if (this.urls.size <= CACHE) break;
      URL.revokeObjectURL(this.urls.get(old));
      this.urls.delete(old);
    }
  }

  get(name, index) {
    const key = JSON.stringify([name, index]);
    const url = this.urls.get(key);
    if (url) {
      this.urls.delete(key);
      this.urls.set(key, url);
    }
    return url;
  }

  want(pairs) {
    this.wanted = pairs;
    this.next();
  }

  next() {
    if (this.asked !== null) return;
    const missing = this.wanted.find((pair) => !this.urls.has(JSON.stringify(pair)) && !this.failed.has(JSON.stringify(pair)));
    if (!missing) return;
    this.asked = JSON.stringify(missing);
    this.model.send({ want: missing });
  }

  close() {
    this.model.off("msg:custom", this.receive);
    for (const url of this.urls.values()) URL.revokeObjectURL(url);
  }
}

function choice(label, names) {
  const select = element("select", { "aria-label": label }, names.map((name) => element("option", { value: name, text: name })));
  return select;
}

function render({ model, el }) {
  const names = model.get("names");
  const last = model.get("num_frames") - 1;
  const [height, width] = model.get("size");

  const left = choice("Left footage", names);
  const right = choice("Right footage", names);
  const modes = MODES.map(([value, text]) => {
    const button = element("button", { type: "button", text, "data-mode": value });
    button.addEventListener("click", () => set({ mode: value }));
    return button;
  });
  const toolbar = element("div", { class: "fl-bar" }, [
    left,
    element("div", { class: "fl-modes", role: "group", "aria-label": "Comparison mode" }, modes),
    right,
  ]);

  const under = element("img", { class: "fl-under", draggable: "false", alt: "" });
  const over = element("img", { class: "fl-over", draggable: "false", alt: "" });
  const divider = element("div", {
    class: "fl-divider", role: "slider", tabindex: "0", "aria-label": "Divider", "aria-valuemin": "0", "aria-valuemax": "100",
  });
  const tagLeft = element("span", { class: "fl-tag fl-tag-left" });
  const tagRight = element("span", { class: "fl-tag fl-tag-right" });
  const stage = element("div", { class: "fl-stage" }, [under, over, divider, tagLeft, tagRight]);

  const scrubber = element("input", { type: "range", min: "0", max: String(last), step: "1", "aria-label": "Frame" });
  const readout = element("output", { class: "fl-readout" });
  const timeline = element("div", { class: "fl-timeline" }, [scrubber, readout]);
  timeline.hidden = last < 1;
  const caption = element("p", { class: "fl-caption" });

  const root = element("div", { class: "fl-widget fl-compare", role: "group", "aria-label": `Comparison of ${names.join(", ")}` }, [
    toolbar, stage, timeline, caption,
  ]);
  // Small frames are enlarged, tall ones limited to the screen.
  root.style.setProperty("--fl-aspect", `${width} / ${height}`);
  root.style.setProperty("--fl-width", `${Math.round(Math.min(Math.max(width, 512), 760, (640 * width) / height))}px`);
  el.append(root);

  const pictures = new Pictures(model, paint);
  let blinkRight = false;
  let blinking = null;

  function set(values) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  }

  function show(image, name, index) {
    const url = pictures.get(name, index);
    if (url && image.getAttribute("src") !== url) image.src = url;
    image.classList.toggle("fl-late", !url);
    image.alt = `${name}, frame ${index}`;
  }

  function paint() {
    const [frame, mode, l, r] = ["frame", "mode", "left", "right"].map((name) => model.get(name));
    root.dataset.mode = mode;
    show(under, r, frame);
    show(over, l, frame);
    const position = model.get("position");
    stage.style.setProperty("--fl-position", `${position * 100}%`);
    divider.setAttribute("aria-valuenow", String(Math.round(position * 100)));
    divider.setAttribute("aria-valuetext", `${Math.round(position * 100)} % ${l}`);
    over.style.visibility = mode === "blink" && blinkRight ? "hidden" : "visible";
    tagLeft.textContent = mode === "blink" && blinkRight ? r : l;
    tagRight.textContent = r;
    left.value = l;
    right.value = r;
    for (const button of modes) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    scrubber.value = String(frame);
    const fps = model.get("fps");
    readout.textContent = `${frame} / ${last}` + (fps > 0 ? ` · ${(frame / fps).toFixed(2)} s` : "");
    const failure = [l, r].map((name) => pictures.failed.get(JSON.stringify([name, frame]))).find(Boolean);
    caption.textContent = failure ?? model.get("caption");
    caption.hidden = !caption.textContent;
  }

  function update() {
    const [frame, mode, l, r] = ["frame", "mode", "left", "right"].map((name) => model.get(name));
    pictures.want([[l, frame], [r, frame], ...(frame < last ? [[l, frame + 1], [r, frame + 1]] : [])]);
    if (mode === "blink" && blinking === null) {
      blinking = setInterval(() => { blinkRight = !blinkRight; paint(); }, BLINK_MS);
    } else if (mode !== "blink" && blinking !== null) {
      clearInterval(blinking);
      blinking = null;
      blinkRight = false;
    }
    paint();
  }

  const step = (by) => set({ frame: Math.max(0, Math.min(last, model.get("frame") + by)) });
  const slide = (to) => set({ position: Math.max(0, Math.min(1, to)) });
  const pointerPosition = (event) => {
    const box = stage.getBoundingClientRect();
    return (event.clientX - box.left) / box.width;
  };

  left.addEventListener("change", () => set({ left: left.value }));
  right.addEventListener("change", () => set({ right: right.value }));
  scrubber.addEventListener("input", () => set({ frame: Number(scrubber.value) }));

  stage.addEventListener("pointerdown", (event) => {
    if (model.get("mode") !== "wipe" || event.button !== 0) return;
    event.preventDefault();
    divider.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    slide(pointerPosition(event));
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) slide(pointerPosition(event));
  });

  root.addEventListener("keydown", (event) => {
    const onDivider = event.target === divider;
    if (event.target.tagName === "SELECT" || event.altKey || event.ctrlKey || event.metaKey) return;
    const act = {
      ArrowLeft: () => (onDivider ? slide(model.get("position") - (event.shiftKey ? 0.1 : 0.02)) : step(-1)),
      ArrowRight: () => (onDivider ? slide(model.get("position") + (event.shiftKey ? 0.1 : 0.02)) : step(1)),
      Home: () => (onDivider ? slide(0) : set({ frame: 0 })),
      End: () => (onDivider ? slide(1) : set({ frame: last })),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation(); // otherwise JupyterLab selects another cell
    act();
  });

  const watched = ["frame", "mode", "left", "right", "position", "caption"].map((name) => `change:${name}`).join(" ");
  model.on(watched, update);
  update();

  return () => {
    model.off(watched, update);
    if (blinking !== null) clearInterval(blinking);
    pictures.close();
    root.remove();
  };
}

export default { render };
