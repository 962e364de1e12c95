// What HTML and htmx leave to do: say whether the page is live, keep rows in place, read charts,
// and copy a command.
"use strict";

const root = document.documentElement;
root.classList.add("js");

const connection = (state) => () => root.setAttribute("data-live", state);
document.addEventListener("htmx:sse:before:connection", connection("off"));
document.addEventListener("htmx:sse:after:connection", connection("on"));
document.addEventListener("htmx:sse:close", connection("off"));
document.addEventListener("htmx:sse:error", (event) => {
  root.setAttribute("data-live", "off");
  if (event.detail.status === 401) location.reload(); // the session has ended: go to the login
});

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(source.textContent);
  } else { // browsers offer the clipboard to https and localhost only
    getSelection().selectAllChildren(source);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});

document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-submit]")) return;
  const { from, to } = event.target.form.elements;
  if (event.target.value === "custom" && !from.value && !to.value) from.focus();
  else event.target.form.requestSubmit();
});

// Fields that are empty are no part of a page's URL.
document.addEventListener("formdata", (event) => {
  if (event.target.method !== "get") return;
  for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
});

// The server shows times in the browser's time zone.
const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
const secure = location.protocol === "https:";
const zoneCookie = `${secure ? "__Host-" : ""}mailwake_zone`;
if (timeZone && !document.cookie.split("; ").includes(`${zoneCookie}=${timeZone}`)) {
  document.cookie = `${zoneCookie}=${timeZone}; Path=/; Max-Age=34560000; SameSite=Lax${secure ? "; Secure" : ""}`;
}

// Esc takes every filter off, unless it is wanted where somebody types.
document.addEventListener("keydown", (event) => {
  const clear = document.querySelector("[data-clear]");
  const typing = event.target.matches("input, textarea, select") && event.target.value;
  if (event.key === "Escape" && clear && !typing) location.assign(clear.href);
});

// Ctrl-K and / lead to the search of everything.
document.addEventListener("keydown", (event) => {
  const chord = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k";
  const typing = event.target.matches("input, textarea, select");
  const slash = event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey;
  const field = document.querySelector("[data-find]");
  if (!field || !(chord || slash)) return;
  event.preventDefault();
  if (field.offsetParent) field.select();
  else location.assign("/search");
});

// A live list keeps its order, so that no row moves under the pointer: its figures change in place,
// and #fresh, a link to the page itself, says that there is a new order.
document.addEventListener("htmx:before:swap", (event) => {
  const tasks = event.detail.tasks ?? [];
  const paused = tasks.findIndex((task) => isPaused(task.target));
  if (paused >= 0) tasks.splice(paused, 1);
  for (const task of tasks) {
    const news = task.fragment?.querySelector?.("[data-keep]");
    const shown = document.querySelector("[data-keep]");
    const fresh = document.getElementById("fresh");
    if (!news || !shown?.rows.length || !fresh) continue;
    const kept = [...shown.rows].map((row) => row.id);
    const come = [...news.rows].map((row) => row.id);
    const added = come.filter((id) => !kept.includes(id)).length;
    fresh.hidden = kept.join() === come.join();
    fresh.textContent = added ? `${added} new: show` : "Show the new order";
    const rows = new Map([...news.rows].map((row) => [row.id, row]));
    news.replaceChildren(
      ...[...shown.rows].map((row) => rows.get(row.id) ?? row.cloneNode(true)));
  }
});

// A part of the page that is paused stays as it is until its button is pressed again.
const button = (part) => document.querySelector(`[data-pause="${part?.id ?? part}"]`);
const isPaused = (part) => button(part)?.getAttribute("aria-pressed") === "true";
document.addEventListener("click", (event) => {
  const pressed = event.target.closest("[data-pause]");
  if (!pressed) return;
  const paused = pressed.getAttribute("aria-pressed") !== "true";
  pressed.setAttribute("aria-pressed", paused);
  pressed.querySelector("span").textContent = paused ? "Paused" : "Pause";
});

// The title says how many people wait for an answer.
document.addEventListener("htmx:after:swap", () => {
  const waiting = document.querySelector("[data-unread]")?.dataset.unread;
  if (waiting === undefined) return;
  const title = document.title.replace(/^\(\d+\) /, "");
  document.title = waiting === "0" ? title : `(${waiting}) ${title}`;
});

// Charts: the column under the pointer, the finger or the arrow keys says its values.
const chosen = new WeakMap(); // a chart's column by its number
const columnsOf = (chart) => [...chart.querySelectorAll("g[data-tip]")];

function choose(chart, number) {
  const columns = columnsOf(chart), tip = chart.querySelector(".tip");
  const column = columns[Math.min(Math.max(number ?? -1, 0), columns.length - 1)];
  for (const other of columns) other.classList.toggle("chosen", number !== null && other === column);
  tip.hidden = number === null || !column;
  chosen.set(chart, tip.hidden ? null : columns.indexOf(column));
  if (tip.hidden) return;
  if (tip.textContent !== column.dataset.tip) tip.textContent = column.dataset.tip;
  const box = chart.getBoundingClientRect(), place = column.getBoundingClientRect();
  const left = place.left + place.width / 2 - box.left - tip.offsetWidth / 2;
  tip.style.left = `${Math.min(Math.max(left, 0), box.width - tip.offsetWidth)}px`;
  tip.style.top = `${place.top - box.top - tip.offsetHeight - 6}px`;
}

function follow(event) {
  const chart = event.target.closest?.("[data-chart]");
  const plot = event.target.closest?.(".plot");
  for (const other of document.querySelectorAll("[data-chart]")) {
    if (other !== chart || !plot) choose(other, null);
  }
  if (!chart || !plot) return;
  const box = plot.getBoundingClientRect();
  const part = (event.clientX - box.left) / box.width;
  choose(chart, Math.floor(part * columnsOf(chart).length));
}
document.addEventListener("pointermove", follow);
document.addEventListener("pointerdown", follow);

document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const chart = event.target;
  if (!chart.matches?.("[data-chart]") || !step) return;
  event.preventDefault();
  choose(chart, (chosen.get(chart) ?? columnsOf(chart).length) + step);
});
document.addEventListener("focusout", (event) => {
  if (event.target.matches?.("[data-chart]")) choose(event.target, null);
});
document.addEventListener("htmx:after:swap", () => {
  for (const chart of document.querySelectorAll("[data-chart]")) {
    if ((chosen.get(chart) ?? null) !== null) choose(chart, chosen.get(chart));
  }
});
