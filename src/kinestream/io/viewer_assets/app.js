// The page: camera, playback, timeline, switches.

const $ = (id) => document.getElementById(id);
const THEMES = {
  light: { ground: [0.64, 0.66, 0.69], low: [0.66, 0.70, 0.75], high: [0.44, 0.50, 0.58], night: 0 },
  dark: { ground: [0.030, 0.035, 0.043], low: [0.016, 0.020, 0.026], high: [0.006, 0.008, 0.011], night: 1 },
};
const SPANS = ["#1f6feb", "#d1571f", "#2f8f46", "#a0660a", "#7a3fb5", "#b02a55"];
const SOLE = 0.022, FIELD_OF_VIEW = 0.48;

const sub = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const unit = (a) => a.map((x) => x / (Math.hypot(...a) || 1));

function lookAt(eye, target) {
  const back = unit(sub(eye, target)), right = unit(cross(Math.abs(back[1]) > 0.999 ? [0, 0, -1] : [0, 1, 0], back)), up = cross(back, right);
  return [right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0, -dot(right, eye), -dot(up, eye), -dot(back, eye), 1];
}

function times(a, b) {
  const out = new Float32Array(16);
  for (let c = 0; c < 4; c++) for (let r = 0; r < 4; r++) for (let k = 0; k < 4; k++) out[4 * c + r] += a[4 * k + r] * b[4 * c + k];
  return out;
}

// Two triangles along a line, as wide as can be seen from `eye`.
function ribbon(a, b, eye, half) {
  const side = unit(cross(sub(b, a), sub(eye, a))).map((x) => x * half);
  const [p, q, r, s] = [[a, 1], [a, -1], [b, 1], [b, -1]].map(([end, sign]) => end.map((x, k) => x + sign * side[k]));
  return [...p, ...q, ...r, ...r, ...q, ...s];
}

// `raise` moves the picture up, so that its middle stands above the panel (share of half the height).
function perspective(aspect, near, far, raise) {
  const f = 1 / Math.tan(FIELD_OF_VIEW / 2);
  return [f / aspect, 0, 0, 0, 0, f, 0, 0, 0, -raise, (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0];
}

class Player {
  constructor(about, buffer, sound) {
    this.about = about;
    this.sound = sound;
    const bodies = about.bodies.map((body) => makeBody(body, buffer));
    this.persons = about.persons.map((person) => new Person(person, buffer, bodies));
    this.frames = Math.max(...this.persons.map((person) => person.frames));
    this.renderer = new Renderer($("view"), bodies, this.persons);
    this.path = this.smoothPath();
    this.on = { contacts: this.persons.some((p) => p.contacts), skeleton: false, path: false, follow: true, loop: true, sound: true };
    this.frame = 0;
    this.laneMarks = about.lanes.flatMap((lane) => lane.marks);
    this.marksNow = [];
    this.speed = 1;
    this.playing = false;
    this.drawn = 0;
    this.resetCamera();
  }

  // Where the persons' middle is on the floor in each frame, without the sway of single steps.
  smoothPath() {
    const raw = [], reach = Math.max(1, Math.round(this.about.fps));
    for (let f = 0; f < this.frames; f++) {
      const middle = [0, 0];
      for (const p of this.persons) {
        const k = 3 * Math.min(f, p.frames - 1);
        middle[0] += (p.centres[k] + p.shift[0]) / this.persons.length;
        middle[1] += (p.centres[k + 2] + p.shift[2]) / this.persons.length;
      }
      raw.push(middle);
    }
    return raw.map((_, f) => {
      const sum = [0, 0, 0];
      for (let d = -reach; d <= reach; d++) {
        const k = f + d, inside = Math.min(Math.max(k, 0), raw.length - 1), weight = Math.exp(-4.5 * (d / reach) ** 2);
        // Beyond the ends the movement goes on as it came.
        const mirror = Math.min(Math.max(2 * inside - k, 0), raw.length - 1);
        sum[0] += weight * (k === inside ? raw[k][0] : 2 * raw[inside][0] - raw[mirror][0]);
        sum[1] += weight * (k === inside ? raw[k][1] : 2 * raw[inside][1] - raw[mirror][1]);
        sum[2] += weight;
      }
      return [sum[0] / sum[2], sum[1] / sum[2]];
    });
  }

  resetCamera() {
    this.azimuth = this.about.azimuth;
    this.elevation = 0.2;
    this.pan = [0, 0, 0];
    this.distance = null;
  }

  // Far enough that everyone is in the picture now.
  fittingDistance(aspect) {
    const tangent = Math.tan(FIELD_OF_VIEW / 2), half = this.about.height * 0.62 / tangent / (1 - ($("panel").offsetHeight + 18) / $("view").clientHeight);
    const target = this.path[Math.floor(this.frame)] || [0, 0];
    let wide = 0.8;
    for (const p of this.persons) {
      const x = p.places[0] + p.shift[0] - target[0], z = p.places[2] + p.shift[2] - target[1];
      wide = Math.max(wide, Math.abs(x * Math.cos(this.azimuth) - z * Math.sin(this.azimuth)) + 0.75);
    }
    return Math.max(half, wide / (tangent * aspect)) + 0.4;
  }

  target() {
    const low = Math.floor(this.frame), high = Math.min(low + 1, this.frames - 1), t = this.frame - low;
    const at = this.on.follow ? [0, 1].map((k) => this.path[low][k] * (1 - t) + this.path[high][k] * t) : this.path[0];
    return [at[0] + this.pan[0], this.about.height * 0.5 + this.pan[1], at[1] + this.pan[2]];
  }

  eye(target) {
    const flat = Math.cos(this.elevation) * this.distance;
    return [target[0] + flat * Math.sin(this.azimuth), target[1] + Math.sin(this.elevation) * this.distance, target[2] + flat * Math.cos(this.azimuth)];
  }

  draw() {
    const canvas = $("view"), ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    for (const person of this.persons) person.pose(this.frame);
    if (this.distance === null) this.distance = this.fittingDistance(width / height);
    const target = this.target(), eye = this.eye(target), look = lookAt(eye, target);
    const raise = ($("panel").offsetHeight + 18) / canvas.clientHeight;
    const camera = times(perspective(width / height, 0.05, 200, raise), look), theme = THEMES[document.documentElement.dataset.theme];
    this.renderer.draw({
      camera, eye, ...theme, middle: target, lamp: this.lamp(), balls: this.balls(), marks: this.marks(), lines: this.lines(theme, eye),
      horizon: Math.tan(this.elevation) / Math.tan(FIELD_OF_VIEW / 2) + raise + 0.02,
    });
    this.placeLabels(camera, canvas);
    placeSpots(this, camera, canvas);
    this.changed = false;
    this.drawn += 1;
  }

  // The lamp's view: all persons and their shadows, as tight as it goes.
  lamp() {
    const { light } = this.renderer, ends = [[1e9, 1e9], [-1e9, -1e9]];
    for (const p of this.persons) for (const [k, axis] of [[0, 0], [2, 1]]) {
      ends[0][axis] = Math.min(ends[0][axis], p.places[k] + p.shift[k]);
      ends[1][axis] = Math.max(ends[1][axis], p.places[k] + p.shift[k]);
    }
    const middle = [0, 1].map((axis) => (ends[0][axis] + ends[1][axis]) / 2), top = this.about.height;
    const radius = Math.hypot(ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]) / 2 + top * 0.85, target = [middle[0], top * 0.4, middle[1]];
    const depth = 4 * radius + 4, scale = [1 / radius, 1 / radius, -2 / depth];
    const view = lookAt(target.map((x, k) => x + light[k] * (depth / 2)), target);
    return times([scale[0], 0, 0, 0, 0, scale[1], 0, 0, 0, 0, scale[2], 0, 0, 0, -1, 1], view);
  }

  // Balls that darken the floor below them: hips, ankles and toes, or all joints of other skeletons.
  balls() {
    const out = [];
    for (const p of this.persons) for (const [joint, radius] of p.balls) {
      if (out.length < 160) out.push(p.places[3 * joint] + p.shift[0], p.places[3 * joint + 1] + p.shift[1], p.places[3 * joint + 2] + p.shift[2], radius);
    }
    return new Float32Array(out);
  }

  marks() {
    const found = [];
    if (!this.on.contacts) return found;
    for (const p of this.persons) {
      const bits = p.standing(this.frame);
      p.feet.forEach((joint, k) => {
        if (bits & (1 << k)) found.push({
          place: [p.places[3 * joint] + p.shift[0], 0.004, p.places[3 * joint + 2] + p.shift[2], k % 2 ? 0.085 : 0.075],
          tint: [0.10, 0.72, 0.42, 0.9],
        });
      });
    }
    return found;
  }

  lines(theme, eye) {
    const found = [];
    for (const p of this.persons) {
      const seen = sub(eye, p.shift), place = (j) => Array.from(p.places.slice(3 * j, 3 * j + 3));
      if (this.on.path) {
        const points = [];
        for (let f = 1; f < p.frames; f++) {
          const ends = [f - 1, f].map((k) => [p.centres[3 * k], 0.005 - p.shift[1], p.centres[3 * k + 2]]);
          points.push(...ribbon(ends[0], ends[1], [ends[0][0], 1e6, ends[0][2]], 0.009));
        }
        found.push({ points: new Float32Array(points), shift: p.shift, tint: [0.16, 0.50, 0.95, 0.9], hidden: true });
      }
      if (this.on.skeleton) {
        const bones = [], joints = [];
        p.parents.forEach((parent, j) => {
          if (parent >= 0) bones.push(...ribbon(place(parent), place(j), seen, 0.006));
          joints.push(...ribbon(sub(place(j), [0, 0.011, 0]), sub(place(j), [0, -0.011, 0]), seen, 0.011));
        });
        const tint = theme.night ? [1, 0.82, 0.35, 1] : [0.98, 0.75, 0.1, 1];
        found.push({ points: new Float32Array(bones), shift: p.shift, tint });
        found.push({ points: new Float32Array(joints), shift: p.shift, tint: [1, 1, 1, 1] });
      }
    }
    return found;
  }

  placeLabels(camera, canvas) {
    this.persons.forEach((p, k) => {
      const label = $("labels").children[k];
      if (!label) return;
      let top = -1e9;
      for (let j = 0; j < p.joints; j++) top = Math.max(top, p.places[3 * j + 1]);
      this.pin(label, [p.places[0] + p.shift[0], top + p.shift[1] + 0.3, p.places[2] + p.shift[2], 1], camera, canvas);
    });
  }

  // An element over a place in the world.
  pin(element, at, camera, canvas) {
    const clip = [0, 1, 3].map((r) => at.reduce((sum, x, c) => sum + camera[4 * c + r] * x, 0));
    element.hidden = clip[2] <= 0;
    element.style.left = `${(0.5 + 0.5 * clip[0] / clip[2]) * canvas.clientWidth}px`;
    element.style.top = `${(0.5 - 0.5 * clip[1] / clip[2]) * canvas.clientHeight}px`;
  }

  seek(frame) {
    this.frame = Math.min(Math.max(frame, 0), this.frames - 1);
    if (this.sound) this.sound.seek(this.frame / this.about.fps);
    this.show();
  }

  play(on) {
    this.playing = on;
    if (on && this.frame >= this.frames - 1) this.frame = 0;
    this.last = null;
    if (this.sound) on ? this.sound.start(this.frame / this.about.fps, this.speed) : this.sound.stop();
    $("play-icon").setAttribute("d", on ? "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z" : "M7 4.5v15l13-7.5z");
  }

  tick(now) {
    if (this.playing) {
      const heard = this.sound ? this.sound.now() : null;
      if (heard !== null) this.frame = heard * this.about.fps;
      else if (this.last !== null) this.frame += Math.min((now - this.last) / 1000, 0.25) * this.about.fps * this.speed;
      this.last = now;
      if (this.frame > this.frames - 1) {
        if (this.on.loop && this.frames > 1) {
          this.frame %= this.frames - 1;
          if (this.sound) this.sound.start(this.frame / this.about.fps, this.speed);
        }
        else { this.frame = this.frames - 1; this.play(false); }
      }
      this.show();
    }
    // A page that stands still costs nothing.
    if (this.changed) this.draw();
    requestAnimationFrame((time) => this.tick(time));
  }

  // Everything that tells the time.
  show() {
    this.changed = true;
    const { fps, captions } = this.about, share = this.frames > 1 ? this.frame / (this.frames - 1) : 0, whole = Math.round(this.frame), now = this.frame / fps;
    $("played").style.width = $("head").style.left = `${100 * share}%`;
    $("track").setAttribute("aria-valuenow", whole);
    $("clock").innerHTML = "<b></b>";
    $("clock").firstChild.textContent = `${now.toFixed(2)} s`;
    $("clock").append(` / ${((this.frames - 1) / fps).toFixed(2)} s   frame ${whole} of ${this.frames - 1}`);
    const shown = captions.filter((caption, k) => {
      const current = now >= caption.start && (now < caption.end || caption.end >= (this.frames - 1) / fps);
      $("spans").children[k].classList.toggle("now", current);
      return current;
    });
    showMarks(this, now, share);
    $("caption").hidden = shown.length === 0;
    $("caption").textContent = shown.map((caption) => caption.text).join("  ·  ");
  }
}

function buildPage(player) {
  const { about } = player, seconds = ((player.frames - 1) / about.fps).toFixed(1);
  $("title").textContent = about.title;
  const many = player.persons.length > 1 ? `${player.persons.length} motions · ` : "";
  $("facts").textContent = `${many}${player.frames} frames · ${Math.round(about.fps * 100) / 100} fps · ${seconds} s`;
  $("track").setAttribute("aria-valuemax", player.frames - 1);
  const whole = Math.max((player.frames - 1) / about.fps, 1e-6);
  about.captions.forEach((caption, k) => {
    const span = document.createElement("div");
    span.textContent = span.title = caption.text;
    span.style.left = `${100 * Math.min(Math.max(caption.start / whole, 0), 1)}%`;
    span.style.right = `${100 * Math.min(Math.max(1 - caption.end / whole, 0), 1)}%`;
    span.style.setProperty("--span", SPANS[k % SPANS.length]);
    $("spans").append(span);
  });
  if (!about.captions.length) $("track").style.height = "17px";
  $("note").textContent = about.note;
  $("note").hidden = !about.note;
  if (about.lanes.length) buildLanes(player, whole);
  if (player.persons.length > 1) for (const person of player.persons) {
    const label = document.createElement("span");
    label.textContent = person.name;
    $("labels").append(label);
  }
  for (const [name, key] of [["contacts", "c"], ["skeleton", "b"], ["path", "p"], ["follow", "f"], ["loop", "l"], ["sound", "m"]]) {
    if (name === "contacts" && !player.on.contacts) continue;
    if (name === "sound" && !player.sound) continue;
    const button = document.createElement("button");
    Object.assign(button, { type: "button", id: `toggle-${name}`, textContent: name, title: `${name} (${key})` });
    const set = (on) => {
      player.on[name] = on;
      button.setAttribute("aria-pressed", on);
      if (name === "sound") player.sound.element.muted = !on;
    };
    button.addEventListener("click", () => set(!player.on[name]));
    window.addEventListener("keydown", (event) => { if (event.key === key && !event.ctrlKey && !event.metaKey) set(!player.on[name]); });
    set(player.on[name]);
    $("toggles").append(button);
  }
}

function listen(player) {
  const canvas = $("view"), track = $("track"), pointers = new Map();
  const scrub = (event) => {
    const box = track.getBoundingClientRect();
    player.seek(Math.round((event.clientX - box.left) / box.width * (player.frames - 1)));
  };
  track.addEventListener("pointerdown", (event) => { track.setPointerCapture(event.pointerId); player.play(false); scrub(event); });
  track.addEventListener("pointermove", (event) => { if (track.hasPointerCapture(event.pointerId)) scrub(event); });
  const step = (d) => { player.play(false); player.seek(Math.round(player.frame) + d); };
  const reset = () => { player.resetCamera(); };
  $("play").addEventListener("click", () => player.play(!player.playing));
  $("back").addEventListener("click", () => step(-1));
  $("forth").addEventListener("click", () => step(1));
  $("speed").addEventListener("change", (event) => {
    player.speed = Number(event.target.value);
    if (player.sound) player.sound.element.playbackRate = player.speed;
  });
  // Others may stop the sound too: a key of the keyboard, another page.
  if (player.sound) player.sound.element.addEventListener("pause", () => { if (player.playing && player.sound.stopped()) player.play(false); });
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  });
  window.addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT") return;
    const act = { " ": () => player.play(!player.playing), ArrowLeft: () => step(event.shiftKey ? -10 : -1), ArrowRight: () => step(event.shiftKey ? 10 : 1),
      Home: () => player.seek(0), End: () => player.seek(player.frames - 1), r: reset }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  for (const kind of ["pointerdown", "pointermove", "wheel", "keydown", "click", "dblclick", "change", "resize"])
    window.addEventListener(kind, () => { player.changed = true; });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", reset);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    player.distance = Math.min(Math.max(player.distance * Math.exp(event.deltaY * 0.0012), 0.4), 60);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); pointers.set(event.pointerId, event); });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    if (pointers.size === 2) {
      const other = [...pointers.values()].find((pointer) => pointer.pointerId !== event.pointerId);
      const gap = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY) || 1;
      player.distance = Math.min(Math.max(player.distance * gap(before) / gap(event), 0.4), 60);
    }
    if (pointers.size === 2 || before.buttons & 6 || event.shiftKey) {
      const scale = player.distance * 2 * Math.tan(FIELD_OF_VIEW / 2) / canvas.clientHeight / pointers.size;
      player.pan[0] -= scale * dx * Math.cos(player.azimuth);
      player.pan[2] += scale * dx * Math.sin(player.azimuth);
      player.pan[1] += scale * dy;
    } else {
      player.azimuth -= dx * 0.008;
      player.elevation = Math.min(Math.max(player.elevation + dy * 0.006, -0.25), 1.5);
    }
    pointers.set(event.pointerId, event);
  });
}
