// The page's script in a document that is just enough for it: what it draws, whom it connects as, how it shows figures.
"use strict";

const assert = require("assert");
const fs = require("fs");
const vm = require("vm");

class Element {
  constructor(name = "") {
    Object.assign(this, { name, children: [], attributes: {}, style: {}, textContent: "", value: "", problem: "", hidden: false });
    this.classList = { add() {}, remove() {}, toggle() {} };
  }
  setAttribute(key, value) { this.attributes[key] = String(value); }
  append(...children) { for (const child of children) { if (child instanceof Element) child.parent = this; this.children.push(child); } }
  replaceChildren(...children) { this.children = []; this.append(...children); }
  remove() { this.parent.children.splice(this.parent.children.indexOf(this), 1); if (page.document.activeElement === this) page.document.activeElement = null; }
  get nextElementSibling() { return this.parent.children[this.parent.children.indexOf(this) + 1] ?? null; }
  get previousElementSibling() { return this.parent.children[this.parent.children.indexOf(this) - 1] ?? null; }
  focus() { page.document.activeElement = this; }
  setCustomValidity(problem) { this.problem = problem; }
  reportValidity() { return this.problem === ""; }
}

const elements = {};
const sockets = [];
class WebSocket {
  static OPEN = 1;
  constructor(url) { Object.assign(this, { url, readyState: 0 }); sockets.push(this); }
  close() {}
  send() {}
}

const timers = [];
const page = {
  document: {
    activeElement: null,
    getElementById: (id) => (elements[id] ??= new Element(id)),
    createElementNS: (_, name) => new Element(name),
    createElement: (name) => new Element(name),
  },
  localStorage: { getItem: () => null, setItem() {} },
  location: { hostname: "localhost", origin: "http://localhost:7401" },
  fetch: () => Promise.reject(new Error("nobody answers here")),
  requestAnimationFrame: (draw) => draw(),
  setInterval() {},
  setTimeout: (act, ms) => timers.push({ act, ms }),
  performance, TextEncoder, Intl, WebSocket, console,
};
vm.createContext(page);
vm.runInContext(fs.readFileSync(process.argv[2], "utf8"), page, { filename: "page.js" });
const run = (code) => vm.runInContext(code, page);

// Figures, two digits of them, as people write them.
const shown = [0.00321, 0.5, 1.04, 12.34, 99.4, 99.6, 100, 1234.5].map((number) => run(`short(${number})`));
assert.deepStrictEqual(shown, ["0.0032", "0.5", "1", "12", "99", "100", "100", "1,235"]);
assert.strictEqual(run("ms({ p50: 100, p99: 240.4 })"), "100 / 240 ms");

// Over the date line it is not far.
run("state.place = { lat: 0, lon: 179.9999 }");
assert.strictEqual(Math.round(run("offset({ lat: 0, lon: -179.9999 }).x")), 22);
run("state.place = { lat: 40.4168, lon: -3.7038 }");

// Names that are none are told in the form; nothing connects, now or later.
run('state.play = { url: "ws://localhost:7400/play", token: false }');
const join = (name) => {
  elements.name.value = name;
  run("join()");
  return [sockets.length, elements.name.problem];
};
assert.deepStrictEqual(join("x".repeat(65)), [0, "a name has at most 64 bytes, this one has 65"]);
assert.deepStrictEqual(join("ñ".repeat(33)), [0, "a name has at most 64 bytes, this one has 66"]);
assert.deepStrictEqual(join("a\u0007b"), [0, "a name has no control characters"]);
assert.deepStrictEqual(join("   "), [0, "a name has a character that is no blank"]);
assert.deepStrictEqual(join("ash\ud83d"), [0, "a name has whole characters, and one here is half of one"]);
assert.deepStrictEqual(join("\udc00"), [0, "a name has whole characters, and one here is half of one"]);
assert.strictEqual(timers.length, 0);
assert.deepStrictEqual(join("ñ".repeat(32)), [1, ""]);
assert.strictEqual(sockets[0].url, `ws://localhost:7400/play?player=${"%C3%B1".repeat(32)}`);

// A line that breaks is tried again, later each time, as who joined; an expired token is not.
elements.name.value = "half a na";
for (const ms of [2000, 4000, 8000, 16000, 30000, 30000]) {
  sockets.at(-1).onclose({ reason: "", code: 1006 });
  const timer = timers.pop();
  assert.strictEqual(timer.ms, ms);
  timer.act();
  assert.strictEqual(sockets.at(-1).url, sockets[0].url);
}
sockets.at(-1).onopen();
sockets.at(-1).onclose({ reason: "expired", code: 4401 });
assert.strictEqual(timers.length, 0);

// A browser may keep nothing of pages, and what it keeps of an earlier visit may be no name: the page still begins.
const figures = JSON.stringify({
  version: "0", cores: 1, uptime_s: 1, synced: true, play: { scheme: "ws", host: "0.0.0.0", port: 1, token: false },
  world: { reach_m: 50, demo: null, species: [] },
});
for (const getItem of [() => { throw new Error("nothing is kept"); }, () => "ash\ud83d"]) {
  page.localStorage = { getItem, setItem: getItem };
  run(`firstFigures(${figures})`);
}
assert.strictEqual(elements.name.value, "ash\ud83d");
run('state.play = { url: "ws://localhost:7400/play", token: false }');

// A picture stays as long as what it shows, and the focus with it.
const wild = (id, lat) => ({ type: "appeared", fakemon_id: id, species: "sparkit", lat, lon: -3.7038, vanishes_at: "2999-01-01T00:00:00Z" });
const receive = (message) => run(`receive(${JSON.stringify(message)})`);
receive({ type: "world", fakemon: [wild("1", 40.4168), wild("2", 40.4169)] });
const [first, second] = elements.wild.children;
second.focus();
receive(wild("3", 40.417));
receive({ type: "vanished", fakemon_id: "1" });
assert.strictEqual(page.document.activeElement, second);
assert.ok(elements.wild.children.includes(second) && !elements.wild.children.includes(first));
receive({ type: "vanished", fakemon_id: "2" });
assert.strictEqual(page.document.activeElement, elements.wild.children[0], "the next one has it");

// What is drawn around the player lies over what is within reach, and must not take its clicks.
const style = fs.readFileSync(process.argv[3], "utf8");
assert.match(style, /#me \{[^}]*pointer-events: none/);
console.log("as it should be");
