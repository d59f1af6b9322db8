// Begins the page of a written motion.

async function start() {
  const dark = window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  const song = $("sound").textContent;
  const player = new Player(JSON.parse($("about").textContent), await unpack($("payload").textContent), song ? new Sound(fromBase64(song)) : null);
  buildPage(player);
  listen(player);
  player.show();
  player.draw();
  // Browsers let sound begin with a touch of the page only.
  if (!player.sound) player.play(true);
  requestAnimationFrame((time) => player.tick(time));
  window.kinestream = player;
}

start().catch((error) => {
  $("failure").hidden = false;
  $("failure").textContent = error.message;
  console.error(error);
});
