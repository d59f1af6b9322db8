// The studio: a stream of the server, played while it is made. The pictures are the viewer's (motion.js, render.js, app.js).

const FRAMES_AHEAD = 3;
const MAGIC = 0x3146534b; // "KSF1"

// A person whose frames come one after the other.
class Growing extends Person {
  constructor(about, buffer, bodies) {
    super(about, buffer, bodies);
    this.frames = 1;
    this.grow(1800);
  }

  grow(frames) {
    for (const [name, width] of [["rotations", 4 * this.joints], ["roots", 3], ["centres", 3]]) {
      const larger = new this[name].constructor(width * frames);
      larger.set(this[name].subarray(0, Math.min(this[name].length, larger.length)));
      this[name] = larger;
    }
    this.room = frames;
  }

  put(first, count, view, offset) {
    while (first + count > this.room) this.grow(2 * this.room);
    const J = this.joints;
    for (let t = 0; t < count; t++) {
      for (let k = 0; k < 3; k++, offset += 4) {
        const value = view.getFloat32(offset, true);
        this.roots[3 * (first + t) + k] = this.centres[3 * (first + t) + k] = value;
      }
      for (let k = 0; k < 4 * J; k++, offset += 2) this.rotations[4 * J * (first + t) + k] = view.getInt16(offset, true);
    }
    this.frames = first + count;
  }
}

class Studio extends Player {
  constructor(about, buffer) {
    super(about, buffer, null);
    const bodies = [this.persons[0].body];
    const bones = this.persons[0].bones;
    this.persons[0] = new Growing(about.persons[0], buffer, bodies);
    this.persons[0].bones = bones;
    this.renderer.persons = this.persons;
    this.made = false;
    this.live = true;
    this.spans = [];
    this.path = [[0, 0]];
    this.on.contacts = false;
    this.playing = true;
  }

  get person() { return this.persons[0]; }

  // The camera goes along smoothly: no frame to come is known.
  smoothPath() { return [[0, 0]]; }

  target() {
    const k = 3 * Math.min(Math.round(this.frame), this.person.frames - 1), at = this.path[0];
    const here = this.made ? [this.person.roots[k], this.person.roots[k + 2]] : [0, 0];
    const now = performance.now(), share = 1 - Math.exp(-3 * Math.min((now - (this.looked || now)) / 1000, 1));
    this.looked = now;
    for (const axis of [0, 1]) at[axis] += (here[axis] - at[axis]) * (Math.abs(here[axis] - at[axis]) > 3 ? 1 : share);
    return [at[0] + this.pan[0], this.about.height * 0.5 + this.pan[1], at[1] + this.pan[2]];
  }

  fittingDistance(aspect) { return super.fittingDistance(aspect) + 0.6; }

  take(first, count, view) {
    this.person.put(first, count, view, 12);
    this.frames = first + count;
    this.made = true;
    this.changed = true;
  }

  cut(frame) {
    this.person.frames = this.frames = Math.max(frame, 1);
    this.made = frame > 0;
    this.frame = Math.min(this.frame, this.frames - 1);
    this.spans = this.spans.filter((span) => span.first < frame);
    this.showSpans();
  }

  begin(first, text) {
    this.spans.push({ first, text });
    this.showSpans();
  }

  showSpans() {
    $("spans").replaceChildren(...this.spans.map((span, k) => {
      const bar = document.createElement("div");
      bar.textContent = bar.title = span.text;
      bar.style.setProperty("--span", SPANS[k % SPANS.length]);
      return bar;
    }));
    this.placeSpans();
  }

  placeSpans() {
    const whole = Math.max(this.frames - 1, 1);
    this.spans.forEach((span, k) => {
      const bar = $("spans").children[k], end = k + 1 < this.spans.length ? this.spans[k + 1].first : whole;
      bar.style.left = `${100 * span.first / whole}%`;
      bar.style.right = `${100 * (1 - end / whole)}%`;
      bar.classList.toggle("now", this.frame >= span.first && this.frame < Math.max(end, span.first + 1));
    });
  }

  play(on) {
    if (!on) this.follow(false);
    this.playing = on;
    this.last = null;
    $("play-icon").setAttribute("d", on ? "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z" : "M7 4.5v15l13-7.5z");
  }

  follow(on) {
    this.live = on;
    $("live").setAttribute("aria-pressed", on);
    if (on) this.play(true);
  }

  seek(frame) {
    this.follow(false);
    this.frame = Math.min(Math.max(frame, 0), this.frames - 1);
    this.show();
  }

  tick(now) {
    const end = this.frames - 1;
    if (this.playing && this.made) {
      const passed = this.last ? Math.min((now - this.last) / 1000, 0.25) * this.about.fps : 0;
      // What is ahead is played a little faster, until only some frames are.
      const rate = this.live ? Math.min(Math.max(1 + (end - this.frame - FRAMES_AHEAD) / 30, 0.7), 2) : this.speed;
      this.frame = Math.min(this.frame + passed * rate, end);
      if (this.live && end - this.frame > 60) this.frame = end - FRAMES_AHEAD;
      this.show();
    }
    this.last = now;
    if (this.changed || this.playing) this.draw();
    requestAnimationFrame((time) => this.tick(time));
  }

  show() {
    this.changed = true;
    const whole = Math.max(this.frames - 1, 1), share = this.frame / whole;
    $("played").style.width = $("head").style.left = `${100 * share}%`;
    $("track").setAttribute("aria-valuenow", Math.round(this.frame));
    $("track").setAttribute("aria-valuemax", this.frames - 1);
    $("clock").textContent = `${(this.frame / this.about.fps).toFixed(2)} s / ${(whole / this.about.fps).toFixed(2)} s`;
    this.placeSpans();
  }
}

// The connection: it comes back by itself, and lacks no frame then.
class Line {
  constructor(studio) {
    this.studio = studio;
    this.key = null;
    this.next = 0;
    this.asked = null;
    this.waiting = [];
    this.open();
  }

  open(first) {
    const token = new URLSearchParams(location.search).get("token");
    const socket = this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/stream${token ? `?token=${encodeURIComponent(token)}` : ""}`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify(first || (this.key ? { type: "resume", session: this.key, next_frame: this.next } : { type: "join", seed: Math.floor(Math.random() * 2 ** 31) })));
    socket.onmessage = ({ data }) => { if (socket === this.socket) typeof data === "string" ? this.hear(JSON.parse(data)) : this.see(data); };
    socket.onclose = () => { if (socket === this.socket) { say("the connection is lost; trying again"); setTimeout(() => socket === this.socket && this.open(), 700); } };
  }

  send(message) {
    if (this.socket.readyState === 1 && this.key) this.socket.send(JSON.stringify(message));
    else this.waiting.push(message);
  }

  prompt(text, queue) {
    if (!queue) this.asked = performance.now();
    this.send({ type: "event", event: { kind: "prompt", text, queue } });
  }

  another(frame) {
    this.then = (twin) => {
      this.key = twin.session;
      this.next = twin.next_frame;
      this.studio.cut(twin.next_frame);
      const old = this.socket;
      this.open();
      old.close();
    };
    this.send({ type: "branch", frame, seed: Math.floor(Math.random() * 2 ** 31) });
  }

  hear(message) {
    if (message.type === "joined") {
      this.key = message.session;
      this.next = message.next_frame;
      say("ready");
      for (const waiting of this.waiting.splice(0)) this.send(waiting);
    } else if (message.type === "chunk") {
      if (message.began.includes("prompt")) {
        this.studio.begin(message.first_frame, message.prompt);
        if (this.asked !== null) say(`acted ${Math.round(performance.now() - this.asked)} ms after it was said`);
        this.asked = null;
      } else if (message.began.length && this.studio.spans.length) this.studio.begin(message.first_frame, "");
    } else if (message.type === "rewound") {
      this.next = this.rewound = message.frame;
      this.studio.cut(message.frame);
    } else if (message.type === "branched" && this.then) this.then(message);
    else if (message.type === "note" || message.type === "error") {
      $("note").textContent = message.message;
      $("note").hidden = false;
      if (message.fatal) this.key = null;
    }
  }

  see(data) {
    const view = new DataView(data), first = view.getUint32(4, true), count = view.getUint16(8, true);
    if (view.getUint32(0, true) !== MAGIC) return;
    this.next = first + count;
    this.studio.take(first, count, view);
  }
}

function say(text) { $("facts").textContent = text; }

// All frames so far as the server's binary, and the file that it makes of them.
async function save(studio) {
  const p = studio.person, row = 12 + 8 * p.joints, data = new ArrayBuffer(12 + row * p.frames), view = new DataView(data);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, 0, true);
  view.setUint16(8, p.frames, true);
  view.setUint16(10, p.joints, true);
  for (let t = 0, at = 12; t < p.frames; t++) {
    for (let k = 0; k < 3; k++, at += 4) view.setFloat32(at, p.roots[3 * t + k], true);
    for (let k = 0; k < 4 * p.joints; k++, at += 2) view.setInt16(at, p.rotations[4 * p.joints * t + k], true);
  }
  const token = new URLSearchParams(location.search).get("token"), headers = token ? { Authorization: `Bearer ${token}` } : {};
  const form = new FormData();
  form.append("frames", new Blob([data]), "take.ksf");
  form.append("options", JSON.stringify({ formats: [$("format").value] }));
  let report = await (await fetch("jobs/frames", { method: "POST", body: form, headers })).json();
  while (report.state === "waiting" || report.state === "working") {
    await new Promise((done) => setTimeout(done, 150));
    report = await (await fetch(`jobs/${report.job}`, { headers })).json();
  }
  if (report.state !== "done") throw new Error(report.error || report.detail);
  const file = await (await fetch(`jobs/${report.job}/files/${report.files[0]}`, { headers })).blob(), link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = report.files[0];
  link.click();
  say(`saved ${report.files[0]}`);
}

async function startStudio() {
  const dark = window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  const { about, payload } = await (await fetch("studio/figure")).json();
  const studio = new Studio(about, await unpack(payload)), line = new Line(studio);
  const act = (queue) => {
    const text = $("text").value.trim();
    if (!text) return;
    $("note").hidden = $("welcome").hidden = true;
    line.prompt(text, queue);
    studio.follow(true);
    $("text").value = "";
  };
  listen(studio);
  $("say").addEventListener("submit", (event) => { event.preventDefault(); act(false); });
  $("do-then").addEventListener("click", () => act(true));
  $("text").addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && event.shiftKey) { event.preventDefault(); act(true); }
  });
  for (const button of document.querySelectorAll(".try")) button.addEventListener("click", () => { $("text").value = button.textContent; act(false); });
  $("live").addEventListener("click", () => studio.follow(!studio.live));
  $("from-here").addEventListener("click", () => { line.send({ type: "rewind", frame: Math.round(studio.frame) }); studio.follow(true); });
  $("another").addEventListener("click", () => { line.another(Math.round(studio.frame)); studio.follow(true); });
  $("save").addEventListener("click", () => save(studio).catch((error) => say(`not saved: ${error.message}`)));
  $("text").focus();
  studio.draw();
  requestAnimationFrame((time) => studio.tick(time));
  Object.assign(window, { kinestream: studio, line });
}

startStudio().catch((error) => {
  $("failure").hidden = false;
  $("failure").textContent = error.message;
  console.error(error);
});
