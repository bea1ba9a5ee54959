"use strict";
// Shows what /status/events tells. What others have said (names, reasons, descriptions)
// only ever becomes text.

const SLOTS = 60, SLOT = 10_000;
// How long nobody looks before the stream is let go, and when it is asked for again.
const AWAY = 30_000, AGAIN = 5_000;
const KINDS = ["all", "attention", "ready", "idle", "disabled"];
const LABELS = { all: "All", attention: "Attention", ready: "Ready", idle: "Idle", disabled: "Disabled" };
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);
const children = new Map(); // name → Child, in the order of the file
let facts = null, at = 0, came = 0, spokenOf = null;
let source = null, fresh = true, away = 0, again = 0, ids = 0;

// --- Words -----------------------------------------------------------------

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const rough = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const one = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const many = (n, word, plural = word + "s") => `${number.format(n)} ${n === 1 ? word : plural}`;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const words = (text) => capital(text.replaceAll("_", "-"));

function bytes(n) {
  return n < 1000 ? `${n} B` : n < 1e6 ? `${one.format(n / 1e3)} kB` : `${one.format(n / 1e6)} MB`;
}

function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "min"]];
  const i = parts.findIndex(([unit]) => s >= unit);
  const [unit, word] = parts[i];
  const rest = parts[i + 1] && Math.floor((s % unit) / parts[i + 1][0]);
  return `${Math.floor(s / unit)} ${word}` + (rest ? ` ${rest} ${parts[i + 1][1]}` : "");
}

function countdown(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")} min` : span(s);
}

// Time there, by our clock: only its own steps are trusted.
const now = () => at + (performance.now() - came);
const ago = (unix) => {
  const passed = now() / 1000 - unix;
  return passed < 5 ? "just now" : `${span(passed)} ago`;
};
const clock = (unix) => new Date(unix * 1000).toLocaleString();

// --- Elements --------------------------------------------------------------

function make(tag, attributes = {}, ...inside) {
  const it = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) it.setAttribute(key, value);
  }
  it.append(...inside.filter((one) => one !== null && one !== undefined));
  return it;
}

function draw(tag, attributes, ...inside) {
  const it = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) it.setAttribute(key, value);
  it.append(...inside);
  return it;
}

const icon = (shape) => draw("svg", { class: "icon", "aria-hidden": "true" }, draw("use", { href: `#${shape}` }));
const told = (text) => make("span", { class: "told" }, text);

// Touches the page only where something has changed.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
function mark(element, key, value) {
  if (element.getAttribute(key) !== value) element.setAttribute(key, value);
}

function list(pairs) {
  const dl = make("dl", { class: "facts" });
  for (const [key, value] of pairs) {
    if (value === undefined || value === null || value === "") continue;
    const live = typeof value === "function";
    const dd = make("dd", {}, live ? value() : value);
    if (live) dd.live = value;
    dl.append(make("dt", {}, key), dd);
  }
  return dl;
}

// A moment by how long ago it was; the date stands in its title.
function moment(unix) {
  const it = make("time", { title: clock(unix), datetime: new Date(unix * 1000).toISOString() }, ago(unix));
  it.live = () => ago(unix);
  return it;
}

const freshen = (within) => within.querySelectorAll("dd, time").forEach((it) => it.live && say(it, it.live()));

// --- Activity --------------------------------------------------------------

class Activity {
  slots = new Map();
  last = 0;

  take({ slot, calls, errors }) {
    calls.forEach((count, i) => this.slots.set(slot - calls.length + 1 + i, [count, errors[i]]));
    this.last = slot;
    for (const old of this.slots.keys()) if (old <= slot - SLOTS) this.slots.delete(old);
  }

  // The last ten minutes, also when nothing has been told of them since.
  window(slot) {
    return Array.from({ length: SLOTS }, (_, i) => this.slots.get(slot - SLOTS + 1 + i) ?? [0, 0]);
  }
}

let slot = 0, slotBegan = 0;
const slotNow = () => slot + Math.floor(Math.max(0, performance.now() - slotBegan) / SLOT);

const sum = (all, which) => all.reduce((total, counts) => total + counts[which], 0);

function spark() {
  const calls = draw("path", { class: "calls" }), errors = draw("path", { class: "errors" });
  const base = draw("path", { class: "base", d: "M0 26H60" });
  const svg = draw("svg", { class: "spark", viewBox: "0 0 60 26", preserveAspectRatio: "none", role: "img" }, base, calls, errors);
  svg.show = (counts, whose) => {
    const most = Math.max(4, ...counts.map(([count]) => count));
    const height = (count) => (count ? Math.max(1.5, (count / most) * 25) : 0);
    let up = "", red = "";
    counts.forEach(([count, failed], i) => {
      if (!count) return;
      const foot = height(failed), top = Math.max(height(count), foot);
      if (top > foot) up += `M${i}.1 ${26 - foot}v${(foot - top).toFixed(2)}h.8V${26 - foot}z`;
      if (failed) red += `M${i}.1 26v${(-foot).toFixed(2)}h.8V26z`;
    });
    mark(calls, "d", up);
    mark(errors, "d", red);
    mark(svg, "aria-label", `${whose}: ${many(sum(counts, 0), "call")} in the last ten minutes, ${many(sum(counts, 1), "error")}`);
  };
  return svg;
}

// --- One child -------------------------------------------------------------

function needsAttention({ state, breaker, attempt }) {
  return state === "down" || breaker !== "closed" || (state === "connecting" && attempt > 0);
}

// How the end of a process is told.
const LAST_WORDS = /^(.*?) \(last on stderr: (.*)\)$/s;

class Child {
  activity = new Activity();
  panel = null;

  constructor(name) {
    this.name = name;
    this.id = `child-${++ids}`;
    this.button = make("button", { class: "name", type: "button", "aria-expanded": "false", id: this.id });
    this.how = make("span", { class: "sub" });
    this.button.append(icon("fold"), make("span", {}, told(name), this.how));
    this.state = make("span", { class: "state" }, icon("connecting"), make("span"));
    this.since = make("span", { class: "sub after" });
    this.breaker = make("span", { class: "breaker" }, icon("closed"), make("span"));
    this.due = make("span", { class: "sub after" });
    this.spark = spark();
    this.calls = make("span");
    this.errors = make("span", { class: "sub" });
    this.load = make("span");
    this.queued = make("span", { class: "sub" });
    this.tools = make("span");
    this.size = make("span", { class: "sub" });
    this.cause = make("span");
    this.stderr = make("span", { class: "mono" });
    this.reason = make("span", { class: "told reason" }, this.cause, this.stderr);
    const cell = (attributes, ...inside) => make("td", { role: "cell", ...attributes }, ...inside);
    this.row = make("tr", { class: "row", role: "row" },
      make("th", { role: "rowheader", scope: "row" }, this.button),
      cell({}, this.state, this.since),
      cell({ "data-label": "Breaker" }, this.breaker, this.due),
      cell({}, make("div", { class: "calls-cell" }, this.spark, make("div", {}, this.calls, this.errors))),
      cell({ class: "n", "data-label": "In flight" }, this.load, this.queued),
      cell({ class: "n", "data-label": "Tools" }, this.tools, this.size),
      cell({}, this.reason));
    this.row.addEventListener("click", (event) => {
      if (!event.target.closest("button") && String(getSelection())) return;
      this.toggle();
    });
  }

  take({ activity, ...status }) {
    const before = this.status;
    this.status = status;
    this.at = performance.now();
    if (activity) this.activity.take(activity);
    const { panel } = this;
    if (panel && (before?.tools !== status.tools || before?.toolsListBytes !== status.toolsListBytes)) this.fetchTools();
    this.show();
  }

  get attention() { return needsAttention(this.status); }
  get kinds() { return this.attention ? ["all", "attention"] : ["all", this.status.state]; }
  // What is worth a word: not each further try of one that is down.
  get standing() { return this.attention ? "attention" : this.status.state; }
  get retry() {
    const { nextRetryMs } = this.status;
    return nextRetryMs === null ? null : (nextRetryMs - (performance.now() - this.at)) / 1000;
  }
  get why() {
    const { state, reason, lastFailure } = this.status;
    if (reason) return { text: reason, current: state !== "disabled" };
    return lastFailure && { text: lastFailure.reason, at: lastFailure.at, current: this.attention };
  }

  show() {
    const s = this.status;
    mark(this.row, "class", `row${this.attention ? " attention" : ""}${this.panel ? " open" : ""}`);
    say(this.how, [s.transport === "none" ? "unusable" : s.transport, s.era].filter(Boolean).join(" · "));
    for (const [badge, value] of [[this.state, s.state], [this.breaker, s.breaker]]) {
      mark(badge, "data-state", value);
      mark(badge.querySelector("use"), "href", `#${value}`);
      say(badge.lastChild, words(value));
    }
    say(this.load, number.format(s.inFlight));
    say(this.queued, s.queued ? `${number.format(s.queued)} queued` : "");
    say(this.tools, number.format(s.tools));
    say(this.size, s.tools ? bytes(s.toolsListBytes) : "");
    const why = this.why;
    mark(this.reason, "class", `told reason${why?.current ? "" : " past"}${why ? "" : " none"}`);
    mark(this.reason, "title", why?.text ?? "");
    this.pass();
    if (this.panel) this.showPanel();
  }

  // What changes as time passes.
  pass() {
    const counts = this.activity.window(slotNow());
    const errors = sum(counts, 1);
    this.spark.show(counts, this.name);
    say(this.calls, many(sum(counts, 0), "call"));
    say(this.errors, errors ? many(errors, "error") : "no errors");
    mark(this.errors, "class", errors ? "sub bad" : "sub");
    say(this.since, `for ${span(now() / 1000 - this.status.since)}`);
    const retry = this.retry;
    const what = this.status.state === "ready" ? "probe" : "next try";
    say(this.due, retry === null ? "" : retry > 0 ? `${what} in ${countdown(retry)}` : `${what} is due`);
    const why = this.why;
    // Its last words say most: they have a line of their own, and all is in the panel.
    const [, cause, stderr] = why?.text.match(LAST_WORDS) ?? [null, why?.text, ""];
    say(this.cause, why ? (why.at ? `${capital(cause)}, ${ago(why.at)}` : capital(cause)) : "–");
    say(this.stderr, stderr);
    if (this.panel) freshen(this.panel.facts);
  }

  toggle(open = !this.panel) {
    if (open === Boolean(this.panel)) return;
    this.button.setAttribute("aria-expanded", String(open));
    if (!open) {
      this.panel.row.remove();
      this.panel = null;
      this.button.removeAttribute("aria-controls");
    } else {
      const row = make("tr", { class: "unfolded", role: "row", id: `${this.id}-more` });
      const left = make("div");
      const find = make("input", { type: "search", placeholder: "Find a tool", "aria-label": `Find a tool of ${this.name}`, autocomplete: "off", spellcheck: "false" });
      const title = make("p", { role: "status" });
      const tools = make("ul", { class: "tools", "aria-label": `Tools of ${this.name}` });
      const right = make("div", {}, make("div", { class: "tools-head" }, title, find), tools);
      row.append(make("td", { role: "cell", colspan: "7" }, make("div", { class: "panel" }, left, right)));
      this.panel = { row, left, facts: left, find, title, tools, all: null };
      find.addEventListener("input", () => this.showTools());
      this.button.setAttribute("aria-controls", row.id);
      this.row.after(row);
      this.fetchTools();
    }
    this.show();
  }

  showPanel() {
    const s = this.status, { panel } = this;
    // Made anew only if it says something else: a selection in it, or a reader's place, stays.
    const { nextRetryMs, inFlight, queued, calls, errors, ...lasting } = s;
    const says = JSON.stringify(lasting);
    if (panel.says === says) return freshen(panel.left);
    panel.says = says;
    const why = s.lastFailure ?? (s.reason && { reason: s.reason, kind: s.cause });
    panel.left.replaceChildren(...[
      s.reason && s.lastFailure?.reason !== s.reason && s.state !== "disabled" ? this.failure("Now", s.cause, s.reason) : null,
      why ? this.failure(s.lastFailure ? "Last failure" : "Reason", why.kind, why.reason, why.at, why.tool) : null,
      list([
        ["State", () => `${s.state} for ${span(now() / 1000 - s.since)}`],
        ["Attempts", s.attempt || null],
        ["Transport", s.era ? `${s.transport}, ${s.era} protocol` : s.transport],
        ["Process", s.pid && `pid ${s.pid}`],
        ["Lost and restarted", s.restarts ? many(s.restarts, "time") : "never"],
        ["Calls since the start", () => `${number.format(this.status.calls)}, ${many(this.status.errors, "error")}`],
        ["In flight", () => `${this.status.inFlight}, ${this.status.queued} queued`],
        ["Prefix", s.prefix ? make("span", { class: "told mono" }, `${s.prefix}__`) : "none"],
        ["Resources", s.resources || null],
        ["Prompts", s.prompts || null],
        ["Tools left out", s.toolsLeftOut || null],
        ["Sessions of their own", s.dedicatedSessions ? `${s.dedicatedSessions}, ${s.dedicatedNotReady} not ready` : null],
      ]),
    ].filter(Boolean));
  }

  failure(title, kind, reason, when, tool) {
    const head = make("p", {}, make("strong", {}, title), kind ? ` · ${words(kind)}` : "");
    if (tool) head.append(" · ", make("span", { class: "told mono" }, tool));
    if (when) head.append(make("span", { class: "quiet" }, " · ", moment(when)));
    return make("div", { class: "failure" }, head, make("p", { class: "told" }, capital(reason)));
  }

  async fetchTools() {
    const { panel } = this;
    try {
      const answer = await fetch(`status/tools?child=${encodeURIComponent(this.name)}`);
      if (this.panel !== panel) return;
      panel.all = answer.ok ? await answer.json() : [];
      panel.refused = answer.status === 403 ? "Tools are shown to those who may come in." : answer.ok ? "" : "The tools cannot be had now.";
    } catch {
      panel.refused = "The tools cannot be had now.";
      panel.all ??= [];
    }
    if (this.panel === panel) this.showTools();
  }

  showTools() {
    const { panel, status } = this;
    const all = panel.all ?? [];
    const wanted = panel.find.value.trim().toLowerCase().split(/\s+/);
    const found = all.filter((tool) => {
      const text = `${tool.name} ${tool.title ?? ""} ${tool.description ?? ""}`.toLowerCase();
      return wanted.every((word) => text.includes(word));
    });
    // All together they are what the row says, which is without the prefixes.
    const whole = found.length === status.tools;
    const size = whole ? status.toolsListBytes : found.reduce((total, tool) => total + tool.bytes, 0);
    const perByte = status.toolsListBytes ? (status.toolsListTokens ?? 0) / status.toolsListBytes : 0;
    const cost = (n) => bytes(n) + (perByte ? ` ≈\u00a0${number.format(n * perByte)} tokens` : "");
    const tokens = (n) => (perByte ? `≈\u00a0${number.format(n * perByte)} tok` : bytes(n));
    const most = Math.max(1, ...all.map((tool) => tool.bytes));
    panel.find.hidden = all.length === 0;
    const none = panel.all && all.length === 0 ? "No tools are listed." : "";
    say(panel.title, panel.refused || none || (found.length === all.length ? `${many(all.length, "tool")}, ${cost(size)} in a list` : `${found.length} of ${many(all.length, "tool")}, ${cost(size)}`));
    // What is open stays open.
    const open = new Set([...panel.tools.querySelectorAll("details[open]")].map((it) => it.dataset.name));
    panel.tools.hidden = found.length === 0;
    panel.tools.replaceChildren(...found.map((tool) => {
      const share = make("i");
      share.style.width = `${(100 * tool.bytes) / most}%`;
      const title = make("span", {}, make("span", { class: "told mono" }, tool.name), ...tags(tool.annotations ?? {}));
      const text = tool.description ?? "";
      const details = make("details", { "data-name": tool.name },
        make("summary", {}, title, make("span", { class: "cost", title: bytes(tool.bytes) }, tokens(tool.bytes)),
          make("span", { class: "told short" }, text.split("\n", 1)[0] || tool.title || "No description."),
          make("span", { class: "share", "aria-hidden": "true" }, share)),
        make("p", { class: "told long" }, [tool.title, text || "No description."].filter(Boolean).join("\n\n")));
      details.open = open.has(tool.name);
      return make("li", {}, details);
    }));
  }
}

function tags(annotations) {
  const known = [["readOnlyHint", "reads only"], ["idempotentHint", "idempotent"], ["destructiveHint", "destructive"], ["openWorldHint", "open world"]];
  return known.filter(([key]) => annotations[key] === true && !(key === "destructiveHint" && annotations.readOnlyHint === true))
    .map(([key, word]) => make("span", { class: key === "destructiveHint" ? "tag danger" : "tag" }, word));
}

// --- The whole -------------------------------------------------------------

const figures = {};
function figure(key, title, ...extra) {
  const value = make("dd", { class: "value" }), more = make("dd", { class: "more" });
  byId("figures").append(make("div", {}, make("dt", {}, title), value, ...extra, more));
  figures[key] = { value, more };
}
const fleetSpark = spark();
const lifeBar = make("i"), life = make("dd", { class: "life", "aria-hidden": "true" }, lifeBar);
figure("calls", "Calls", make("dd", {}, fleetSpark));
figure("load", "In flight");
figure("tools", "Tools");
figure("token", "Service token", life);
figure("config", "Config generation");

function tell(key, value, more, bad = false, unit = "") {
  const { value: big, more: small } = figures[key];
  const says = `${value}|${unit}`;
  if (big.says !== says) {
    big.says = says;
    big.replaceChildren(value, unit ? make("small", {}, ` ${unit}`) : "");
  }
  say(small, more);
  small.classList.toggle("bad", bad);
}

const total = (key) => [...children.values()].reduce((all, child) => all + (child.status[key] ?? 0), 0);
const since = () => (performance.now() - facts.came) / 1000;

function showFigures() {
  const all = [...children.values()];
  const counts = Array.from({ length: SLOTS }, () => [0, 0]);
  for (const child of all) {
    child.activity.window(slotNow()).forEach(([calls, errors], i) => { counts[i][0] += calls; counts[i][1] += errors; });
  }
  const calls = sum(counts, 0), errors = sum(counts, 1);
  fleetSpark.show(counts, "All children");
  const minute = sum(counts.slice(-6), 0);
  tell("calls", number.format(minute), errors ? `${many(errors, "error")} in ten minutes, ${rough.format((100 * errors) / calls)} %` : "No errors in ten minutes", errors > 0, "a minute");
  const queued = total("queued");
  tell("load", number.format(total("inFlight")), queued ? `${number.format(queued)} queued for a free slot` : "Nothing queued");
  const tokens = total("toolsListTokens");
  tell("tools", number.format(total("tools")), `${bytes(total("toolsListBytes"))} in a full list` + (tokens ? `, ≈\u00a0${number.format(tokens)} tokens` : ""));
  showToken();
  const { config } = facts;
  const reload = config.lastReload;
  const read = reload.ok ? `Read ${ago(reload.at)}, in force` : "The file cannot be used; the one before stays in force";
  tell("config", number.format(config.generation), read, !reload.ok);
}

function showToken() {
  const { identity } = facts;
  const left = identity.expiresInSeconds === undefined ? null : identity.expiresInSeconds - since();
  const age = (identity.ageSeconds ?? 0) + since();
  life.hidden = left === null;
  if (identity.mode === "none") return tell("token", "None", "Children get their own headers only");
  const fails = identity.lastError !== undefined || (identity.failures > 0 && identity.ageSeconds === undefined);
  const minted = identity.ageSeconds === undefined ? "No token can be had" : `Minted ${span(age)} ago`;
  const more = fails ? capital(identity.lastError ?? "the last mint failed") : minted;
  if (left === null) return tell("token", identity.ageSeconds === undefined ? "No token" : "Valid", more, fails);
  const part = Math.min(1, Math.max(0, left / Math.max(1, left + age)));
  lifeBar.style.transform = `scaleX(${part.toFixed(4)})`;
  mark(life, "data-low", String(part < 0.1));
  tell("token", left > 0 ? countdown(left) : "Expired", more, fails, left > 0 ? "left" : "");
}

function showVerdict() {
  const all = [...children.values()].filter((child) => child.status.state !== "disabled");
  const trouble = all.filter((child) => child.attention);
  const starting = all.filter((child) => child.status.state === "connecting" && !child.attention);
  const [kind, shape, title] =
    trouble.length ? ["bad", "warning", `${trouble.length} of ${many(all.length, "child", "children")} ${trouble.length === 1 ? "needs" : "need"} attention`]
    : starting.length ? ["waiting", "connecting", `${starting.length} of ${many(all.length, "child", "children")} ${starting.length === 1 ? "is" : "are"} still connecting`]
    : all.length === 0 ? ["ok", "idle", "There are no children"]
    : ["ok", "ready", all.length === 1 ? "The one child is well" : `All ${all.length} children are well`];
  mark(byId("verdict"), "data-kind", kind);
  mark(byId("verdict").querySelector("use"), "href", `#${shape}`);
  say(byId("verdict-title"), title);
  document.title = `${trouble.length ? `(${trouble.length}) ` : ""}mcp-multiplexer`;
  const line = byId("trouble"), says = trouble.map((child) => child.name).join("\0");
  if (line.says !== says || !trouble.length) {
    line.says = says;
    if (!trouble.length) say(line, all.length ? quiet(all) : "Add one to the configuration: it is read again by itself.");
    else {
      const links = trouble.slice(0, 8).flatMap((child, i) => {
        const link = make("a", { href: `#${encodeURIComponent(child.name)}`, class: "told" }, child.name);
        return i ? [", ", link] : [link];
      });
      line.replaceChildren(...links, trouble.length > 8 ? ` and ${trouble.length - 8} more` : "");
    }
  }
}

function quiet(all) {
  const idle = all.filter((child) => child.status.state === "idle").length;
  const ready = all.filter((child) => child.status.state === "ready").length;
  return `${ready} ready` + (idle ? `, ${idle} idle until called` : "") + `. Up ${span(facts.uptimeSeconds + since())}.`;
}

function showWarnings() {
  const { warnings, lastReload } = facts.config;
  const all = [...(facts.door?.warnings ?? []), ...warnings];
  if (!lastReload.ok) all.unshift(`the configuration cannot be used, so the one before stays in force${lastReload.error ? `: ${lastReload.error}` : ""}`);
  if (!facts.inFull) all.push("The door is locked: reasons, tools and warnings are shown to those who may come in, and on the address that --admin-addr names.");
  const place = byId("warnings"), says = all.join("\0");
  if (place.says === says) return;
  place.says = says;
  place.hidden = all.length === 0;
  place.replaceChildren(...all.map((text) => make("li", {}, icon("warning"), make("span", { class: "told" }, capital(text)))));
}

function showProcess() {
  const { config, policy, identity } = facts;
  const file = (title, it) => make("div", { class: "card" }, make("h3", {}, title), list([
    ["File", it.path && make("span", { class: "told mono" }, it.path)],
    ["Generation", it.generation],
    ["Last read", moment(it.lastReload.at)],
    ["Result", it.lastReload.ok ? "in force" : make("span", { class: "bad" }, "cannot be used; the one before stays in force")],
    ["Why", it.lastReload.error && make("span", { class: "told bad" }, it.lastReload.error)],
  ]));
  const who = (it) => make("div", { class: "card" }, make("h3", {}, it.name === "service" ? "Service identity" : "Identity of ", it.name === "service" ? "" : told(it.name)), list([
    ["Mode", it.mode], ["Issuer", it.issuer && told(it.issuer)], ["Token from", it.tokenUrl && told(it.tokenUrl)],
    ["Client", it.clientId && told(it.clientId)], ["Audience", it.audience && told(it.audience)],
    ["Scope", it.scope && told(it.scope)], ["Resource", it.resource && told(it.resource)],
    ["Expires in", it.expiresInSeconds === undefined ? null : () => countdown(it.expiresInSeconds - since())],
    ["Last mint", it.ageSeconds === undefined ? null : () => `${span(it.ageSeconds + since())} ago`],
    ["Mints", it.mode === "none" ? null : `${it.mints}, ${many(it.failures, "failure")}`],
    ["Last error", it.lastError && make("span", { class: "told bad" }, it.lastError)],
  ]));
  byId("cards").replaceChildren(...[
    file("Configuration", config),
    policy ? file("Policies", policy) : null,
    who(identity), ...(identity.own ?? []).map(who),
    make("div", { class: "card" }, make("h3", {}, "Program"), list([
      ["Version", facts.version], ["Serves", facts.transport], ["Lists", facts.mode === "dynamic" ? "a few tools that find the others" : "every tool"],
      ["Up", () => span(facts.uptimeSeconds + since())],
    ])),
  ].filter(Boolean));
}

// --- What is shown of the children -----------------------------------------

const chips = Object.fromEntries(KINDS.map((kind, i) => {
  const input = make("input", { type: "radio", name: "kind", value: kind });
  input.checked = i === 0;
  const count = make("b", {}, "0");
  byId("chips").append(make("label", {}, input, LABELS[kind], count));
  input.addEventListener("change", choose);
  return [kind, { input, count }];
}));
byId("find").addEventListener("input", choose);

function choose() {
  const kind = KINDS.find((it) => chips[it].input.checked);
  const wanted = byId("find").value.trim().toLowerCase();
  let shown = 0;
  for (const child of children.values()) {
    const { name, prefix, reason } = child.status;
    const hit = child.kinds.includes(kind) && `${name} ${prefix} ${reason ?? ""}`.toLowerCase().includes(wanted);
    // Who reads it, keeps it.
    const hidden = !hit && !child.panel;
    child.row.hidden = hidden;
    shown += hidden ? 0 : 1;
  }
  for (const it of KINDS) say(chips[it].count, String([...children.values()].filter((child) => child.kinds.includes(it)).length));
  byId("none").hidden = shown > 0 || children.size === 0;
}

function follow() {
  let name = "";
  try { name = decodeURIComponent(location.hash.slice(1)); } catch { return; }
  const child = children.get(name);
  if (!child) return;
  child.toggle(true);
  choose();
  child.row.scrollIntoView({ block: "center" });
  child.button.focus({ preventScroll: true });
}
addEventListener("hashchange", follow);
byId("trouble").addEventListener("click", (event) => {
  // Also a second time, when the address stays as it is.
  if (event.target.hash && event.target.hash === location.hash) follow();
});

// --- The stream ------------------------------------------------------------

function order(names) {
  for (const [name, child] of children) {
    if (names.includes(name)) continue;
    child.toggle(false);
    child.row.remove();
    children.delete(name);
  }
  const before = new Map(children);
  children.clear();
  for (const name of names) children.set(name, before.get(name) ?? new Child(name));
}

function place() {
  const rows = byId("rows");
  let next = rows.firstElementChild;
  for (const child of children.values()) {
    for (const row of [child.row, child.panel?.row]) {
      if (!row) continue;
      // Only what is not in its place is moved: what has the focus would lose it.
      if (row === next) next = next.nextElementSibling;
      else rows.insertBefore(row, next);
    }
  }
}

function speak(was) {
  const changed = [];
  for (const [name, child] of children) {
    const before = was.get(name), { state, breaker, reason } = child.status;
    if (before === undefined || before === child.standing) continue;
    if (state === "ready" && breaker !== "closed") changed.push(`${name} fails: its breaker is ${breaker.replace("_", " ")}`);
    else changed.push(`${name} is ${state}${reason && state === "down" ? `: ${reason}` : ""}`);
  }
  if (changed.length) byId("spoken").textContent = changed.length > 3 ? `${changed.length} children have changed. ${byId("verdict-title").textContent}` : changed.join(". ");
}

function take(news) {
  const was = new Map([...children].map(([name, child]) => [name, child.standing]));
  at = news.at;
  came = performance.now();
  if (news.process) facts = { ...news.process, came };
  if (news.names) order(news.names);
  if (fresh) {
    // Another process may count from another beginning.
    slot = 0;
    for (const child of children.values()) child.activity = new Activity();
    fresh = false;
  }
  for (const status of news.children ?? []) {
    const last = status.activity.slot;
    if (last > slotNow() || !slot) [slot, slotBegan] = [last, came];
    children.get(status.name)?.take(status);
  }
  if (news.names) place();
  if (news.process) { showProcess(); showWarnings(); say(byId("version"), facts.version.split(" ")[0]); }
  showFigures();
  showVerdict();
  choose();
  if (spokenOf === null) { spokenOf = true; follow(); } else speak(was);
}

function link(state, text) {
  document.body.dataset.link = state;
  say(byId("link"), text);
}

function open() {
  clearTimeout(again);
  source?.close();
  source = new EventSource("status/events");
  source.onopen = () => { fresh = true; link("live", "Live"); };
  source.onmessage = (event) => take(JSON.parse(event.data));
  source.onerror = () => {
    link("lost", "Reconnecting…");
    // A refusal ends it for good, where a lost connection does not.
    if (source.readyState === EventSource.CLOSED) again = setTimeout(open, AGAIN);
  };
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(away);
  if (!document.hidden) return source ? undefined : open();
  away = setTimeout(() => { clearTimeout(again); source?.close(); source = null; link("waiting", "Paused"); }, AWAY);
});

setInterval(() => {
  if (document.hidden || !facts) return;
  for (const child of children.values()) if (!child.row.hidden) child.pass();
  showFigures();
  showVerdict();
  freshen(byId("cards"));
}, 1000);

open();
