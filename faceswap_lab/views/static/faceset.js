// A page of faces as buttons sharing one sprite image: click to exclude a face, type to name a person. Python stores the state.

function render({ model, el }) {
  const columns = model.get("columns");
  const person = element("select", { "aria-label": "Person" });
  const name = element("input", { type: "text", placeholder: "name this person", "aria-label": "Name", maxlength: "200" });
  const order = element("select", { "aria-label": "Order" }, model.get("orders").map((each) => element("option", { value: each, text: `by ${each}` })));
  const back = element("button", { type: "button", text: "‹", "aria-label": "Previous page" });
  const readout = element("output", { class: "fs-readout" });
  const on = element("button", { type: "button", text: "›", "aria-label": "Next page" });
  const bar = element("div", { class: "fs-bar" }, [person, name, order, element("span", { class: "fs-space" }), back, readout, on]);
  const grid = element("div", { class: "fs-grid" });
  grid.style.setProperty("--fs-columns", columns);
  const note = element("div", { class: "fs-note", role: "status" });
  const root = element("div", { class: "fl-widget fl-faceset", role: "group", "aria-label": "Faceset" }, [bar, grid, note]);
  el.append(root);

  let url = null;
  let shown = ""; // the crops in the sprite image at `url`

  const key = () => model.get("tiles").map((tile) => tile.crop).join();
  name.hidden = !model.get("namable"); // a set of one person has its manifest's name
  const receive = (message, buffers) => {
    if (message.page === undefined) return;
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(new Blob([buffers[0]], { type: "image/jpeg" }));
    shown = message.page.join();
    paint();
  };

  function paint() {
    const tiles = model.get("tiles");
    const lines = Math.max(1, Math.ceil(tiles.length / columns));
    const fresh = shown === key();
    grid.replaceChildren(...tiles.map((tile, number) => {
      const face = element("button", { type: "button", class: "fs-face", title: tile.note, "aria-pressed": String(tile.out), "aria-label": tile.out ? "excluded" : "kept" });
      if (fresh && url) {
        face.style.backgroundImage = `url(${url})`;
        face.style.backgroundSize = `${columns * 100}% ${lines * 100}%`;
        const x = number % columns, y = Math.floor(number / columns);
        face.style.backgroundPosition = `${(x / Math.max(1, columns - 1)) * 100}% ${(y / Math.max(1, lines - 1)) * 100}%`;
      }
      face.addEventListener("click", () => model.send({ mark: [tile.crop, !tile.out] }));
      const tell = () => { note.textContent = tile.note; };
      face.addEventListener("pointerenter", tell);
      face.addEventListener("focus", tell);
      return face;
    }));
    if (!fresh) model.send({ want: true });
  }

  function update() {
    const identities = model.get("identities");
    person.replaceChildren(...identities.map(([label, given, count]) => element("option", { value: label, text: `${given || label} (${count})` })));
    person.value = model.get("person");
    const mine = identities.find(([label]) => label === model.get("person"));
    if (document.activeElement !== name) name.value = mine ? mine[1] : "";
    order.value = model.get("order");
    const pages = model.get("num_pages"), page = model.get("page");
    readout.textContent = `${page + 1} of ${pages}`;
    back.disabled = page <= 0;
    on.disabled = page >= pages - 1;
    note.textContent = model.get("problem") || model.get("caption");
    note.classList.toggle("fs-problem", Boolean(model.get("problem")));
    paint();
  }

  function set(trait, value) {
    model.set(trait, value);
    model.save_changes();
  }
  person.addEventListener("change", () => set("person", person.value));
  order.addEventListener("change", () => set("order", order.value));
  back.addEventListener("click", () => set("page", model.get("page") - 1));
  on.addEventListener("click", () => set("page", model.get("page") + 1));
  name.addEventListener("keydown", (event) => event.stopPropagation()); // otherwise JupyterLab interprets letters as commands
  name.addEventListener("change", () => model.send({ name: [model.get("person"), name.value] }));
  grid.addEventListener("pointerleave", () => { note.textContent = model.get("problem") || model.get("caption"); });

  const watched = ["person", "order", "page", "num_pages", "identities", "tiles", "caption", "problem"];
  let waiting = false;
  const changed = () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => { waiting = false; update(); });
  };
  for (const trait of watched) model.on(`change:${trait}`, changed);
  model.on("msg:custom", receive);
  update();
  return () => {
    for (const trait of watched) model.off(`change:${trait}`, changed);
    model.off("msg:custom", receive);
    if (url) URL.revokeObjectURL(url);
    root.remove();
  };
}

export default { render };
