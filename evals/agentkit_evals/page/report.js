"use strict";
// The page reads without this; here are the filters, and the trials' own pages.
const filters = document.getElementById("filters");
const rows = [...document.querySelectorAll("#cases tbody tr")];
const dialog = document.getElementById("trial");
const frame = dialog.querySelector("iframe");

function fits(row, chosen) {
  const text = (chosen.get("text") ?? "").toLowerCase();
  if (!row.firstElementChild.textContent.toLowerCase().includes(text)) return false;
  return ["outcome", "tag", "why"].every((name) => {
    const value = chosen.get(name);
    return !value || row.dataset[name].split("\n").includes(value);
  });
}

function filter() {
  const chosen = new FormData(filters);
  let shown = 0;
  for (const row of rows) {
    row.hidden = !fits(row, chosen);
    shown += !row.hidden;
  }
  const all = rows.length === 1 ? "1 case" : `${rows.length} cases`;
  filters.querySelector("output").textContent =
    shown === rows.length ? all : `${shown} of ${all}`;
}

async function unpacked(name) {
  const packed = atob(document.getElementById(`data-${name}`).textContent);
  const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

let wanted = null;

async function open(button) {
  wanted = button;
  const page = await unpacked(button.dataset.page);
  if (wanted !== button) return;  // another trial was opened meanwhile
  document.getElementById("which").textContent = button.title;
  frame.srcdoc = page;
  if (!dialog.open) dialog.showModal();
}

function openTarget() {
  const name = location.hash.slice(1);
  const row = document.getElementById(name);
  if (row?.hidden) {  // a link to a case that is filtered out
    filters.reset();
    filter();
    row.scrollIntoView();
  }
  const button = document.querySelector(`button[data-page="${CSS.escape(name)}"]:enabled`);
  if (button) open(button);
}

filters.addEventListener("input", filter);
filters.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("cases").addEventListener("click", (event) => {
  const button = event.target.closest("button.mark:enabled");
  if (button) open(button);
});
dialog.querySelector("button").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => (frame.srcdoc = ""));
addEventListener("hashchange", openTarget);
filter();
openTarget();
