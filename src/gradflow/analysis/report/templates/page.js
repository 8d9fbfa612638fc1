"use strict";
// A card over the whole screen; in a browser that has none of it, as wide as the page allows.
for (const button of document.querySelectorAll(".whole")) {
  const card = button.closest(".card");
  button.addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (card.requestFullscreen) card.requestFullscreen();
    else card.classList.toggle("enlarged");
  });
}
addEventListener("fullscreenchange", () => {
  for (const button of document.querySelectorAll(".whole")) {
    const on = document.fullscreenElement === button.closest(".card");
    button.setAttribute("aria-pressed", on);
    button.firstChild.textContent = on ? "Leave full screen" : "Full screen";
  }
});
// Print what is folded on screen.
const folded = () => document.querySelectorAll("details:not([open])");
let opened = [];
addEventListener("beforeprint", () => { opened = [...folded()]; opened.forEach((part) => { part.open = true; }); });
addEventListener("afterprint", () => { opened.forEach((part) => { part.open = false; }); });
