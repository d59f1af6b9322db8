"use strict";
// A sample's player is opened when it is asked for: six at once would keep the graphics card busy for nothing.
const pages = JSON.parse(document.getElementById("pages").textContent);
for (const button of document.querySelectorAll(".sample > button")) {
  button.addEventListener("click", () => {
    const sample = button.parentElement;
    const open = sample.querySelector("iframe");
    button.setAttribute("aria-expanded", String(!open));
    if (open) {
      open.remove();
      return;
    }
    const frame = document.createElement("iframe");
    frame.title = button.textContent;
    frame.srcdoc = pages[Number(sample.dataset.page)];
    sample.append(frame);
  });
}
