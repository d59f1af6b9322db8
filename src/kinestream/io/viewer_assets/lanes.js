// Lanes under the timeline: marked spans, what they say, and rings around the joints that they are about.

function buildLanes(player, whole) {
  for (const lane of player.about.lanes) {
    const row = document.createElement("div"), name = document.createElement("b"), bars = document.createElement("div");
    row.className = lane.name ? "lane" : "lane more";
    name.textContent = name.title = lane.name;
    for (const mark of lane.marks) {
      const bar = mark.bar = document.createElement("button");
      Object.assign(bar, { type: "button", className: `level${mark.level}`, title: mark.text });
      bar.setAttribute("aria-label", mark.text);
      // Bars reach from half a frame before to half a frame after, so that the needle is inside while a mark holds.
      const ends = [mark.start, mark.end].map((s) => Math.min(Math.max((s - 0.5 / player.about.fps) / whole, 0), 1));
      bar.style.left = `min(${100 * ends[0]}%, calc(100% - 4px))`;
      bar.style.width = `${100 * (ends[1] - ends[0])}%`;
      bar.addEventListener("click", () => { player.play(false); player.seek(Math.round(mark.at * player.about.fps)); });
      bars.append(bar);
    }
    row.append(name, bars);
    $("lanes").append(row);
  }
  const needle = document.createElement("div");
  needle.id = "needle";
  needle.append(document.createElement("div"));
  $("lanes").append(needle);
  $("lanes").hidden = false;
  $("panel").classList.add("laned");
}

function showMarks(player, now, share) {
  const half = 0.5 / player.about.fps;
  player.marksNow = player.laneMarks.filter((mark) => {
    const current = now >= mark.start - half && now < mark.end - half;
    mark.bar.classList.toggle("now", current);
    return current;
  });
  const said = [...player.marksNow].sort((a, b) => b.level - a.level).slice(0, 7);
  $("now").hidden = said.length === 0;
  $("now").replaceChildren(...said.map((mark) => {
    const line = document.createElement("li"), dot = document.createElement("i");
    dot.className = `level${mark.level}`;
    line.append(dot, mark.text);
    return line;
  }));
  const needle = $("needle");
  if (needle) needle.firstChild.style.left = `${100 * share}%`;
}

function placeSpots(player, camera, canvas) {
  const levels = new Map(), p = player.persons[0], rings = $("spots").children;
  for (const { joint, level } of player.marksNow) if (joint >= 0) levels.set(joint, Math.max(level, levels.get(joint) ?? 0));
  while (rings.length < levels.size) $("spots").append(document.createElement("div"));
  const shown = [...levels];
  [...rings].forEach((ring, k) => {
    ring.hidden = k >= shown.length;
    if (ring.hidden) return;
    const [joint, level] = shown[k];
    ring.className = `level${level}`;
    player.pin(ring, [0, 1, 2].map((axis) => p.places[3 * joint + axis] + p.shift[axis]).concat(1), camera, canvas);
  });
}
