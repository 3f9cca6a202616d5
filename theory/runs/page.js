"use strict";
const form = document.querySelector(".filter");
if (form) {
  const cards = [...document.querySelectorAll("[data-name]")];
  const links = [...document.querySelectorAll(".index a")];
  const status = form.querySelector("[role=status]");
  const text = (card) => {
    const parts = card.matches("li") ? [card] : [...card.querySelectorAll("h3, p, .claims li")];
    const told = parts.filter((part) => !part.closest(".derivation, .again")).map((part) => part.textContent);
    return [card.dataset.name, ...told].join(" ").toLowerCase();
  };
  const words = new Map(cards.map((card) => [card, text(card)]));
  const show = () => {
    const word = form.querySelector("[type=search]").value.trim().toLowerCase();
    const verdict = form.querySelector(":checked").value;
    let shown = 0;
    for (const card of cards) {
      const checks = [...card.querySelectorAll(".check")];
      for (const check of checks) check.hidden = verdict !== "all" && check.dataset.verdict !== verdict;
      const fits = verdict === "all" || card.dataset.verdicts.includes(verdict);
      card.hidden = !(fits && words.get(card).includes(word));
      for (const part of card.querySelectorAll("details.reported")) {
        part.hidden = !["all", "reported"].includes(verdict);
        if (verdict === "reported") part.open = true;
      }
      shown += !card.hidden;
    }
    for (const link of links) link.parentElement.hidden = document.getElementById(link.hash.slice(1)).hidden;
    status.textContent = `${shown} of ${cards.length} shown`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
}
const reach = () => {
  for (const part of document.querySelectorAll(".scroll")) {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
  }
};
addEventListener("resize", reach);
addEventListener("toggle", reach, true);
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
reach();
