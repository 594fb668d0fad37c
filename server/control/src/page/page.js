// The page plays like any other client: the world comes over the players' websocket, figures over HTTP.
"use strict";

const $ = (id) => document.getElementById(id);
const METRES_PER_DEGREE = 111319.49;
const VIEW_M = 200;

const state = {
  place: { lat: 40.4168, lon: -3.7038 },
  reach: 50,
  play: null,
  socket: null,
  retryMs: 0, // how long was waited for the last try to connect
  wild: new Map(), // fakemon_id → sighting
  thrown: new Map(), // attempt_id → fakemon_id
  attempt: BigInt(Date.now()) * 1000n, // unique among this player's throws, also after a reload
  figures: null,
};

// ---- figures

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = (number) => (number >= 99.5 ? whole.format(number) : String(Number(number.toPrecision(2))));
const ms = (pair) => (pair ? `${short(pair.p50)} / ${short(pair.p99)} ms` : "–");

async function refreshFigures() {
  try {
    const figures = await (await fetch("/figures")).json();
    const seen = performance.now();
    const before = state.figures;
    if (before) {
      const rate = (figures.attempts - before.figures.attempts) / ((seen - before.seen) / 1000);
      $("figure-rate").textContent = whole.format(Math.max(0, rate));
    }
    if (!before) firstFigures(figures);
    state.figures = { figures, seen };
    for (const name of ["attempts", "captured", "wild", "connections", "position"]) {
      $(`figure-${name}`).textContent = whole.format(figures[name]);
    }
    $("figure-attempt").textContent = ms(figures.attempt_ms);
    $("figure-sync").textContent = ms(figures.sync_ms);
    const memory = figures.memory_bytes ? `, ${whole.format(figures.memory_bytes / 1048576)} MiB of memory` : "";
    const sync = figures.synced ? "" : " Durability is unsynced: a power cut can take answers back.";
    $("about").textContent =
      `fakemon ${figures.version} on ${figures.cores} ${figures.cores === 1 ? "core" : "cores"}${memory}, up ${duration(figures.uptime_s)}.${sync}`;
    if (figures.failure) show($("state"), figures.failure, "bad");
    else show($("state"), figures.draining ? "stopping" : "running", figures.draining ? "bad" : "good");
  } catch {
    show($("state"), "the server does not answer", "bad");
  }
}

function duration(seconds) {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

function firstFigures(figures) {
  const { play, world } = figures;
  const unspecified = play.host === "0.0.0.0" || play.host === "::";
  const host = unspecified ? location.hostname : play.host.includes(":") ? `[${play.host}]` : play.host;
  state.play = { url: `${play.scheme}://${host}:${play.port}/play`, token: play.token };
  state.reach = world.reach_m;
  if (world.demo) state.place = world.demo;
  $("reach").setAttribute("r", state.reach);
  $("name-label").textContent = play.token ? "Token" : "Player";
  $("name").value = play.token ? "" : remembered() ?? `guest-${Math.floor(Math.random() * 10000)}`;
  $("species").replaceChildren(...world.species.map((name) => new Option(name)));
  $("snippet").textContent = pythonSnippet();
  $("curl").textContent = curlSnippet();
  draw();
  if (!play.token) join();
}

/** The name of the last visit. A browser that keeps nothing of pages says so by an exception. */
function remembered() {
  try {
    return localStorage.getItem("player");
  } catch {
    return null;
  }
}

function remember(name) {
  try {
    localStorage.setItem("player", name);
  } catch {
    // the next visit begins as a guest
  }
}

function pythonSnippet() {
  const { lat, lon } = state.place;
  const query = state.play.token ? "token=JWT" : "player=ash";
  return `import asyncio, json, websockets

async def main():
    async with websockets.connect("${state.play.url}?${query}") as ws:
        async def ask(answer, **message):
            await ws.send(json.dumps(message))
            while True:  # what appears and vanishes around you comes in between
                reply = json.loads(await ws.recv())
                if reply["type"] == answer:
                    return reply
        world = await ask("world", type="look", lat=${lat}, lon=${lon}, radius_m=200)
        for attempt, wild in enumerate(world["fakemon"][:3], 1):
            print(await ask("result", type="attempt", attempt_id=str(attempt),
                            fakemon_id=wild["fakemon_id"], lat=wild["lat"], lon=wild["lon"]))

asyncio.run(main())`;
}

function curlSnippet() {
  const { lat, lon } = state.place;
  return `curl ${location.origin}/events -d '{"source": "fakemon.world",
  "detail-type": "fakemon.spawn",
  "detail": {"species": "sparkit", "lat": ${lat}, "lon": ${lon}, "catch_rate": 1}}'`;
}

// ---- the websocket

const NAME_BYTES_MAX = 64;
const EXPIRED = 4401;
const RETRY_MS_MAX = 30000;

/** What is wrong with a player's name; nothing if it can be one. */
function nameProblem(name) {
  if (!name) return "a name has a character that is no blank";
  if (/\p{Cc}/u.test(name)) return "a name has no control characters";
  if (/\p{Cs}/u.test(name)) return "a name has whole characters, and one here is half of one";
  const bytes = new TextEncoder().encode(name).length;
  return bytes > NAME_BYTES_MAX ? `a name has at most ${NAME_BYTES_MAX} bytes, this one has ${bytes}` : "";
}

function join() {
  if (!state.play) return;
  const who = $("name").value.trim();
  $("name").setCustomValidity(state.play.token ? tokenProblem(who) : nameProblem(who));
  if (!$("name").reportValidity()) return;
  if (!state.play.token) remember(who);
  state.retryMs = 0;
  connect(who);
}

/** What is wrong with a token; the server knows the rest. */
const tokenProblem = (token) => (/^[\x21-\x7e]+$/.test(token) ? "" : "a token has letters, digits and dots, and no blanks");

/** Connects, and again when the line breaks: as who joined, whatever stands in the form by then. */
function connect(who) {
  state.socket?.close();
  const query = `${state.play.token ? "token" : "player"}=${encodeURIComponent(who)}`;
  const socket = new WebSocket(`${state.play.url}?${query}`);
  state.socket = socket;
  socket.onopen = () => {
    state.retryMs = 0;
    say(`you play as ${state.play.token ? "your token says" : who}`);
    look();
    send({ type: "collection" });
  };
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = (event) => {
    if (state.socket !== socket) return; // we left ourselves
    say(event.reason || "the connection is closed; trying again", "bad");
    if (event.code === EXPIRED) return; // the same token will not do
    state.retryMs = Math.min(Math.max(2000, state.retryMs * 2), RETRY_MS_MAX);
    setTimeout(() => state.socket === socket && connect(who), state.retryMs);
  };
}

function send(message) {
  if (state.socket?.readyState === WebSocket.OPEN) state.socket.send(JSON.stringify(message));
}

function look() {
  send({ type: "look", ...state.place, radius_m: VIEW_M * 1.4 });
}

function receive(message) {
  switch (message.type) {
    case "world":
      state.wild = new Map(message.fakemon.map((wild) => [wild.fakemon_id, wild]));
      return draw();
    case "appeared":
      for (const wild of [message.fakemon ?? message].flat()) state.wild.set(wild.fakemon_id, wild);
      return draw();
    case "vanished":
      for (const gone of [message.fakemon_id].flat()) state.wild.delete(gone);
      return draw();
    case "result":
      return result(message);
    case "collection":
      return showCollection(message.items);
    case "error":
      return say(message.message, "bad");
  }
}

// ---- throwing

const WORDS = {
  already_captured: "someone was quicker",
  dodged: "it dodged; throw again",
  vanished: "it vanished",
  out_of_reach: "too far away; walk closer",
  unknown_fakemon: "there is no such fakémon",
  throttled: "too much is going on; wait a moment",
};

function throwAt(wild) {
  const attempt = String(state.attempt++);
  state.thrown.set(attempt, { species: wild.species, began: performance.now() });
  flyTo(wild);
  send({ type: "attempt", attempt_id: attempt, fakemon_id: wild.fakemon_id, ...state.place });
}

function result(message) {
  const thrown = state.thrown.get(message.attempt_id);
  state.thrown.delete(message.attempt_id);
  const took = thrown ? ` (${(performance.now() - thrown.began).toFixed(1)} ms)` : "";
  if (message.outcome === "captured") {
    say(`caught ${thrown?.species ?? "it"}, position ${message.position}${took}`, "good");
    state.wild.delete(message.fakemon_id);
    send({ type: "collection" });
    draw();
  } else {
    say(`${thrown?.species ?? "missed"}: ${WORDS[message.reason] ?? message.reason}${took}`, "bad");
  }
}

function say(text, tone = "") {
  show($("answer"), text, tone);
}

function show(element, text, tone) {
  element.textContent = text;
  element.classList.remove("good", "bad");
  if (tone) element.classList.add(tone);
}

function showCollection(items) {
  $("count").textContent = items.length ? `(${items.length})` : "";
  $("empty").hidden = items.length > 0;
  const newest = items.slice(-60).reverse();
  $("collection").replaceChildren(
    ...newest.map((item) => {
      const entry = document.createElement("li");
      entry.title = `${item.fakemon_id}, caught ${item.captured_at}, position ${item.position}`;
      const picture = svg("svg", { viewBox: "-12 -12 24 24", "aria-hidden": "true" });
      picture.append(creature(item.species));
      entry.append(picture, item.species);
      return entry;
    }),
  );
}

// ---- drawing

function svg(name, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** A small creature that looks the same wherever its species is named: drawn from the letters of the name. */
function creature(species) {
  let seed = 2166136261;
  for (const letter of species) seed = Math.imul(seed ^ letter.codePointAt(0), 16777619) >>> 0;
  const pick = (n) => ((seed = Math.imul(seed ^ (seed >>> 15), 2246822519) >>> 0), seed % n);
  const hue = pick(360);
  const body = `hsl(${hue} 70% 58%)`;
  const dark = `hsl(${hue} 60% 32%)`;
  const group = svg("g");
  const ears = ["M-7-4L-9-11L-3-7ZM7-4L9-11L3-7Z", "M-5-6Q-9-12-2-8ZM5-6Q9-12 2-8Z", "M0-8L-2-12L2-12Z", "M-6-6L-4-12L0-8L4-12L6-6Z"];
  group.append(svg("path", { d: ears[pick(ears.length)], fill: dark }));
  const shapes = [
    { rx: 8.5, ry: 8 },
    { rx: 7.2, ry: 9 },
    { rx: 9.5, ry: 7 },
  ];
  group.append(svg("ellipse", { ...shapes[pick(shapes.length)], cy: 1, fill: body, stroke: dark }));
  const apart = 2.6 + pick(10) / 10;
  for (const x of [-apart, apart]) {
    group.append(svg("circle", { cx: x, cy: -0.5, r: 1.9, fill: "#fff" }), svg("circle", { cx: x, cy: -0.2, r: 1, fill: "#111" }));
  }
  const mouths = ["M-2 4Q0 6 2 4", "M-2 4.5H2", "M-1.5 4L0 5.2L1.5 4"];
  group.append(svg("path", { d: mouths[pick(mouths.length)], stroke: dark, fill: "none" }));
  return group;
}

function offset(place) {
  const lon = ((place.lon - state.place.lon + 540) % 360) - 180; // the short way, over the date line too
  const east = lon * METRES_PER_DEGREE * Math.cos((state.place.lat * Math.PI) / 180);
  const north = (place.lat - state.place.lat) * METRES_PER_DEGREE;
  return { x: east, y: -north, metres: Math.hypot(east, north) };
}

function moved(x, y) {
  const lat = state.place.lat - y / METRES_PER_DEGREE;
  const lon = state.place.lon + x / (METRES_PER_DEGREE * Math.cos((lat * Math.PI) / 180));
  return { lat: Math.max(-89.9, Math.min(89.9, lat)), lon: ((lon + 540) % 360) - 180 };
}

let isDue = false;
function draw() {
  if (isDue) return; // many messages, one picture
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    drawGrid();
    const now = Date.now();
    const visible = [...state.wild.values()].filter((wild) => Date.parse(wild.vanishes_at) > now && isInView(offset(wild)));
    const ids = new Set(visible.map((wild) => wild.fakemon_id));
    for (const [id, group] of pictures) if (!ids.has(id)) forget(id, group);
    visible.forEach(drawWild);
  });
}

const isInView = ({ x, y }) => Math.max(Math.abs(x), Math.abs(y)) <= VIEW_M;

// Pictures stay as long as what they show, for whoever has the focus on one; only what changes is written.
const pictures = new Map(); // fakemon_id → group

function forget(id, group) {
  const hadFocus = document.activeElement === group;
  const next = group.nextElementSibling ?? group.previousElementSibling;
  pictures.delete(id);
  group.remove();
  if (hadFocus) next?.focus();
}

function drawWild(wild) {
  const { x, y, metres } = offset(wild);
  const group = pictures.get(wild.fakemon_id) ?? picture(wild);
  group.setAttribute("transform", `translate(${x} ${y})`);
  group.setAttribute("aria-label", `${wild.species}, ${Math.round(metres)} metres away: throw`);
  group.classList.toggle("far", metres > state.reach);
}

function picture(wild) {
  const group = svg("g", { class: "creature", tabindex: 0, role: "button" });
  const name = svg("text", { y: 22 });
  name.textContent = wild.species;
  const drawn = creature(wild.species);
  drawn.setAttribute("transform", "scale(1.3)");
  group.append(svg("circle", { r: 18, fill: "transparent" }), drawn, name);
  group.onclick = (event) => (event.stopPropagation(), throwAt(wild));
  group.onkeydown = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault(); // the space bar scrolls
    throwAt(wild);
  };
  pictures.set(wild.fakemon_id, group);
  $("wild").append(group);
  return group;
}

function drawGrid() {
  const step = 50;
  const origin = offset({ lat: 0, lon: 0 });
  const first = (at) => (((at % step) + step) % step) - VIEW_M;
  let d = "";
  for (let at = first(origin.x); at <= VIEW_M; at += step) d += `M${at} -200V200`;
  for (let at = first(origin.y); at <= VIEW_M; at += step) d += `M-200 ${at}H200`;
  $("grid").replaceChildren(svg("path", { d }));
}

function flyTo(wild) {
  const { x, y } = offset(wild);
  const ball = svg("circle", { class: "ball", r: 4 });
  $("balls").append(ball);
  const flight = ball.animate([{ transform: "translate(0,0)" }, { transform: `translate(${x}px,${y}px)` }], { duration: 250, easing: "ease-out" });
  flight.onfinish = () => ball.remove();
}

// ---- the visitor

$("join").onsubmit = (event) => (event.preventDefault(), join());
$("name").oninput = () => $("name").setCustomValidity("");
$("map").onclick = (event) => {
  const box = $("map").getBoundingClientRect();
  const scale = (2 * VIEW_M) / box.width;
  const x = (event.clientX - box.left - box.width / 2) * scale;
  const y = (event.clientY - box.top - box.height / 2) * scale;
  state.place = moved(x, y);
  look();
  draw();
};
$("spawn").onsubmit = async (event) => {
  event.preventDefault();
  const angle = Math.random() * 2 * Math.PI;
  const place = moved(20 * Math.cos(angle), 20 * Math.sin(angle));
  const body = { source: "fakemon.world", "detail-type": "fakemon.spawn", detail: { species: $("species").value, ...place } };
  const response = await fetch("/events", { method: "POST", body: JSON.stringify(body) });
  const answer = await response.json();
  if (response.ok) say(`${body.detail.species} ${answer.fakemon_id} appeared, position ${answer.position}`, "good");
  else say(answer.error.message, "bad");
};

// ---- who emits what; where signatures are asked for, the page has none to show, and leaves this out

const TYPES_SHOWN = 20;

async function refreshTopology() {
  const response = await fetch("/topology").catch(() => null);
  if (!response?.ok) return;
  const topology = await response.json();
  const types = topology.event_types.sort((a, b) => b.events - a.events).slice(0, TYPES_SHOWN);
  $("types").replaceChildren(...types.map((type) => {
    const takers = Object.keys(type.rules).join(", ") || "nobody";
    const row = document.createElement("tr");
    const cells = [type.bus, `${type.source} / ${type.detail_type}`, whole.format(type.events), type.per_second, takers];
    row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  }));
  $("findings").replaceChildren(...topology.findings.slice(0, TYPES_SHOWN).map((finding) => {
    const textContent = `${finding.subject}: ${finding.message}`;
    return Object.assign(document.createElement("li"), { className: finding.severity, textContent });
  }));
  $("topology").hidden = types.length === 0;
}

setInterval(draw, 5000); // what has vanished leaves the map
setInterval(refreshFigures, 1000);
refreshFigures();
setInterval(refreshTopology, 5000);
refreshTopology();
