// The song beside the motion. While it sounds it is the clock: the picture shows the frame that belongs to what is heard.

class Sound {
  constructor(bytes) {
    this.element = new Audio(URL.createObjectURL(new Blob([bytes], { type: "audio/mp4" })));
    this.element.preload = "auto";
    // A browser that can't play it, or may not yet, still shows the motion.
    this.silent = false;
    this.element.addEventListener("error", () => { this.silent = true; });
  }

  start(seconds, speed) {
    if (this.silent && this.element.error) return;
    this.silent = false;
    this.seek(seconds);
    this.element.playbackRate = speed;
    this.element.play().catch((error) => { if (error.name !== "AbortError") this.silent = true; });
  }

  stop() {
    this.element.pause();
  }

  stopped() {
    return this.element.paused && !this.element.ended && !this.silent;
  }

  // Moves only where it is not there already, within half a millisecond: setting the time interrupts the sound.
  seek(seconds) {
    if (Math.abs(this.element.currentTime - seconds) > 5e-4) this.element.currentTime = seconds;
  }

  // Seconds of what is heard; null where nothing sounds: it is over, or the browser does not play it.
  now() {
    return this.silent || this.element.paused || this.element.ended ? null : this.element.currentTime;
  }
}
