// Five draggable points over a frame, as SVG in frame pixels: coordinates need only the screen's own conversion.

const SVG = "http://www.w3.org/2000/svg";
const CACHE = 40;

function shape(tag, attributes = {}, children = []) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function render({ model, el }) {
  const [height, width] = model.get("size");
  const last = model.get("num_frames") - 1;
  const pointNames = model.get("point_names");

  // Pixel centres are at integer coordinates, so the picture starts at -0.5.
  const picture = shape("image", { x: -0.5, y: -0.5, width, height, preserveAspectRatio: "none" });
  const lines = shape("path", { class: "fa-lines" });
  const handles = pointNames.map((name, number) => {
    const handle = shape("g", { class: "fa-point", tabindex: "0", role: "button", "data-point": number }, [
      shape("circle", { class: "fa-reach" }),
      shape("circle", { class: "fa-halo" }),
      shape("circle", { class: "fa-ring" }),
      shape("circle", { class: "fa-dot" }),
    ]);
    handle.append(shape("title"));
    handle.addEventListener("pointerdown", (event) => grab(event, number, handle));
    handle.addEventListener("pointermove", (event) => drag(event, handle));
    handle.addEventListener("pointerup", (event) => drop(event, handle));
    handle.addEventListener("pointercancel", () => { held = null; paint(); });
    return handle;
  });
  const svg = shape("svg", { class: "fa-stage", role: "group", "aria-label": "Face points" }, [picture, lines, ...handles]);

  const zoom = element("button", { type: "button" });
  const undo = element("button", { type: "button", text: "Undo" });
  const place = element("button", { type: "button", text: "Place points" });
  const note = element("span", { class: "fa-note", role: "status" });
  const bar = element("div", { class: "fa-bar" }, [zoom, undo, place, note]);
  const scrubber = element("input", { type: "range", min: "0", max: String(last), step: "1", "aria-label": "Frame" });
  const readout = element("output", { class: "fa-readout" });
  const timeline = element("div", { class: "fa-timeline" }, [scrubber, readout]);
  timeline.hidden = last < 1;
  const root = element("div", { class: "fl-widget fl-align", role: "group", "aria-label": "Face alignment" }, [bar, svg, timeline]);
  root.style.setProperty("--fa-width", `${Math.max(512, Math.min(width, 720))}px`);
  el.append(root);

  const urls = new Map();
  let asked = null;
  let held = null; // while dragging: which point, its offset under the pointer, where it is now
  let view = null; // the shown part of the frame; fixed during a drag

  const receive = (message, buffers) => {
    if (message.picture === undefined) return;
    if (!urls.has(message.picture)) urls.set(message.picture, URL.createObjectURL(new Blob([buffers[0]], { type: "image/jpeg" })));
    for (const old of urls.keys()) {
      if (urls.size <= CACHE) break;
      if (old === model.get("frame")) continue;
      URL.revokeObjectURL(urls.get(old));
      urls.delete(old);
    }
    if (asked === message.picture) asked = null;
    update();
  };

  function toFrame(event) {
    return new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  }

  function grab(event, number, handle) {
    if (event.button !== 0) return;
    event.preventDefault();
    const at = toFrame(event);
    const [x, y] = model.get("points")[number];
    held = { number, dx: x - at.x, dy: y - at.y, x, y, moved: false, frame: model.get("frame") };
    handle.focus({ preventScroll: true });
    handle.setPointerCapture(event.pointerId);
  }

  function drag(event, handle) {
    if (!held || !handle.hasPointerCapture(event.pointerId)) return;
    const at = toFrame(event);
    held.x = Math.max(0, Math.min(width - 1, at.x + held.dx));
    held.y = Math.max(0, Math.min(height - 1, at.y + held.dy));
    held.moved = true;
    paint();
  }

  function drop(event, handle) {
    if (!held) return;
    if (handle.hasPointerCapture(event.pointerId)) handle.releasePointerCapture(event.pointerId);
    const { number, x, y, moved, frame } = held;
    if (moved) commit(frame, number, x, y);
    held = null;
    paint();
  }

  // Drawn immediately, but Python decides: the points trait returns with the accepted position.
  function commit(frame, number, x, y) {
    const points = model.get("points").map((point, i) => (i === number ? [x, y] : point));
    model.set("points", points);
    model.send({ move: [frame, number, x, y] });
  }

  function currentPoints() {
    const points = model.get("points").map((point) => [...point]);
    if (held) points[held.number] = [held.x, held.y];
    return points;
  }

  function chooseView(points) {
    if (!model.get("zoomed") || points.length === 0) return [-0.5, -0.5, width, height];
    const xs = points.map((p) => p[0]);
    const ys = points.map((p) => p[1]);
    const [cx, cy] = [(Math.min(...xs) + Math.max(...xs)) / 2, (Math.min(...ys) + Math.max(...ys)) / 2];
    const side = 2.6 * Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys), 8);
    const tall = side * 0.8;
    return [cx - side / 2, cy - tall / 2, side, tall];
  }

  function paint() {
    const points = currentPoints();
    if (!held) view = chooseView(points);
    svg.setAttribute("viewBox", view.join(" "));
    svg.style.aspectRatio = `${view[2]} / ${view[3]}`;
    const pixel = view[2] / (svg.clientWidth || 600); // one screen pixel, in frame pixels
    handles.forEach((handle, number) => {
      handle.style.display = points[number] ? "" : "none";
      if (!points[number]) return;
      const [x, y] = points[number];
      for (const [circle, radius] of [["fa-reach", 16], ["fa-halo", 8], ["fa-ring", 8], ["fa-dot", 1.4]]) {
        const node = handle.querySelector(`.${circle}`);
        node.setAttribute("cx", x);
        node.setAttribute("cy", y);
        node.setAttribute("r", radius * pixel);
      }
      const label = `${pointNames[number]}, x ${x.toFixed(1)}, y ${y.toFixed(1)}`;
      handle.setAttribute("aria-label", label);
      handle.querySelector("title").textContent = label;
    });
    const at = (i) => points[i].join(" ");
    lines.setAttribute("d", points.length === 5 ? `M${at(0)} L${at(1)} L${at(4)} L${at(3)} Z M${at(0)} L${at(2)} L${at(1)} M${at(3)} L${at(2)} L${at(4)}` : "");
  }

  function update() {
    const frame = model.get("frame");
    const url = urls.get(frame);
    if (url) picture.setAttribute("href", url);
    else if (asked === null) {
      asked = frame;
      model.send({ want: frame });
    }
    svg.classList.toggle("fa-late", !url);
    const corrected = model.get("corrected");
    const found = model.get("points").length > 0;
    note.textContent = !found ? "no face found in this frame" : corrected.includes(frame) ? "corrected manually" : "as detected";
    if (corrected.length) note.textContent += ` · ${corrected.length} frame${corrected.length > 1 ? "s" : ""} corrected`;
    undo.disabled = !model.get("undoable");
    place.hidden = found;
    zoom.textContent = model.get("zoomed") ? "Whole frame" : "Zoom to face";
    scrubber.value = String(frame);
    const fps = model.get("fps");
    readout.textContent = `${frame} / ${last}` + (fps > 0 ? ` · ${(frame / fps).toFixed(2)} s` : "");
    paint();
  }

  zoom.addEventListener("click", () => { model.set("zoomed", !model.get("zoomed")); model.save_changes(); });
  place.addEventListener("click", () => model.send({ place: model.get("frame") }));
  undo.addEventListener("click", () => model.send({ undo: true }));
  scrubber.addEventListener("input", () => { model.set("frame", Number(scrubber.value)); model.save_changes(); });
  root.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const number = handles.indexOf(event.target.closest(".fa-point"));
    if (!way || event.ctrlKey || event.metaKey) return;
    event.stopPropagation(); // otherwise JupyterLab selects another cell
    if (number < 0) return;
    event.preventDefault();
    const stride = event.shiftKey ? 5 : event.altKey ? 0.2 : 1;
    const [x, y] = model.get("points")[number];
    commit(model.get("frame"), number, x + stride * way[0], y + stride * way[1]);
  });

  const watched = "change:frame change:points change:corrected change:undoable change:zoomed";
  model.on(watched, update);
  model.on("msg:custom", receive);
  const resized = new ResizeObserver(paint);
  resized.observe(svg);
  update();

  return () => {
    model.off(watched, update);
    model.off("msg:custom", receive);
    resized.disconnect();
    for (const url of urls.values()) URL.revokeObjectURL(url);
    root.remove();
  };
}

export default { render };
