// The ops page: asks /api/state once a second and draws what it says. Nothing is kept but the last few answers,
// from which rates are made.

const EVERY_MS = 1000;
const ANSWER_MS = 4000;
const EDGE = 16; // chunks along an island's side
const STEPS = [1, 5, 20, 50, 100, 300]; // players in a chunk from which a colour begins
const BUSIEST = 10;
const RATES_OVER = 5; // answers over which CPU is averaged: nodes report theirs twice a second

const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const clock = (date) => date.toLocaleTimeString("en-GB");

// Makes an element: attributes, then children (texts or elements).
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// ---- contact with the server ----

let past = []; // the last states, the oldest first
let lostSince = null;

async function ask() {
  const answer = await fetch("api/state", { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
  const state = await answer.json();
  if (answer.ok) return state;
  if (state.starting) return { starting: state.starting };
  throw new Error(`the server answered ${answer.status}`);
}

async function step() {
  try {
    const state = await ask();
    lostSince = null;
    if (state.starting) {
      showContact("starting", `starting: ${state.starting}`);
    } else {
      draw(state);
      if (state.ready === false) {
        showContact("unready", "nobody can play");
        showNotice(`Nobody can play right now: ${state.unready}`);
      } else {
        showContact("live", "live");
      }
    }
  } catch (error) {
    lostSince ??= new Date();
    const secs = Math.round((Date.now() - lostSince) / 1000);
    showContact("lost", `lost contact since ${clock(lostSince)}`);
    const kept = past.length ? " What you see is from then." : "";
    showNotice(`No answer from the server for ${secs} s; asking again each second.${kept}`);
  }
  setTimeout(step, EVERY_MS);
}

function showContact(how, text) {
  document.body.dataset.contact = how;
  setText(byId("contact-text"), text);
  document.title = { lost: "Atoll: lost contact", unready: "Atoll: nobody can play" }[how] ?? "Atoll";
  if (how === "live" || how === "starting") byId("notice").hidden = true;
}

function showNotice(text) {
  setText(byId("notice"), text);
  byId("notice").hidden = false;
}

// ---- the whole page ----

function draw(state) {
  // A server that was started anew counts from zero again.
  if (past.length && state.uptime_s < past.at(-1).uptime_s) past = [];
  const last = past[0];
  const rates = { last, seconds: last ? state.uptime_s - last.uptime_s : 0 };
  byId("main").setAttribute("aria-busy", "false");
  setText(byId("role"), { up: "", allocator: "allocator", node: "node" }[state.role] ?? "");
  setText(byId("version"), `version ${state.version}`);
  byId("join").hidden = !state.join;
  setText(byId("join"), `join ${state.join}`);
  drawTiles(state, rates);
  drawNodes(state, rates);
  drawIslands(state);
  drawPlan(state);
  past = [...past.slice(1 - RATES_OVER), state];
}

// CPU per second since an earlier state: cores.
function cores(now, last, rates) {
  if (last === undefined || rates.seconds <= 0) return null;
  return Math.max(0, (now - last) / rates.seconds);
}

// ---- tiles ----

const tiles = new Map();

function tile(key, label, value, note = "", mood = "") {
  let parts = tiles.get(key);
  if (!parts) {
    const [dt, dd, small] = [make("dt", {}, label), make("dd"), make("dd", { class: "note" })];
    const box = make("div", {}, dt, dd, small);
    byId("tiles").append(box);
    parts = { box, dd, small };
    tiles.set(key, parts);
  }
  parts.box.className = `tile ${mood}`;
  setText(parts.dd, value);
  setText(parts.small, note);
}

function drawTiles(state, rates) {
  const { nodes, islands, tick_budget_ms: budget } = state;
  const alive = nodes.filter((node) => node.alive);
  const sessions = nodes.reduce((sum, node) => sum + node.sessions, 0);
  if (islands) {
    const seats = islands.reduce((sum, island) => sum + island.population, 0);
    const design = islands.reduce((sum, island) => sum + island.design, 0);
    tile("players", "Seats", number.format(seats), `${number.format(sessions)} players inside`);
    tile("islands", "Islands", number.format(islands.length), `designed for ${number.format(design)}`);
  } else {
    tile("players", "Sessions", number.format(sessions));
  }
  const away = nodes.length - alive.length;
  tile("nodes", "Nodes", number.format(alive.length), away ? `${away} away` : "all alive", away ? "warn" : "");
  if (state.queue) tile("queue", "Waiting", number.format(state.queue.waiting), "joins unanswered");
  const p99 = Math.max(0, ...alive.map((node) => node.tick_ms.p99));
  tile("tick", "Slowest tick", `${milliseconds(p99)} ms`, `p99, budget ${budget} ms`, mood(p99, budget));
  const used = cores(state.server_cpu_s, rates.last?.server_cpu_s, rates);
  tile("cpu", "Server CPU", used === null ? "…" : used.toFixed(2), "cores");
  if (state.server_rss_bytes) {
    tile("memory", "Memory", `${number.format(Math.round(state.server_rss_bytes / 2 ** 20))} MiB`, `up ${age(state.uptime_s)}`);
  }
}

function milliseconds(value) {
  return value.toFixed(value < 10 ? 1 : 0);
}

function mood(p99, budget) {
  return p99 >= budget ? "bad" : p99 >= budget / 2 ? "warn" : "";
}

function age(seconds) {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s} s`;
}

// ---- nodes ----

function drawNodes(state, rates) {
  const { nodes, tick_budget_ms: budget } = state;
  byId("nodes-table").hidden = nodes.length === 0;
  byId("nodes-empty").hidden = nodes.length > 0;
  setText(byId("nodes-empty"), "No node has registered with the store yet.");
  const rows = nodes.map((node) => {
    const last = rates.last?.nodes.find((other) => other.id === node.id);
    const used = cores(node.cpu_s, last?.cpu_s, rates);
    const { p50, p99 } = node.tick_ms;
    const cell = (label, text) => make("td", { role: "cell", class: "number", "data-label": label }, text);
    const name = make("td", { role: "cell" }, make("b", {}, `${node.id}`), " ");
    if (!node.alive) name.append(make("span", { class: "badge" }, "away"));
    name.append(make("span", { class: "address" }, node.address));
    const bar = make("div", { class: "budget", "aria-hidden": "true" });
    for (const [kind, value] of [["p99", p99], ["p50", p50]]) {
      const part = make("i", { class: kind });
      part.style.width = `${Math.min(100, (100 * value) / budget)}%`;
      bar.append(part);
    }
    const tick = make("td", { role: "cell", class: "tick-column", "data-label": "Tick p50 / p99" },
      make("span", { class: "ticks" }, `${milliseconds(p50)} / ${milliseconds(p99)} ms`), bar);
    const row = make("tr", { role: "row", class: node.alive ? mood(p99, budget) : "away" }, name,
      cell("Sessions", number.format(node.sessions)), tick,
      cell("CPU", used === null ? "…" : `${Math.round(used * 100)} %`),
      cell("Ghosts", number.format(node.ghosts)), cell("Chunks", number.format(node.chunks_claimed)));
    return row;
  });
  byId("nodes").replaceChildren(...rows);
}

// ---- plan ----

let planShown = "";

function drawPlan(state) {
  byId("plan-section").hidden = !state.plan;
  if (!state.plan) return;
  const text = JSON.stringify(state.plan);
  if (text === planShown) return;
  planShown = text;
  const { number: planNumber, reasons } = state.plan;
  setText(byId("plan-number"), planNumber ? `number ${planNumber}` : "");
  byId("plan-empty").hidden = reasons.length > 0;
  setText(byId("plan-empty"), "The allocator has not looked yet.");
  const entries = reasons.flatMap((reason) => {
    const colon = reason.indexOf(": ");
    const [step, why] = colon > 0 ? [reason.slice(0, colon), reason.slice(colon + 2)] : ["", reason];
    return [make("dt", {}, step), make("dd", {}, why)];
  });
  byId("plan").replaceChildren(...entries);
}

// ---- islands ----

const cards = new Map();
let openNext = false; // whether there is room for the next card's table
let colours = null;

function drawLegend() {
  const entry = (kind, text) => make("li", {}, make("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), text);
  const steps = STEPS.map((from, i) => {
    const to = i + 1 < STEPS.length ? STEPS[i + 1] - 1 : null;
    return entry(`s${i + 1}`, to ? `${from}–${to}` : `${from}+`);
  });
  byId("legend").replaceChildren(entry("", "nobody"), ...steps, entry("claim", "claimed"));
}

function drawIslands(state) {
  const islands = state.islands;
  byId("islands-section").hidden = !islands;
  byId("main").classList.toggle("no-islands", !islands);
  if (!islands) return;
  const nobody = state.nodes.every((node) => node.sessions === 0) && islands.every((island) => island.population === 0);
  const empty = byId("islands-empty");
  empty.hidden = islands.length > 0 && !nobody;
  if (islands.length === 0) setText(empty, "There is no island yet: the allocator opens the first once a node serves.");
  else if (nobody) setText(empty, `Nobody is here yet.${state.join ? ` Clients join at ${state.join}.` : ""}`);
  const single = islands.length === 1;
  if (byId("islands").classList.toggle("single", single) && cards.size === 0) openNext = window.innerWidth >= 700;
  for (const [id, card] of cards) {
    if (!islands.some((island) => island.id === id)) {
      card.root.remove();
      cards.delete(id);
    }
  }
  for (const island of islands) {
    let card = cards.get(island.id);
    if (!card) {
      card = newCard(island.id);
      cards.set(island.id, card);
      byId("islands").append(card.root);
    }
    const text = JSON.stringify(island);
    if (card.shown !== text) {
      card.shown = text;
      card.island = island;
      drawCard(card);
    }
  }
}

function newCard(id) {
  const title = make("h3", { id: `island-${id}` }, `Island ${id}`);
  const what = make("span", { class: "what" });
  const people = make("b");
  const peopleNote = make("span");
  const fill = make("div", { class: "fill" });
  const marks = [make("div", { class: "mark" }), make("div", { class: "mark" })];
  const meter = make("div", { class: "meter", role: "meter", "aria-valuemin": "0" }, fill, ...marks);
  const scale = make("div", { class: "scale", "aria-hidden": "true" });
  const map = make("canvas", { class: "map", role: "img", tabindex: "0" });
  const said = make("p", { class: "said", "aria-live": "polite" });
  const rows = make("tbody");
  const head = ["Chunk", "Players", "Claimed by nodes"].map((text) => make("th", { scope: "col" }, text));
  const details = make("details", {}, make("summary", {}, "Busiest chunks"),
    make("table", {}, make("thead", {}, make("tr", {}, ...head)), rows));
  details.open = openNext;
  openNext = false;
  const root = make("article", { class: "card", "aria-labelledby": `island-${id}` },
    make("div", { class: "card-head" }, title, what), make("p", { class: "people" }, people, peopleNote),
    meter, scale, make("div", { class: "body" }, make("div", {}, map, said), details));
  const card = { root, what, people, peopleNote, fill, marks, meter, scale, map, said, rows, cursor: null, pointed: false };
  followPointer(card);
  new ResizeObserver(() => drawMap(card)).observe(map);
  return card;
}

function drawCard(card) {
  const { island } = card;
  const { population, design, cap, minimum } = island;
  setText(card.what, `${island.kind} · ${island.state} · nodes ${island.nodes.join(", ") || "none"}`);
  setText(card.people, number.format(population));
  const below = population > 0 && population < minimum;
  const how = population >= cap ? "full" : population > design ? "above design" : below ? "below minimum" : "";
  setText(card.peopleNote, `${population === 1 ? "player" : "players"}${how ? `, ${how}` : ""}`);
  card.meter.className = `meter ${population >= cap ? "full" : population > design ? "above" : ""}`;
  for (const [name, value] of [["valuenow", Math.min(population, cap)], ["valuemax", cap], ["label", "population"],
    ["valuetext", `${population} players; minimum ${minimum}, design ${design}, cap ${cap}`]]) {
    card.meter.setAttribute(`aria-${name}`, value);
  }
  card.fill.style.width = `${Math.min(100, (100 * population) / cap)}%`;
  card.marks[0].style.left = `${(100 * minimum) / cap}%`;
  card.marks[1].style.left = `${(100 * design) / cap}%`;
  drawScale(card.scale, minimum, design, cap);
  const busy = island.chunks.filter((chunk) => chunk.population > 0).sort((a, b) => b.population - a.population);
  card.map.setAttribute("aria-label",
    `Map of island ${island.id}: players in ${busy.length} of ${EDGE * EDGE} chunks. Arrow keys go from chunk to chunk.`);
  const rows = busy.slice(0, BUSIEST).map((chunk) => make("tr", {},
    make("td", {}, `${chunk.x}, ${chunk.y}`), make("td", {}, number.format(chunk.population)),
    make("td", {}, chunk.claimants.join(", ") || "nobody")));
  card.rows.replaceChildren(...(rows.length ? rows : [make("tr", {}, make("td", { colspan: "3" }, "Nobody is on this island."))]));
  drawMap(card);
  if (card.cursor) tellCursor(card);
}

// Labels under the meter; those that would touch are put into one.
function drawScale(scale, minimum, design, cap) {
  const near = (a, b) => Math.abs(a - b) / cap < 0.24;
  const labels = [];
  const low = { at: minimum, text: `minimum ${number.format(minimum)}`, start: minimum / cap < 0.16 };
  if (near(design, cap)) {
    labels.push(low, { text: `design ${number.format(design)} · cap ${number.format(cap)}`, end: true });
  } else if (near(minimum, design)) {
    labels.push({ at: minimum, text: `minimum ${number.format(minimum)} · design ${number.format(design)}`, start: true });
    labels.push({ text: `cap ${number.format(cap)}`, end: true });
  } else {
    labels.push(low, { at: design, text: `design ${number.format(design)}` }, { text: `cap ${number.format(cap)}`, end: true });
  }
  scale.replaceChildren(...labels.map(({ at, text, end, start }) => {
    const label = make("span", { class: end ? "end" : start ? "start" : "" }, text);
    if (!end && !start) label.style.left = `${(100 * at) / cap}%`;
    return label;
  }));
}

// ---- the map of an island ----

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  colours = {
    empty: colour("--map-empty"),
    claim: colour("--map-claim"),
    ink: colour("--ink"),
    steps: STEPS.map((_, i) => colour(`--map-${i + 1}`)),
  };
}

function colourOf(population) {
  let at = -1;
  while (at + 1 < STEPS.length && population >= STEPS[at + 1]) at += 1;
  return at < 0 ? colours.empty : colours.steps[at];
}

function drawMap(card) {
  const { map, island } = card;
  const side = map.clientWidth;
  if (!island || side === 0) return;
  const scale = window.devicePixelRatio || 1;
  const pixels = Math.round(side * scale);
  if (map.width !== pixels) map.width = map.height = pixels;
  const draw = map.getContext("2d");
  const cell = pixels / EDGE;
  const gap = Math.max(1, Math.round(cell * 0.06));
  const chunks = new Map(island.chunks.map((chunk) => [chunk.y * EDGE + chunk.x, chunk]));
  draw.clearRect(0, 0, pixels, pixels);
  for (let y = 0; y < EDGE; y += 1) {
    for (let x = 0; x < EDGE; x += 1) {
      const chunk = chunks.get(y * EDGE + x);
      // North is up: row 0 is the southernmost.
      const [left, top] = [Math.round(x * cell), Math.round((EDGE - 1 - y) * cell)];
      const size = Math.round(cell) - gap;
      draw.fillStyle = colourOf(chunk?.population ?? 0);
      draw.beginPath();
      draw.roundRect(left, top, size, size, cell * 0.14);
      draw.fill();
      if (chunk?.claimants.length) outline(draw, left, top, size, cell, colours.claim, scale);
      if (card.cursor && card.cursor.x === x && card.cursor.y === y) {
        outline(draw, left, top, size, cell, colours.ink, 2 * scale);
      }
    }
  }
}

function outline(draw, left, top, size, cell, colour, width) {
  draw.strokeStyle = colour;
  draw.lineWidth = width;
  draw.beginPath();
  draw.roundRect(left + width / 2, top + width / 2, size - width, size - width, cell * 0.12);
  draw.stroke();
}

function chunkText(island, { x, y }) {
  const chunk = island.chunks.find((other) => other.x === x && other.y === y);
  const players = chunk?.population ?? 0;
  const who = chunk?.claimants.length ? `claimed by ${chunk.claimants.map((node) => `node ${node}`).join(", ")}` : "claimed by nobody";
  return [`Chunk ${x}, ${y}`, `${number.format(players)} ${players === 1 ? "player" : "players"}, ${who}`];
}

// What is under the cursor: beside the pointer, or in words below the map when it was moved by keys.
function tellCursor(card) {
  const [where, what] = chunkText(card.island, card.cursor);
  if (card.pointed) byId("tip").replaceChildren(make("b", {}, where), what);
  else setText(card.said, `${where}: ${what}`);
}

function moveCursor(card, cursor, pointed) {
  card.cursor = cursor;
  card.pointed = pointed;
  byId("tip").hidden = !pointed || !cursor;
  if (!cursor || pointed) setText(card.said, "");
  if (cursor) tellCursor(card);
  drawMap(card);
}

function followPointer(card) {
  const { map } = card;
  map.addEventListener("pointermove", (event) => {
    if (!card.island) return;
    const box = map.getBoundingClientRect();
    const at = (from, length) => Math.min(EDGE - 1, Math.max(0, Math.floor((from / length) * EDGE)));
    const cursor = { x: at(event.clientX - box.left, box.width), y: EDGE - 1 - at(event.clientY - box.top, box.height) };
    moveCursor(card, cursor, true);
    placeTip(event.clientX, event.clientY);
  });
  map.addEventListener("pointerleave", () => moveCursor(card, null, true));
  map.addEventListener("blur", () => moveCursor(card, null, false));
  map.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step || !card.island) return;
    event.preventDefault();
    const from = card.cursor ?? { x: EDGE / 2, y: EDGE / 2 };
    const inside = (value) => Math.min(EDGE - 1, Math.max(0, value));
    const to = { x: inside(from.x + step[0]), y: inside(from.y + step[1]) };
    moveCursor(card, card.cursor ? to : from, false);
  });
}

function placeTip(x, y) {
  const tip = byId("tip");
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > window.innerWidth ? x - 14 - width : x + 14;
  const top = y + 14 + height > window.innerHeight ? y - 14 - height : y + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

// ---- start ----

readColours();
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  cards.forEach(drawMap);
});
drawLegend();
step();
