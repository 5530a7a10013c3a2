// The index of runs: search, facets, sorting, comparison, lineage and trends over the page's own data. No dependencies, no network.
"use strict";

performance.mark("index-start");
const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs;
const MEASURES = DATA.measures;
const MOST_COMPARED = 6;
const PAGE = 60;
const MOST_FACETS = 14;
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);
const nearest = new Map();

// --- elements ---------------------------------------------------------------------------------------------------------------

// An element with attributes and children. Texts become text nodes: nothing of the data is ever read as markup.
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child != null && child !== "" && child !== false && child !== 0));
  return made;
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const minus = (text) => text.replace("-", "−");
const plural = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

function shown(value) {
  if (value === true) return "yes";
  if (value === false) return "no";
  if (value == null) return "none";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return minus(String(value));
  return minus(String(Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6 ? +value.toPrecision(3) : +value.toFixed(4)));
}

function scored(name, value) {
  return value == null ? "–" : minus(value.toFixed(MEASURES[name]?.[2] ?? 3));
}

// The truth has no error, so that there is no end to its PSNR.
const ceilingOf = (name, score) => (score[2] == null && name.startsWith("psnr") ? "∞" : scored(name, score[2]));

function lasted(seconds) {
  if (seconds == null) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const day = (run) => (run.created ?? "").slice(0, 10);
const minute = (run) => (run.created ?? "").slice(0, 16).replace("T", " ");

// --- lineage ----------------------------------------------------------------------------------------------------------------

RUNS.forEach((run, place) => {
  run.place = place;
  run.children = [];
});
RUNS.forEach((run) => (run.parents ?? []).forEach((parent) => RUNS[parent].children.push(run.place)));

// Places of everything that can be reached from a run by `next`, nearest first; without the run itself.
function reached(run, next) {
  const found = new Set();
  const waiting = [run.place];
  while (waiting.length) {
    for (const place of RUNS[waiting.shift()][next] ?? []) {
      if (found.has(place) || place === run.place) continue;
      found.add(place);
      waiting.push(place);
    }
  }
  return found;
}

function kept(store, run, make) {
  if (!store.has(run)) store.set(run, make(run));
  return store.get(run);
}

const above = new Map();
const below = new Map();
const dataOf = new Map();
const ancestors = (run) => kept(above, run, (each) => reached(each, "parents"));
const descendants = (run) => kept(below, run, (each) => reached(each, "children"));
const ownData = (run) => [
  ...new Set([
    ...(run.inputs ?? []).map((input) => input[2]).filter(Boolean),
    ...Object.entries(run.data ?? {}).map(([name, version]) => `${name} ${version}`),
  ]),
];
const allData = (run) =>
  kept(dataOf, run, (each) => [...new Set([each, ...[...ancestors(each)].map((place) => RUNS[place])].flatMap(ownData))]);

// A run's own scores, else those of the newest evaluation that stands on it.
function scoresOf(run) {
  return kept(nearest, run, (each) => {
    if (Object.keys(each.scores ?? {}).length) return { from: each, scores: each.scores };
    const evaluations = [...descendants(each)].map((place) => RUNS[place]).filter((one) => Object.keys(one.scores ?? {}).length);
    if (!evaluations.length) return { from: null, scores: {} };
    const newest = evaluations.reduce((one, other) => (one.created >= other.created ? one : other));
    return { from: newest, scores: newest.scores };
  });
}

// What a run was made from, in a few words.
function madeFrom(run) {
  const text = Object.fromEntries((run.inputs ?? []).map((input) => [input[0], input[1].split(", ").slice(0, 2).join(", ")]));
  if (text.source && text.target) return `${text.source} → ${text.target}`;
  if (text.result) return `of ${text.result}`;
  if (run.settings?.notebook) return run.settings.notebook;
  if (run.verb === "pipeline" && run.settings?.name) return run.settings.name;
  const texts = (run.inputs ?? []).map((input) => input[1]);
  const left = texts.length - 2 + (run.more_inputs ?? 0);
  return texts.slice(0, 2).join(", ") + (left > 0 ? ` and ${left} more` : "");
}

// --- fields that can be filtered, sorted and shown --------------------------------------------------------------------------

const FIELDS = new Map();
const SHORT = { psnr_face: "PSNR", ssim_face: "SSIM", id_nearer_source: "nearer" };

function field(name, get, more = {}) {
  FIELDS.set(name, { name, get, title: name, ...more });
}

field("run", (run) => run.id, { prefix: true });
field("verb", (run) => run.verb);
field("status", (run) => run.status);
field("date", (run) => run.created, { prefix: true, show: minute });
field("made from", madeFrom, { hidden: true });
field("device", (run) => run.device || undefined);
field("code", (run) => run.code || undefined, { prefix: true });
field("seconds", (run) => run.seconds ?? undefined, { title: "time", number: true, show: (run) => lasted(run.seconds) });
field("depicts", (run) => run.depicts);
field("key", (run) => run.key, { prefix: true });
field("data", allData, { many: true });
field("stands_on", (run) => [...ancestors(run)].map((place) => RUNS[place].id), { many: true, prefix: true });
field("used_by", (run) => [...descendants(run)].map((place) => RUNS[place].id), { many: true, prefix: true });

for (const name of Object.keys(MEASURES)) {
  const roles = { "": 0, ".floor": 1, ".ceiling": 2 };
  for (const [suffix, role] of Object.entries(roles)) {
    const get = (run) => scoresOf(run).scores[name]?.[role] ?? undefined;
    const title = suffix ? `${MEASURES[name][0]}, ${suffix.slice(1)}` : MEASURES[name][0];
    const short = suffix ? title : SHORT[name];
    field(name + suffix, get, { title, short, number: true, score: name, show: (run) => scored(name, get(run)).replace("–", "") });
  }
}
for (const run of RUNS) {
  for (const kind of ["settings", "figures"]) {
    for (const name of Object.keys(run[kind] ?? {})) {
      const known = FIELDS.get(name);
      if (known?.score || (known && known.kind !== kind)) continue;
      if (!known) field(name, (each) => each[kind]?.[name], { kind, number: true });
      if (run[kind][name] !== null && typeof run[kind][name] !== "number") FIELDS.get(name).number = false;
    }
  }
}
for (const facts of DATA.environments) {
  for (const name of Object.keys(facts)) {
    if (!FIELDS.has(name)) field(name, (run) => DATA.environments[run.environment]?.[name], { kind: "environment", prefix: true });
  }
}

const text = (one, run) => (one.show ? one.show(run) : one.get(run) === undefined ? "" : [one.get(run)].flat().map(shown).join(", "));

// Fields that a name in a query means: the one of that name, else all whose path ends in it.
function meant(name) {
  const wanted = name.toLowerCase();
  for (const [known, found] of FIELDS) if (known.toLowerCase() === wanted) return [found];
  return [...FIELDS.values()].filter((one) => one.name.toLowerCase().endsWith(`.${wanted}`));
}

function apart(one, other) {
  let row = [...Array(other.length + 1).keys()];
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (one[i - 1] === other[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[other.length];
}

const last = (path) => path.split(".").at(-1);

// Names that may have been meant, most likely first: at least two letters in three are right.
function similar(name) {
  const far = (known) => Math.min(apart(name, known), apart(last(name), last(known)));
  return [...FIELDS.values()]
    .filter((one) => !one.hidden && !/\.(floor|ceiling)$/.test(one.name))
    .map((one) => [far(one.name), one.name])
    .filter(([distance, known]) => distance <= Math.max(1, last(known).length / 3))
    .sort((one, other) => one[0] - other[0])
    .slice(0, 3)
    .map(([, known]) => known);
}

// --- the query --------------------------------------------------------------------------------------------------------------

const TERM = /(-?)"([^"]*)"|([A-Za-z_][\w.-]*)\s*(<=|>=|!=|=|<|>)\s*("[^"]*"(?:\|"[^"]*")*|[^\s"]+)?|(\S+)/g;

function parse(query) {
  const parsed = { conditions: [], words: [], without: [], problems: [] };
  for (const [whole, minusSign, phrase, name, operator, value, word] of query.matchAll(TERM)) {
    if (name !== undefined && operator) addCondition(parsed, whole, name, operator, value);
    else if (word !== undefined && /^-./.test(word)) parsed.without.push(word.slice(1).toLowerCase());
    else (minusSign ? parsed.without : parsed.words).push((phrase ?? word).toLowerCase());
  }
  return parsed;
}

function addCondition(parsed, whole, name, operator, value) {
  const fields = meant(name);
  if (!fields.length) {
    parsed.problems.push({ text: `No run has the field “${name}”.`, name, near: similar(name) });
  } else if (value === undefined) {
    parsed.problems.push({ text: `“${whole.trim()}” lacks a value.`, name, near: [] });
  } else {
    const values = value.split("|").map((each) => each.replaceAll('"', "").toLowerCase());
    if (/[<>]/.test(operator) && fields.every((one) => one.number) && values.some((each) => each === "" || isNaN(each))) {
      parsed.problems.push({ text: `${name} is a number, and “${value}” is none.`, name, near: [] });
    } else {
      parsed.conditions.push({ name, fields, operator, values });
    }
  }
}

function equals(one, given, value) {
  if (typeof given === "number") return value !== "" && given === Number(value);
  if (typeof given === "boolean") return (given ? ["true", "yes"] : ["false", "no"]).includes(value);
  if (given === null) return value === "none" || value === "null";
  const plain = String(given).toLowerCase();
  return plain === value || (one.prefix === true && value !== "" && plain.startsWith(value));
}

function ordered(given, operator, value) {
  let difference;
  if (typeof given === "number") difference = given - Number(value);
  else {
    const plain = String(given).toLowerCase().slice(0, value.length);
    difference = plain < value ? -1 : plain > value ? 1 : 0;
  }
  return { "<": difference < 0, "<=": difference <= 0, ">": difference > 0, ">=": difference >= 0 }[operator] ?? false;
}

function holds(condition, run) {
  const { fields, operator, values } = condition;
  return fields.some((one) => {
    const found = one.get(run);
    if (found === undefined) return false;
    const given = Array.isArray(found) ? found : [found];
    if (operator === "!=") return !given.some((each) => values.some((value) => equals(one, each, value)));
    if (operator === "=") return given.some((each) => values.some((value) => equals(one, each, value)));
    return given.some((each) => each !== null && values.some((value) => ordered(each, operator, value)));
  });
}

const haystacks = new Map();

function haystack(run) {
  return kept(haystacks, run, (each) =>
    [
      each.id, each.verb, each.status, each.why, each.created, each.device, each.code, each.key, each.depicts,
      ...(each.inputs ?? []).flat(),
      ...Object.entries(each.data ?? {}).flat(),
      ...Object.entries({ ...each.settings, ...each.figures, ...DATA.environments[each.environment] }).flat(),
    ].join("\n").toLowerCase()
  );
}

function matches(parsed, run, except) {
  if (!parsed.conditions.every((condition) => condition.name === except || holds(condition, run))) return false;
  if (!parsed.words.length && !parsed.without.length) return true;
  const all = haystack(run);
  return parsed.words.every((word) => all.includes(word)) && !parsed.without.some((word) => all.includes(word));
}

const quoted = (value) => (/^[^\s"|<>=]+$/.test(String(value)) ? String(value) : `"${String(value).replaceAll('"', "")}"`);

// The query with the values of one field replaced; without values the field's terms go.
function withValues(query, name, values) {
  const rest = [...query.matchAll(TERM)].filter((found) => !(found[3] === name && found[4] === "=")).map((found) => found[0].trim());
  return [...rest, ...(values.length ? [`${name} = ${values.map(quoted).join("|")}`] : [])].join(" ");
}

// --- state ------------------------------------------------------------------------------------------------------------------

const state = { query: "", sort: "date", descending: true, chosen: [], extra: [], limit: PAGE, view: "list", run: null };
let parsed = parse("");
let visible = RUNS;

function address() {
  const parts = new URLSearchParams();
  if (state.query) parts.set("q", state.query);
  if (state.view !== "list") parts.set("view", state.view);
  if (state.chosen.length) parts.set("chosen", state.chosen.map((run) => run.place).join("."));
  if (state.run) parts.set("run", state.run.id);
  return `#${parts}`;
}

function remember(step) {
  if (address() === location.hash || (address() === "#" && !location.hash)) return;
  history[step ? "pushState" : "replaceState"](null, "", address());
}

function restore() {
  const parts = new URLSearchParams(location.hash.slice(1));
  state.query = parts.get("q") ?? "";
  state.chosen = (parts.get("chosen") ?? "").split(".").filter(Boolean).map((place) => RUNS[place]).filter(Boolean).slice(0, MOST_COMPARED);
  state.run = RUNS.find((run) => run.id === parts.get("run")) ?? null;
  state.view = ["comparison", "trends"].includes(parts.get("view")) ? parts.get("view") : "list";
  byId("query").value = state.query;
  refresh();
}

function ask(query) {
  state.query = query;
  byId("query").value = query;
  state.view = "list";
  refresh();
  remember(true);
}

function link(query, label, title) {
  const open = (event) => {
    event.preventDefault();
    ask(query);
    byId("query").focus();
  };
  return el("a", { href: `#${new URLSearchParams({ q: query })}`, onclick: open, title }, label);
}

function runLink(run, label = run.id) {
  const open = (event) => {
    event.preventDefault();
    state.run = run;
    drawDetail();
    remember(true);
    byId("detail").focus();
  };
  return el("a", { href: `#${new URLSearchParams({ run: run.id })}`, onclick: open, class: "run" }, label);
}

function status(run) {
  return el("span", { class: `status ${run.status}`, title: run.why }, run.status);
}

// --- the table --------------------------------------------------------------------------------------------------------------

const USUAL = ["run", "status", "date", "made from", "psnr_face", "ssim_face", "id_nearer_source", "seconds", "device", "code"];
const PLAIN = new Set(["run", "status", "date", "made from", "device", "code"]);
const labelOf = (one) => one.short ?? last(one.title);
const SORTED_DOWN = new Set(["date", "seconds"]);
const rows = new Map();
let drawnColumns = "";
let drawnOrder = "";

function columns() {
  const asked = parsed.conditions.flatMap((condition) => condition.fields.map((one) => one.name));
  const more = asked.filter((name) => ["settings", "figures", "environment"].includes(FIELDS.get(name).kind) || FIELDS.get(name).score);
  const [before, after] = [USUAL.slice(0, 4), USUAL.slice(4)];
  return [...new Set([...before, ...more.slice(0, 4), ...state.extra, ...after])].filter(isKnown).map((name) => FIELDS.get(name));
}

// Whether any run has a value there: a lab without evaluations needs no columns of scores.
const known = new Map();
const isKnown = (name) => kept(known, name, () => RUNS.some((run) => ![undefined, ""].includes(FIELDS.get(name).get(run))));

function cell(one, run) {
  if (one.name === "run") {
    return el("th", { scope: "row" }, runLink(run), run.page && el("a", { href: run.page, class: "page" }, "report"));
  }
  if (one.name === "status") return el("td", {}, status(run));
  if (one.name === "made from") return el("td", { class: "made" }, madeFrom(run), run.why && el("span", { class: "note" }, run.why));
  if (one.name === "device") return el("td", { class: "device", title: run.device }, (run.device ?? "").replace(/^NVIDIA /, ""));
  if (one.name === "code") return el("td", { class: "code", title: run.code }, (run.code ?? "").replace(/(\+.{7}).*/, "$1"));
  const own = !one.score || scoresOf(run).from === run;
  const title = own || !scoresOf(run).from ? null : `by ${scoresOf(run).from.id}`;
  return el("td", { class: one.number ? (own ? "number" : "number lent") : null, title }, text(one, run));
}

function row(run, shownColumns) {
  const choose = el("input", { type: "checkbox", "aria-label": `Choose ${run.id}`, onchange: () => toggle(run) });
  choose.checked = state.chosen.includes(run);
  const cells = shownColumns.map((one) => {
    const made = cell(one, run);
    made.dataset.name = labelOf(one);
    made.classList.toggle("figure", !PLAIN.has(one.name));
    made.classList.toggle("empty", !made.textContent);
    return made;
  });
  return el("tr", { class: run.status }, el("td", { class: "choose" }, choose), cells);
}

function heading(one) {
  const sorted = state.sort === one.name;
  const sort = () => {
    sortBy(one.name, sorted ? !state.descending : SORTED_DOWN.has(one.name) || Boolean(one.score));
    byId("runs").querySelector(`th[data-name="${CSS.escape(one.name)}"] button`).focus();
  };
  const unit = one.score && MEASURES[one.score][1];
  return el(
    "th",
    {
      scope: "col", class: one.number ? "number" : null, "data-name": one.name,
      "aria-sort": sorted ? (state.descending ? "descending" : "ascending") : null,
    },
    el("button", { type: "button", onclick: sort, title: one.title + (unit ? `, ${unit}` : "") }, labelOf(one)),
    state.extra.includes(one.name) && el("button", { type: "button", class: "drop", "aria-label": `Remove the column ${one.title}`, onclick: () => removeColumn(one.name) }, "×")
  );
}

function sortBy(name, descending) {
  state.sort = name;
  state.descending = descending;
  drawTable();
}

function removeColumn(name) {
  state.extra = state.extra.filter((each) => each !== name);
  drawTable();
}

function inOrder() {
  const get = FIELDS.get(state.sort).get;
  const keyed = visible.map((run) => [[get(run)].flat()[0], run]);
  const sign = state.descending ? -1 : 1;
  keyed.sort(([one, a], [other, b]) => {
    if ((one ?? "") === "" || (other ?? "") === "") return ((one ?? "") === "") - ((other ?? "") === "") || a.place - b.place;
    const difference = typeof one === "number" && typeof other === "number" ? one - other : String(one) < String(other) ? -1 : String(one) > String(other) ? 1 : 0;
    return sign * difference || a.place - b.place;
  });
  return keyed.map(([, run]) => run);
}

function drawTable() {
  const table = byId("runs");
  const shownColumns = columns();
  const names = shownColumns.map((one) => one.name).join("\n");
  if (names !== drawnColumns) rows.clear();
  const order = `${names}\n${state.descending ? "-" : "+"}${state.sort}`;
  if (order !== drawnOrder) drawHead(shownColumns);
  [drawnColumns, drawnOrder] = [names, order];
  const sorted = inOrder();
  const body = sorted.slice(0, state.limit).map((run) => kept(rows, run, (each) => row(each, shownColumns)));
  table.tBodies[0].replaceChildren(...body);
  drawMore(sorted.length);
}

function drawHead(shownColumns) {
  const chosen = el("td", { class: "choose" }, el("span", { class: "unseen" }, "chosen"));
  byId("runs").tHead.rows[0].replaceChildren(chosen, ...shownColumns.map(heading));
  byId("sort").replaceChildren(
    ...shownColumns.flatMap((one) => [true, false].map((down) => el("option", { value: `${down ? "-" : "+"}${one.name}`, selected: state.sort === one.name && state.descending === down }, `${labelOf(one)} ${down ? "↓" : "↑"}`)))
  );
}

// More rows, as the reader comes to the end of those that are there: a table of hundreds takes the browser long to lay out.
function showMore() {
  if (state.view !== "list" || byId("more").hidden) return;
  state.limit += PAGE;
  const shownColumns = columns();
  const sorted = inOrder();
  byId("runs").tBodies[0].append(...sorted.slice(state.limit - PAGE, state.limit).map((run) => kept(rows, run, (each) => row(each, shownColumns))));
  drawMore(sorted.length);
}

function drawMore(count) {
  byId("more").hidden = count <= state.limit;
  byId("more").textContent = `Show more of ${plural(count, "run")}`;
}

function drawProblems() {
  const parts = parsed.problems.flatMap((problem) => {
    const replaced = (name) => state.query.replace(problem.name, name);
    const near = problem.near.flatMap((name, place) => [place ? ", " : " Did you mean ", link(replaced(name), name)]);
    return [problem.text, ...near, near.length ? "? " : " "];
  });
  byId("problem").replaceChildren(...parts);
  byId("query").setAttribute("aria-invalid", String(parsed.problems.length > 0));
}

// --- facets -----------------------------------------------------------------------------------------------------------------

function valuesOf(one) {
  const counts = new Map();
  for (const run of RUNS) {
    const value = one.get(run);
    if (value !== undefined && value !== "") counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return counts;
}

function facetValues(one) {
  const values = [...valuesOf(one).keys()];
  return values.sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a) < String(b) ? -1 : 1));
}

function dateValues() {
  const days = [...new Set(RUNS.map(day).filter(Boolean))].sort().reverse();
  const months = [...new Set(days.map((each) => each.slice(0, 7)))];
  return days.length <= 7 ? days : months.slice(0, 12);
}

function codeValues() {
  return [...new Set(RUNS.map((run) => run.code).filter(Boolean))].slice(0, 6);
}

const FACETS = [
  ...["status", "verb"].map((name) => ({ name, values: facetValues(FIELDS.get(name)) })),
  { name: "date", values: dateValues() },
  ...["device", "depicts"].map((name) => ({ name, values: facetValues(FIELDS.get(name)) })),
  { name: "code", values: codeValues() },
  ...[...FIELDS.values()]
    .filter((one) => one.kind === "settings")
    .map((one) => ({ name: one.name, values: facetValues(one), setting: true, runs: [...valuesOf(one).values()].reduce((a, b) => a + b, 0) }))
    .filter((facet) => facet.values.length >= 2 && facet.values.length <= 8)
    .sort((one, other) => other.runs - one.runs)
    .slice(0, MOST_FACETS),
].filter((facet) => facet.values.length >= 2);

function chosenIn(facet) {
  return parsed.conditions.filter((each) => each.name === facet.name && each.operator === "=").flatMap((each) => each.values);
}

const plainValue = (value) => (value === null ? "none" : String(value));

function press(facet, value) {
  const plain = plainValue(value).toLowerCase();
  const now = chosenIn(facet);
  const next = now.includes(plain) ? now.filter((each) => each !== plain) : [...now, plain];
  const spelled = next.map((each) => facet.values.map(plainValue).find((known) => known.toLowerCase() === each) ?? each);
  state.query = withValues(state.query, facet.name, spelled);
  byId("query").value = state.query;
  refresh();
  remember(false);
}

function buildFacet(facet) {
  facet.buttons = facet.values.map((value) => {
    const count = el("span", { class: "count" });
    const label = facet.name === "code" ? String(value).replace(/(\+.{7}).*/, "$1") : shown(value);
    const button = el("button", { type: "button", "aria-pressed": "false", onclick: () => press(facet, value), title: facet.name === "code" ? value : null }, el("span", {}, label), count);
    return { value, button, count };
  });
  return el("fieldset", {}, el("legend", {}, facet.name), facet.buttons.map((each) => each.button));
}

function buildFacets() {
  const usual = FACETS.filter((facet) => !facet.setting);
  const settings = FACETS.filter((facet) => facet.setting);
  const more = settings.length ? el("details", { class: "settings" }, el("summary", {}, "Settings that differ"), settings.map(buildFacet)) : null;
  byId("facets").lastElementChild.append(...usual.map(buildFacet), ...(more ? [more] : []));
  if (matchMedia("(max-width: 900px)").matches) byId("facets").open = false;
}

function drawFacets() {
  for (const facet of FACETS) {
    const one = FIELDS.get(facet.name);
    const pressed = chosenIn(facet);
    const among = pressed.length ? RUNS.filter((run) => matches(parsed, run, facet.name)) : visible;
    for (const { value, button, count } of facet.buttons) {
      const plain = plainValue(value).toLowerCase();
      const found = among.reduce((sum, run) => sum + (one.get(run) !== undefined && equals(one, one.get(run), plain) ? 1 : 0), 0);
      count.textContent = found.toLocaleString("en");
      button.setAttribute("aria-pressed", String(pressed.includes(plain)));
      button.classList.toggle("none", !found);
    }
  }
}

// --- scores -----------------------------------------------------------------------------------------------------------------

// (value - floor) / (ceiling - floor); null where an end is unknown, or the floor is better than the ceiling.
function share(name, [value, floor, ceiling]) {
  if (value == null || floor == null || ceiling == null || floor === ceiling) return null;
  if (MEASURES[name][3] !== ceiling > floor) return null;
  return (value - floor) / (ceiling - floor);
}

function bar(name, score) {
  const part = share(name, score);
  if (part === null) return null;
  const percent = `${minus((100 * part).toFixed(0))} %`;
  const inner = el("span");
  inner.style.width = `${100 * Math.min(1, Math.max(0, part))}%`;
  const state = part < 0 ? "bar below" : part > 1 ? "bar beyond" : "bar";
  return [el("span", { class: state, role: "img", "aria-label": `${percent} of the way from floor to ceiling` }, inner), el("span", { class: "percent" }, percent)];
}

function scoreTable(run) {
  const { from, scores } = scoresOf(run);
  const head = ["measure", "floor", "value", "ceiling", "from floor to ceiling"].map((name, place) => el("th", { scope: "col", class: place && place < 4 ? "number" : null }, name));
  const body = Object.entries(scores).map(([name, score]) =>
    el(
      "tr", {},
      el("th", { scope: "row" }, MEASURES[name][0], el("span", { class: "direction" }, MEASURES[name][3] ? "higher is better" : "lower is better")),
      [scored(name, score[1]), el("b", {}, scored(name, score[0])), ceilingOf(name, score)].map((told) => el("td", { class: "number" }, told)),
      el("td", { class: "way" }, bar(name, score) ?? "–")
    )
  );
  const by = from === run ? [] : ["By ", runLink(from), "."];
  return [el("div", { class: "wide" }, el("table", { class: "scores" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body))), by.length && el("p", { class: "small" }, by)];
}

// --- one run ----------------------------------------------------------------------------------------------------------------

function facts(pairs, mono) {
  const told = pairs.filter(([, value]) => value != null && value !== "" && !(Array.isArray(value) && !value.length));
  return el("dl", { class: mono ? "facts mono" : "facts" }, told.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

const MOST_IN_TREE = 12;

function tree(run, next, seen = new Set([run.place]), depth = 0) {
  const places = run[next] ?? [];
  const items = places.slice(0, MOST_IN_TREE).map((place) => {
    const other = RUNS[place];
    const again = seen.has(place);
    seen.add(place);
    return el("li", {}, runLink(other), " ", status(other), el("span", { class: "small" }, ` ${madeFrom(other)}`), again ? null : tree(other, next, seen, depth + 1));
  });
  if (places.length > MOST_IN_TREE) {
    const rest = link(`${next === "parents" ? "used_by" : "stands_on"} = ${run.id}`, `all ${places.length}`);
    items.push(el("li", {}, rest));
  }
  const leaves = next === "parents" ? dataLeaves(run) : [];
  return items.length || leaves.length ? el("ul", {}, items, leaves) : null;
}

function dataLeaves(run) {
  const own = [...new Set((run.inputs ?? []).map((input) => input[2]).filter(Boolean))];
  return own.map((name) => el("li", {}, link(`data = ${quoted(name)}`, name, "Every run that stands on it")));
}

function lineage(run) {
  const files = Object.entries(run.data ?? {}).map(([name, version]) => {
    const told = `${name} ${version}`;
    return el("li", {}, link(`data = ${quoted(told)}`, told, "Every run that stands on it"));
  });
  const code = run.code ? [el("li", {}, link(`code = ${run.code}`, run.code, "Every run of this code"))] : [];
  const onto = tree(run, "parents");
  return el(
    "div", { class: "lineage" },
    el("div", {}, el("h4", {}, "Stands on"), onto ?? el("p", { class: "small" }, "No run and no input."), files.length ? el("details", {}, el("summary", {}, "Data files"), el("ul", {}, files)) : null, code.length ? [el("h4", {}, "Code"), el("ul", {}, code)] : null),
    el("div", {}, el("h4", {}, "What stands on it"), tree(run, "children") ?? el("p", { class: "small" }, "Nothing yet."))
  );
}

function closeDetail() {
  const was = state.run;
  state.run = null;
  drawDetail();
  remember(true);
  const back = was && rows.get(was)?.querySelector("a.run");
  if (back?.isConnected) back.focus();
}

function part(title, ...children) {
  const found = children.flat().filter(Boolean);
  return found.length ? [el("h3", {}, title), ...found] : [];
}

function drawDetail() {
  const panel = byId("detail");
  const run = state.run;
  panel.hidden = !run;
  document.body.classList.toggle("beside", Boolean(run));
  if (!run) return panel.replaceChildren();
  const chosen = state.chosen.includes(run);
  const pick = el("button", { type: "button", "aria-pressed": String(chosen), onclick: () => toggle(run) }, chosen ? "Chosen for comparison" : "Choose for comparison");
  const pairs = (given) => Object.entries(given ?? {}).map(([name, value]) => [name, shown(value)]);
  const parts = [
    el("div", { class: "top" }, el("h2", { id: "detail-title" }, run.id), el("button", { type: "button", class: "close", "aria-label": "Close", onclick: closeDetail }, "×")),
    el("p", { class: "state" }, status(run), run.why ? el("span", {}, ` ${run.why}`) : null),
    el("p", { class: "actions" }, pick, run.page ? el("a", { href: run.page }, "Its report") : null),
    run.no_page && el("p", { class: "small" }, run.no_page),
    ...part("Lineage", run.status === "unreadable" || run.status === "withheld" ? null : lineage(run)),
    ...part("Scores", Object.keys(scoresOf(run).scores).length ? scoreTable(run) : null),
    ...part("Settings", Object.keys(run.settings ?? {}).length ? facts(pairs(run.settings)) : null),
    ...part("Inputs", (run.inputs ?? []).length ? facts([...run.inputs.map(([name, told]) => [name, told]), ["and", run.more_inputs ? `${run.more_inputs} more` : ""]]) : null),
    ...part("Figures", Object.keys(run.figures ?? {}).length ? facts(pairs(run.figures)) : null),
    ...part("Record", facts([["created", run.created], ["took", lasted(run.seconds)], ["device", run.device], ["code", run.code], ["key", run.key && `${run.key}…`], ["depicts", run.depicts], ...pairs(DATA.environments[run.environment]).filter(([name]) => name !== "device").map(([name, value]) => [name, value])], true)),
    el("pre", {}, el("code", {}, `faceswap-lab runs show ${run.id}`)),
  ];
  panel.replaceChildren(...parts.filter(Boolean));
}

// --- comparison -------------------------------------------------------------------------------------------------------------

function toggle(run) {
  if (state.chosen.includes(run)) state.chosen = state.chosen.filter((each) => each !== run);
  else if (state.chosen.length < MOST_COMPARED) state.chosen = [...state.chosen, run];
  else announce(`At most ${MOST_COMPARED} runs can be compared. Remove one first.`);
  drawChosen();
  if (state.run) drawDetail();
  remember(false);
}

function announce(message) {
  byId("count").textContent = message;
}

function drawChosen() {
  for (const [run, drawn] of rows) {
    const box = drawn.querySelector("input");
    box.checked = state.chosen.includes(run);
  }
  const tray = byId("tray");
  tray.hidden = !state.chosen.length || state.view === "comparison";
  document.body.classList.toggle("with-tray", !tray.hidden);
  const few = state.chosen.length < 2;
  const names = state.chosen.map((run) => el("span", { class: "chip" }, run.id, el("button", { type: "button", "aria-label": `Remove ${run.id}`, onclick: () => toggle(run) }, "×")));
  tray.replaceChildren(
    el("div", { class: "chips" }, names),
    el("button", { type: "button", class: "main", disabled: few, onclick: () => go("comparison") }, few ? "Choose one more" : `Compare ${state.chosen.length}`),
    el("button", { type: "button", onclick: clearChosen }, "None")
  );
  if (state.view === "comparison") drawComparison();
}

function clearChosen() {
  state.chosen = [];
  drawChosen();
  if (state.run) drawDetail();
  remember(false);
}

// A row for each name, with the runs' values; those that differ apart from those that are equal.
function told(given) {
  const names = [...new Set(state.chosen.flatMap((run) => Object.keys(given(run) ?? {})))];
  const all = names.map((name) => [name, state.chosen.map((run) => given(run)?.[name])]);
  const differs = ([, values]) => values.some((value) => value !== values[0]);
  return [all.filter(differs), all.filter((one) => !differs(one))];
}

function group(title, body) {
  if (!body.length) return null;
  const head = el("tr", {}, el("th", { colspan: state.chosen.length + 1, scope: "colgroup" }, title));
  return el("tbody", {}, head, body);
}

const plainRow = ([name, values]) => el("tr", {}, el("th", { scope: "row" }, name), values.map((value) => el("td", {}, value === undefined ? el("span", { class: "small" }, "–") : shown(value))));

function scoreRows() {
  return Object.keys(MEASURES)
    .filter((name) => state.chosen.some((run) => scoresOf(run).scores[name]))
    .map((name) => {
      const scores = state.chosen.map((run) => scoresOf(run).scores[name]);
      const values = scores.map((score) => score?.[0]).filter((value) => value != null);
      const best = MEASURES[name][3] ? Math.max(...values) : Math.min(...values);
      const unit = MEASURES[name][1] ? `, ${MEASURES[name][1]}` : "";
      const cells = scores.map((score) => {
        if (!score) return el("td", {}, el("span", { class: "small" }, "–"));
        const leads = values.length > 1 && score[0] === best && values.some((value) => value !== best);
        return el("td", {}, el(leads ? "b" : "span", { class: leads ? "value best" : "value" }, scored(name, score[0])), el("span", { class: "note" }, `floor ${scored(name, score[1])} · ceiling ${ceilingOf(name, score)}`), bar(name, score));
      });
      return el("tr", {}, el("th", { scope: "row" }, MEASURES[name][0] + unit, el("span", { class: "direction" }, MEASURES[name][3] ? "higher is better" : "lower is better")), cells);
    });
}

// Settings of the runs that a run stands on, the nearest of each verb: what an evaluation scores was decided there.
function inherited(run) {
  const found = {};
  for (const verb of new Set([...ancestors(run)].map((place) => RUNS[place].verb))) {
    const nearestOne = RUNS[[...ancestors(run)].find((place) => RUNS[place].verb === verb)];
    for (const [name, value] of Object.entries(nearestOne.settings ?? {})) found[`${verb}: ${name}`] = value;
  }
  return found;
}

const inputsTold = (run) => Object.fromEntries((run.inputs ?? []).map(([name, value]) => [name, value]));
const environmentTold = (run) => ({ device: run.device || undefined, ...DATA.environments[run.environment] });

function drawComparison() {
  const place = byId("comparison");
  const [settings, sameSettings] = told((run) => run.settings);
  const [behind] = told(inherited);
  const [inputs, sameInputs] = told(inputsTold);
  const [data, sameData] = told((run) => run.data);
  const [around, sameAround] = told(environmentTold);
  const [figures, sameFigures] = told((run) => run.figures);
  const general = { verb: (run) => run.verb, status: (run) => run.status, created: minute, took: (run) => lasted(run.seconds), "scores by": (run) => scoresOf(run).from?.id ?? "–" };
  const head = state.chosen.map((run) => el("th", { scope: "col" }, runLink(run), el("button", { type: "button", class: "drop", "aria-label": `Remove ${run.id}`, onclick: () => toggle(run) }, "×")));
  const table = el(
    "table", { class: "compared" },
    el("thead", {}, el("tr", {}, el("td"), head)),
    group("Settings that differ", settings.map(plainRow)),
    group("Settings that differ in what they stand on", behind.map(plainRow)),
    group("Inputs and data that differ", [...inputs, ...data].map(plainRow)),
    group("Scores", scoreRows()),
    group("Run", Object.entries(general).map(([name, get]) => plainRow([name, state.chosen.map(get)]))),
    group("Figures", [...figures, ...sameFigures].map(plainRow)),
    group("Environment and code", [...around.map(plainRow), plainRow(["code", state.chosen.map((run) => run.code)])])
  );
  const same = [...sameSettings, ...sameInputs, ...sameData, ...sameAround].map(([name, values]) => [name, shown(values[0])]);
  place.replaceChildren(
    el("p", {}, el("button", { type: "button", onclick: () => go("list") }, "← Back to the runs")),
    el("h2", { id: "comparison-title" }, state.chosen.length < 2 ? "Choose two to six runs to compare" : `${state.chosen.length} runs compared`),
    state.chosen.length ? el("div", { class: "wide" }, table) : "",
    same.length && state.chosen.length > 1 ? el("details", {}, el("summary", {}, `The same in all: ${same.length}`), facts(same)) : ""
  );
}

// --- trends -----------------------------------------------------------------------------------------------------------------

const WIDTH = 520;
const HEIGHT = 190;
const SPACE = { left: 52, right: 12, top: 12, bottom: 30 };

// One drawing for each measure of a benchmark: a line for each method over the versions of the code, with intervals.
function trendFigure(name, lines) {
  const codes = [...new Map(lines.flatMap((line) => line.points).sort((a, b) => (a[2] < b[2] ? -1 : 1)).map((point) => [point[0], point])).values()];
  const numbers = lines.flatMap((line) => line.points.flatMap((point) => [point[3], point[6], point[7]])).filter((value) => value != null);
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const margin = (high - low || Math.abs(high) || 1) * 0.1;
  const x = (point) => SPACE.left + (codes.length < 2 ? 0.5 : codes.findIndex((each) => each[0] === point[0]) / (codes.length - 1)) * (WIDTH - SPACE.left - SPACE.right);
  const y = (value) => SPACE.top + ((high + margin - value) / (high - low + 2 * margin)) * (HEIGHT - SPACE.top - SPACE.bottom);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": `${MEASURES[name][0]} over versions of the code` });
  for (const value of low === high ? [low] : [low, high]) {
    drawing.append(svg("line", { x1: SPACE.left, x2: WIDTH - SPACE.right, y1: y(value), y2: y(value), class: "grid" }));
    drawing.append(svg("text", { x: SPACE.left - 8, y: y(value) + 4, "text-anchor": "end" }, scored(name, value)));
  }
  for (const [place, anchor] of codes.length > 1 ? [[0, "start"], [codes.length - 1, "end"]] : [[0, "middle"]]) {
    drawing.append(svg("text", { x: x(codes[place]), y: HEIGHT - 8, "text-anchor": anchor }, (codes[place][2] ?? "").slice(0, 10)));
  }
  lines.forEach((line, number) => drawing.append(...trendLine(name, line, number % 5, x, y)));
  return drawing;
}

function trendLine(name, line, colour, x, y) {
  const path = line.points.map((point) => `${x(point).toFixed(1)},${y(point[3]).toFixed(1)}`).join(" ");
  const intervals = line.points.filter((point) => point[6] != null && point[7] != null).map((point) => svg("line", { x1: x(point), x2: x(point), y1: y(point[6]), y2: y(point[7]), class: `interval series-${colour}` }));
  const dots = line.points.map((point) => {
    const label = `${line.method}: ${scored(name, point[3])}, ${(point[2] ?? "").slice(0, 10)}, code ${point[1]}`;
    const dot = svg("a", { href: `#${new URLSearchParams({ q: `code = ${point[1]}` })}`, "aria-label": label }, svg("circle", { cx: x(point), cy: y(point[3]), r: 4, class: `series-${colour}` }, svg("title", {}, label)));
    dot.addEventListener("click", (event) => {
      event.preventDefault();
      ask(`code = ${point[1]}`);
    });
    return dot;
  });
  return [...intervals, svg("polyline", { points: path, class: `series-${colour}` }), ...dots];
}

function drawTrends() {
  const groups = new Map();
  for (const trend of DATA.trends ?? []) {
    if (!trend.points.length) continue;
    const key = `${trend.benchmark}\n${trend.score}`;
    groups.set(key, [...(groups.get(key) ?? []), trend]);
  }
  const cards = [...groups.values()].map((lines) => {
    const { score, benchmark } = lines[0];
    const legend = lines.map((line, number) => el("li", {}, el("span", { class: `key-dot series-${number % 5}`, "aria-hidden": "true" }), line.method));
    const unit = MEASURES[score][1] ? `, ${MEASURES[score][1]}` : "";
    return el("figure", {}, el("figcaption", {}, el("b", {}, MEASURES[score][0] + unit), ` ${MEASURES[score][3] ? "higher is better" : "lower is better"} · ${benchmark}`), trendFigure(score, lines), el("ul", { class: "legend" }, legend));
  });
  byId("trends").replaceChildren(
    el("h2", { id: "trends-title" }, "Benchmark over versions of the code"),
    el("p", {}, "One point for each run of the benchmark, oldest first; the bar is its interval. A point leads to the runs of its code."),
    el("div", { class: "cards" }, cards)
  );
  return cards.length;
}

// --- views ------------------------------------------------------------------------------------------------------------------

function go(view) {
  state.view = view;
  state.run = null;
  drawView();
  remember(true);
  scrollTo(0, 0);
  (view === "list" ? byId("query") : byId(view)).focus();
}

function drawView() {
  for (const name of ["list", "comparison", "trends"]) byId(name).hidden = state.view !== name;
  for (const button of byId("views").children) {
    if (button.dataset.view === state.view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  drawDetail();
  drawChosen();
}

function refresh() {
  state.limit = PAGE;
  parsed = parse(state.query);
  visible = RUNS.filter((run) => matches(parsed, run));
  drawProblems();
  drawTable();
  drawFacets();
  const most = RUNS.length === visible.length ? plural(RUNS.length, "run") : `${visible.length.toLocaleString("en")} of ${plural(RUNS.length, "run")}`;
  byId("count").textContent = visible.length ? most : "No run fits. Remove a term, or clear the filter.";
  drawView();
}

function introduce() {
  const days = RUNS.map(day).filter(Boolean).sort();
  const span = days.length ? `, ${days[0]} to ${days.at(-1)}` : "";
  const counts = ["failed", "stopped", "unfinished", "unreadable", "withheld"].map((name) => [name, RUNS.filter((run) => run.status === name).length]).filter(([, count]) => count);
  byId("intro").replaceChildren(`${plural(RUNS.length, "run")}${span}`, ...counts.flatMap(([name, count]) => ["; ", link(`status = ${name}`, `${count} ${name}`)]), `. Written ${DATA.written.slice(0, 16).replace("T", " ")} UTC by version ${DATA.version}.`);
  if (!drawTrends()) return;
  for (const [view, label] of [["list", "Runs"], ["trends", "Trends"]]) {
    byId("views").append(el("button", { type: "button", "data-view": view, onclick: () => go(view) }, label));
  }
}

function offerColumns() {
  const groups = [["Settings", "settings"], ["Figures", "figures"], ["Environment", "environment"]];
  const options = (wanted) => [...FIELDS.values()].filter((one) => wanted(one) && !one.hidden).map((one) => el("option", { value: one.name }, one.title));
  byId("columns").append(
    el("optgroup", { label: "Scores" }, options((one) => one.score)),
    ...groups.map(([label, kind]) => el("optgroup", { label }, options((one) => one.kind === kind))),
    el("optgroup", { label: "Record" }, options((one) => !one.kind && !one.score))
  );
}

let waiting = 0;

function listen() {
  byId("query").addEventListener("input", (event) => {
    performance.mark("filter-start");
    state.query = event.target.value;
    refresh();
    performance.mark("filter-end");
    clearTimeout(waiting);
    waiting = setTimeout(() => remember(false), 300);
  });
  byId("search").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", () => {
    ask("");
    byId("query").focus();
  });
  byId("columns").addEventListener("change", (event) => {
    if (event.target.value && !state.extra.includes(event.target.value)) state.extra.push(event.target.value);
    event.target.value = "";
    drawTable();
  });
  byId("sort").addEventListener("change", (event) => sortBy(event.target.value.slice(1), event.target.value.startsWith("-")));
  byId("more").addEventListener("click", () => showMore());
  new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && showMore(), { rootMargin: "600px" }).observe(byId("more"));
  addEventListener("beforeprint", () => {
    state.limit = Infinity;
    drawTable();
  });
  addEventListener("popstate", restore);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.run) closeDetail();
    if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) {
      event.preventDefault();
      if (state.view !== "list") go("list");
      byId("query").focus();
    }
  });
}

buildFacets();
introduce();
offerColumns();
listen();
restore();
performance.mark("index-end");
