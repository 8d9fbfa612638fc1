"use strict";
for (const button of document.querySelectorAll(".enlarge")) {
  button.addEventListener("click", () => {
    const enlarged = button.previousElementSibling.classList.toggle("enlarged");
    button.setAttribute("aria-pressed", enlarged);
  });
}
// Print what is folded on screen.
const folded = () => document.querySelectorAll("details:not([open])");
let opened = [];
addEventListener("beforeprint", () => { opened = [...folded()]; opened.forEach((part) => { part.open = true; }); });
addEventListener("afterprint", () => { opened.forEach((part) => { part.open = false; }); });
