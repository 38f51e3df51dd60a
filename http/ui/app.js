// The dashboard: what /events says, drawn. Nothing is asked of other sites,
// and of this one only events, nodes and partitions/key.

const $ = id => document.getElementById(id);
const el = (tag, cls, ...kids) => { const e = document.createElement(tag); if (cls) e.className = cls; e.append(...kids); return e };
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const natural = new Intl.Collator(undefined, {numeric: true}).compare;
const indexOf = id => Number(id.slice(id.lastIndexOf("-") + 1));

// Colours that carry white text and can be told apart; letters say the same
// to those who cannot see them. Red is kept for faults.
const palette = ["#2f6fde", "#b35900", "#0f7f7a", "#7a4fd0", "#3a7d22", "#b8357c", "#4a6785", "#8a5a2b", "#737000", "#9a3fae"];
const maxCells = 4096, maxNotes = 200, mergeWithin = 1500;

const state = {cluster: null, version: 0, nodes: new Map(), parts: new Map(), leader: "", term: 0, more: new Map(), me: "", slot: new Map(), failover: null};
let chosen = "", notes = [], dirty = new Set(), redrawAll = true, drawing = false;

function slotOf(id) {
  if (!state.slot.has(id)) state.slot.set(id, state.slot.size);
  return state.slot.get(id);
}
const colour = id => { const i = slotOf(id); return palette[i] || `oklch(0.5 0.12 ${(i * 137.5 + 20) % 360})` };
function letter(id) {
  let i = slotOf(id), s = "";
  do { s = String.fromCharCode(65 + i % 26) + s; i = Math.floor(i / 26) - 1 } while (i >= 0);
  return s;
}
const paint = (e, id) => { if (id) e.style.setProperty("--c", colour(id)); else e.style.removeProperty("--c"); return e };

// ---- what happened -------------------------------------------------------

// note tells of something; the same kind again within a moment is one entry.
function note(kind, cls, icon, count, text, detail = "") {
  const now = Date.now(), last = notes[0];
  if (count && last && last.kind === kind && now - last.until < mergeWithin) {
    last.count += count; last.until = now; last.text = text(last.count); last.detail = detail || last.detail;
    last.row.replaceWith(last.row = row(last));
    return;
  }
  const n = {kind, cls, icon, count, at: now, until: now, text: typeof text === "function" ? text(count) : text, detail};
  n.row = row(n);
  notes.unshift(n);
  $("log").prepend(n.row);
  while (notes.length > maxNotes) notes.pop().row.remove();
}
function row(n) {
  const d = new Date(n.at), time = el("time", "", d.toLocaleTimeString([], {hour12: false}) + "." + String(d.getMilliseconds()).padStart(3, "0"));
  time.dateTime = d.toISOString();
  const icon = el("span", "icon " + n.cls, n.icon);
  icon.ariaHidden = "true";
  return el("li", n.cls, time, icon, el("div", "", el("b", "", n.text), ...(n.detail ? [el("small", "", n.detail)] : [])));
}

// tally says how often each name occurs: "node-1 ×7, node-2 ×6".
function tally(names) {
  const by = new Map();
  for (const n of names) by.set(n, (by.get(n) || 0) + 1);
  return [...by].sort((a, b) => natural(a[0], b[0])).slice(0, 12).map(([n, c]) => `${n} ×${c}`).join(", ");
}

// tell compares what was with what is.
function tell(oldNodes, oldParts, changedNodes, changedParts) {
  const fallen = new Set();
  for (const n of changedNodes) {
    const was = oldNodes.get(n.id);
    if (!was) note("join", "good", "+", 0, `${n.id} joined`, [n.ip, n.zone && `zone ${n.zone}`].filter(Boolean).join(" · "));
    else if (was.status === "active" && n.status === "down") fallen.add(n.id);
    else if (was.status === "down" && n.status === "active") note("back", "good", "↑", 0, `${n.id} is back`, `incarnation ${n.incarnation}`);
    else if (was.incarnation !== n.incarnation) note("restart", "", "↻", 0, `${n.id} restarted`, `incarnation ${n.incarnation}`);
  }
  const promoted = new Map(), handed = [], offline = [], online = [], began = [], ended = [], synced = [];
  for (const p of changedParts) {
    const was = oldParts.get(p.id);
    if (!was) continue;
    if (was.primary_node !== p.primary_node) {
      if (!p.primary_node) offline.push(p.id);
      else if (!was.primary_node) online.push(p.id);
      else if (state.nodes.get(was.primary_node)?.status !== "active") promoted.set(was.primary_node, [...(promoted.get(was.primary_node) || []), p.primary_node]);
      else handed.push(p.primary_node);
    }
    if (p.move && !was.move) began.push(p.move.reason);
    if (was.move && !p.move) ended.push(was.move.reason);
    for (const r of p.replicas) if (r.state === "in_sync" && was.replicas.some(o => o.node === r.node && o.state === "learner")) synced.push(r.node);
  }
  for (const id of fallen) {
    const n = state.nodes.get(id), to = promoted.get(id) || [];
    promoted.delete(id);
    const why = {crash: "it crashed", silence: "it fell silent", stopped: "it was stopped", restarted: "it restarted"}[n.down_reason] || n.down_reason;
    note("down", n.down_reason === "stopped" ? "warn" : "bad", "✕", 0, `${id} is down: ${why}`,
      to.length ? `${plural(to.length, "partition")} failed over: ${tally(to)}` : "it led no partition that another could take");
    if (to.length) state.failover = {at: Date.now(), node: id, count: to.length};
  }
  for (const [id, to] of promoted) {
    note("failover", "bad", "⇄", 0, `${plural(to.length, "partition")} of ${id} failed over`, tally(to));
    state.failover = {at: Date.now(), node: id, count: to.length};
  }
  if (offline.length) note("offline", "bad", "!", offline.length, c => `${plural(c, "partition")} went offline`, "no in-sync replica is alive: " + offline.slice(0, 8).join(", "));
  if (online.length) note("online", "good", "✓", online.length, c => `${plural(c, "partition")} came online`);
  if (handed.length) note("handed", "", "⇄", handed.length, c => `${c} primary ${c === 1 ? "role was" : "roles were"} handed over`, tally(handed));
  if (began.length) note("began", "", "→", began.length, c => `${plural(c, "move")} began`, "to " + [...new Set(began)].join(" and to "));
  if (ended.length) note("ended", "", "✓", ended.length, c => `${plural(c, "move")} ended`);
  if (synced.length) note("synced", "", "≡", synced.length, c => `${plural(c, "replica")} became in-sync`, tally(synced));
}

// ---- events in -----------------------------------------------------------

function onTopology(e) {
  const oldNodes = new Map(state.nodes), oldParts = new Map(state.parts), first = !state.cluster || state.cluster.id !== e.cluster.id;
  if (e.snapshot) {
    const ids = new Set(e.nodes.map(n => n.id));
    for (const id of [...state.nodes.keys()]) if (!ids.has(id)) (e.removed_nodes ??= []).push(id);
    if (first) { state.parts.clear(); redrawAll = true }
  }
  for (const id of e.removed_nodes || []) { state.nodes.delete(id); note("gone", "", "−", 0, `${id} was removed`) }
  for (const n of [...e.nodes].sort((a, b) => natural(a.id, b.id))) {
    const was = state.nodes.get(n.id);
    state.nodes.set(n.id, n);
    slotOf(n.id);
    if (!was || was.status !== n.status) redrawAll = true;
  }
  for (const p of e.partitions) { state.parts.set(p.id, p); dirty.add(p.id) }
  state.cluster = e.cluster;
  state.version = e.version;
  if (first) note("start", "", "•", 0, `Connected at version ${e.version}`, `${plural(state.nodes.size, "node")}, ${plural(state.parts.size, "partition")}`);
  else tell(oldNodes, oldParts, e.nodes, e.partitions);
  if (e.nodes.length) askNodes();
  draw();
}

function onLeader(e) {
  if (state.term && e.leader_id !== state.leader) {
    if (e.leader_id) note("leader", "", "★", 0, `${e.leader_id} leads Raft`, `term ${e.term}`);
    else note("leader", "warn", "★", 0, "No Raft leader is known", "an election is under way, or no quorum can be reached");
  }
  state.leader = e.leader_id;
  state.term = e.term;
  askNodes();
  draw();
}

let asking = 0;
// askNodes asks, a moment later, who votes: Raft's configuration is not in the topology.
function askNodes() {
  clearTimeout(asking);
  asking = setTimeout(async () => {
    try {
      const r = await ask("nodes");
      if (!r.ok) return;
      for (const n of (await r.json()).nodes) state.more.set(n.id, n);
      draw();
    } catch { /* the stream says that the node is gone */ }
  }, 300);
}
setInterval(askNodes, 10000);

// A cluster may ask for its token even for reads: it is kept for this tab alone.
let token = sessionStorage.getItem("token") || "";
const ask = (path, headers = {}) => fetch(path, {headers: token ? {...headers, Authorization: "Bearer " + token} : headers});

$("lock").addEventListener("submit", e => {
  e.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("token", token);
  $("token").value = "";
  $("lock").hidden = true;
  connect();
});

// follow reads server-sent events until they end. EventSource could not send a token.
async function follow(body, on) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "", seen = 0; ;) {
    const {value, done} = await reader.read();
    if (done) return;
    rest += value;
    for (let end; (end = rest.indexOf("\n\n", seen)) >= 0; seen = 0) {
      const event = {name: "", data: "", id: ""};
      for (const line of rest.slice(0, end).split("\n")) {
        const at = line.indexOf(": ");
        if (line.startsWith("event: ")) event.name = line.slice(at + 2);
        if (line.startsWith("data: ")) event.data += line.slice(at + 2);
        if (line.startsWith("id: ")) event.id = line.slice(at + 2);
      }
      rest = rest.slice(end + 2);
      on(event);
    }
    seen = Math.max(0, rest.length - 1);
  }
}

let last = "";
async function connect() {
  const link = (cls, text) => { $("link").className = "pill " + cls; $("link").textContent = text };
  try {
    const r = await ask("events", last ? {"Last-Event-ID": last} : {});
    if (r.status === 401 || r.status === 403) {
      link("lost", token ? "not this token" : "a token is needed");
      $("lock").hidden = false;
      $("token").focus();
      return;
    }
    if (r.ok) {
      link("live", "live");
      await follow(r.body, e => {
        if (e.id) last = e.id;
        if (e.name === "topology") onTopology(JSON.parse(e.data));
        if (e.name === "leader") onLeader(JSON.parse(e.data));
      });
    }
  } catch { /* the node has gone */ }
  link("lost", "this node does not answer");
  setTimeout(connect, 1000);
}

// ---- drawing -------------------------------------------------------------

function draw() {
  if (drawing) return;
  drawing = true;
  // A hidden page gets no frames; it must not fall behind either.
  (document.hidden ? f => setTimeout(f, 250) : requestAnimationFrame)(() => { drawing = false; drawNow() });
}

function drawNow() {
  if (!state.cluster) return;
  const load = new Map([...state.nodes.keys()].map(id => [id, {led: 0, held: 0, copying: 0}])), states = {};
  for (const p of state.parts.values()) {
    states[p.state] = (states[p.state] || 0) + 1;
    for (const r of p.replicas) {
      const l = load.get(r.node);
      if (!l) continue;
      if (r.state === "in_sync") l.held++;
      if (r.state === "learner") l.copying++;
      if (r.node === p.primary_node) l.led++;
    }
  }
  $("name").textContent = state.cluster.name;
  document.title = `${state.cluster.name} · ClusterKit`;
  $("version").textContent = state.version;
  $("served").textContent = (state.me ? `seen by ${state.me} · ` : "") + `id ${state.cluster.id.slice(0, 10)}`;
  drawTiles(load, states);
  drawAlert(states);
  drawNodes(load);
  drawGrid();
}

function tile(what, value, unit, text, cls = "") {
  return el("li", "", el("div", "what", what), el("div", "value " + cls, value, " ", el("small", "", unit)), el("div", "note", text));
}
const active = () => [...state.nodes.values()].filter(n => n.status === "active");

function drawTiles(load, states) {
  const up = active(), weight = up.reduce((s, n) => s + n.weight, 0), total = state.parts.size, well = (states.healthy || 0) + (states.moving || 0);
  const led = up.map(n => load.get(n.id).led), placed = led.reduce((a, b) => a + b, 0);
  const worst = placed ? Math.max(...up.map(n => load.get(n.id).led * weight / (placed * n.weight))) : 0;
  const rest = ["moving", "degraded", "offline", "unplaced"].filter(s => states[s]).map(s => `${states[s]} ${s}`).join(", ");
  const f = state.failover;
  $("tiles").replaceChildren(
    tile("Nodes active", up.length, `of ${state.nodes.size}`, [...new Set(up.map(n => n.zone).filter(Boolean))].sort(natural).slice(0, 6).join(", ") || "no zones", up.length < state.nodes.size ? "warn" : ""),
    tile("Partitions healthy", states.healthy || 0, `of ${total}`, rest || `${state.cluster.replication_factor} replicas each`, states.offline ? "bad" : well < total ? "warn" : "good"),
    tile("Raft leader", state.leader || "none", "", state.leader ? `term ${state.term}` : "election, or no quorum", state.leader ? "" : "bad"),
    tile("Primaries per node", led.length ? (Math.min(...led) === Math.max(...led) ? led[0] : `${Math.min(...led)}–${Math.max(...led)}`) : "–", "", worst ? `fullest node has ${worst.toFixed(2)}× its share` : ""),
    tile("Last failover", f ? f.count : "none", f ? "partitions" : "", f ? `from ${f.node} at ${new Date(f.at).toLocaleTimeString([], {hour12: false})}` : "since this page was opened"));
}

function drawAlert(states) {
  const down = [...state.nodes.values()].filter(n => n.status !== "active").map(n => n.id).sort(natural), say = [];
  if (states.offline) say.push(`${plural(states.offline, "partition")} offline: no in-sync replica is alive`);
  if (!state.leader) say.push("no Raft leader: nothing can be committed");
  const severe = say.length > 0;
  if (down.length) say.push(`${down.slice(0, 6).join(", ")}${down.length > 6 ? ` and ${down.length - 6} more` : ""} down`);
  if (states.degraded) say.push(`${plural(states.degraded, "partition")} with too few in-sync replicas`);
  const text = say.join(" · ");
  $("alert").hidden = !text;
  $("alert").className = severe ? "alert" : "alert mild";
  if ($("alert").textContent !== text) $("alert").textContent = text;
}

function drawNodes(load) {
  const up = active(), weight = up.reduce((s, n) => s + n.weight, 0);
  const sum = [...load.values()].reduce((s, l) => s + l.held + l.copying, 0);
  const most = Math.max(1, ...[...load.values()].map(l => l.held + l.copying), ...up.map(n => sum * n.weight / (weight || 1))) * 1.04;
  const percent = v => `${100 * v / most}%`;
  $("nodes").replaceChildren(...[...state.nodes.values()].sort((a, b) => natural(a.id, b.id)).map(n => {
    const l = load.get(n.id), more = state.more.get(n.id);
    const name = el("td", "", paint(el("span", "badge", letter(n.id)), n.id), el("b", "", n.id));
    if (n.id === state.me) name.append(el("span", "me", "this node"));
    const link = el("a", "", n.ip);
    link.href = `${location.protocol}//${n.ip}${location.pathname}`;
    const raft = n.id === state.leader ? "★ leader" : {voter: "voter", nonvoter: "non-voter"}[more?.suffrage] || "–";
    const bar = paint(el("div", "load"), n.id);
    bar.role = "img";
    bar.ariaLabel = `${l.led} primaries, ${l.held - l.led} other in-sync replicas, ${l.copying} copying`;
    bar.title = bar.ariaLabel;
    for (const [cls, v] of [["pri", l.led], ["rep", l.held - l.led], ["cop", l.copying]]) { const s = el("span", cls); s.style.width = percent(v); bar.append(s) }
    if (n.status === "active" && weight) { const s = el("span", "even"); s.style.left = percent(sum * n.weight / weight); bar.append(s) }
    const status = n.status === "down" && n.down_reason ? `down (${n.down_reason})` : n.status;
    return el("tr", n.status, name, el("td", "", el("span", "state " + n.status, status)), el("td", n.id === state.leader ? "" : "dim", raft),
      el("td", "dim", link, n.zone ? ` · ${n.zone}` : "", n.weight > 1 ? ` · weight ${n.weight}` : ""),
      el("td", "num", String(l.led)), el("td", "num", String(l.held) + (l.copying ? ` +${l.copying}` : "")), el("td", "share", bar));
  }));
}

const cells = new Map();
function drawGrid() {
  const grid = $("grid"), ids = [...state.parts.keys()];
  if (redrawAll && (cells.size === 0 || ids.some(id => !cells.has(id)))) {
    cells.clear();
    const shown = ids.sort((a, b) => indexOf(a) - indexOf(b)).slice(0, maxCells);
    for (const id of shown) {
      const c = el("button", "p");
      c.type = "button"; c.tabIndex = -1; c.dataset.id = id;
      cells.set(id, c);
    }
    grid.className = shown.length > 1024 ? "tiny" : shown.length > 256 ? "small" : "";
    grid.replaceChildren(...cells.values());
    if (grid.firstChild) grid.firstChild.tabIndex = 0;
    $("more").hidden = ids.length <= maxCells;
    $("more").textContent = `The first ${maxCells} of ${ids.length} partitions; /partitions?offset= has all.`;
    for (const [id, c] of cells) fill(c, state.parts.get(id), false);
  } else {
    for (const id of redrawAll ? ids : dirty) if (cells.has(id)) fill(cells.get(id), state.parts.get(id), dirty.has(id));
  }
  redrawAll = false;
  dirty.clear();
  if (chosen) showDetail(state.parts.get(chosen));
}

function fill(c, p, flash) {
  paint(c, p.primary_node);
  const before = c.dataset.primary;
  c.dataset.primary = p.primary_node;
  c.className = "p " + p.state;
  c.ariaPressed = String(p.id === chosen);
  const others = p.replicas.filter(r => r.node !== p.primary_node);
  c.ariaLabel = `${p.id}, ${p.state}, ${p.primary_node ? "primary " + p.primary_node : "no primary"}, ` + (others.length ? "replicas " + others.map(r => `${r.node} ${r.state}`).join(", ") : "no other replica");
  c.title = `${p.id} · ${p.state} · epoch ${p.epoch}\nprimary ${p.primary_node || "none"}` + others.map(r => `\n${r.node} ${r.state.replace("_", "-")}`).join("");
  const reps = el("span", "reps", ...others.map(r => paint(el("i", r.state + (state.nodes.get(r.node)?.status === "active" ? "" : " gone")), r.node)));
  c.replaceChildren(el("span", "no", String(indexOf(p.id)), el("b", "", p.primary_node ? letter(p.primary_node) : "!")), reps);
  if (flash && before !== undefined && before !== p.primary_node) {
    c.classList.add("fresh");
    c.addEventListener("animationend", () => c.classList.remove("fresh"), {once: true});
  }
}

// ---- choosing and asking -------------------------------------------------

let asked = 0, lead = "";
function choose(id, focus, why = "") {
  const old = cells.get(chosen), c = cells.get(id);
  if (old) { old.ariaPressed = "false"; old.tabIndex = -1 }
  chosen = id;
  lead = why;
  if (c) { $("grid").firstChild.tabIndex = -1; c.ariaPressed = "true"; c.tabIndex = 0; if (focus) c.focus(); else c.scrollIntoView({block: "nearest"}) }
}

function showDetail(p) {
  if (!p) return;
  const b = t => el("b", "", t), parts = [lead, b(p.id), ` is ${p.state}, epoch `, b(String(p.epoch)), ", primary ", b(p.primary_node || "none")];
  const others = p.replicas.filter(r => r.node !== p.primary_node);
  if (others.length) parts.push("; ", others.map(r => `${r.node} ${r.state.replace("_", "-")}`).join(", "));
  if (p.move) parts.push(`; moving ${p.move.from || "–"} → ${p.move.to || "–"} to ${p.move.reason}, at ${p.move.stage}`);
  parts.push(`; changed at version ${p.version}.`);
  $("detail").replaceChildren(...parts);
}

$("grid").addEventListener("click", e => {
  const c = e.target.closest(".p");
  if (!c) return;
  asked++;
  choose(c.dataset.id, true);
  showDetail(state.parts.get(chosen));
});
$("grid").addEventListener("keydown", e => {
  const list = [...cells.values()], i = list.indexOf(document.activeElement);
  if (i < 0) return;
  const across = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
  const to = {ArrowRight: i + 1, ArrowLeft: i - 1, ArrowDown: i + across, ArrowUp: i - across, Home: 0, End: list.length - 1}[e.key];
  if (to === undefined || !list[to]) return;
  e.preventDefault();
  list[i].tabIndex = -1;
  list[to].tabIndex = 0;
  list[to].focus();
});
$("find").addEventListener("submit", async e => {
  e.preventDefault();
  const key = $("key").value, mine = ++asked; // a later question, or a click, wins
  try {
    const r = await ask("partitions/key?key=" + encodeURIComponent(key)), d = await r.json();
    if (asked !== mine) return;
    if (!r.ok) { choose("", false); $("detail").textContent = d.error.message; return }
    choose(d.partition.id, false, `Key ${JSON.stringify(key)}: `);
    showDetail(d.partition);
  } catch { $("detail").textContent = "This node does not answer." }
});

connect();
fetch("health").then(r => r.json()).then(d => { state.me = d.node_id; draw() }).catch(() => {});
