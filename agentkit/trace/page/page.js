"use strict";
// The page reads without this; here are the keys, and links that open what they lead to.
const steps = [...document.querySelectorAll("details.step")];
const bad = steps.filter((step) => step.classList.contains("bad"));
let here = -1;

function go(step) {
  if (!step) return;
  steps[here]?.classList.remove("here");
  here = steps.indexOf(step);
  step.classList.add("here");
  step.open = true;
  step.scrollIntoView({ block: "start" });
  step.firstElementChild.focus({ preventScroll: true });
}

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target) go(target.closest("details.step"));
}

const keys = {
  j: () => go(steps[Math.min(here + 1, steps.length - 1)]),
  k: () => go(steps[Math.max(here - 1, 0)]),
  e: () => go(bad.find((step) => steps.indexOf(step) > here) ?? bad[0]),
  o: () => {
    const open = steps.some((step) => !step.open);
    for (const step of steps) step.open = open;
  },
  t: () => {
    const reasoning = [...document.querySelectorAll("details.closed")];
    const open = reasoning.some((each) => !each.open);
    for (const each of reasoning) each.open = open;
  },
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  keys[event.key]?.();
});
addEventListener("hashchange", openTarget);
openTarget();
