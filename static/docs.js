// What the API's documentation does with JavaScript: search, copy, and requests with the reader's key.
"use strict";

const MAX_SHOWN_CHARS = 200_000; // of an answer: a stream does not end
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const side = document.querySelector(".api-side");
const contents = side.querySelector("details");
const search = document.getElementById("search");
const key = document.getElementById("key");
const links = all("a[data-words]", side);

for (const part of all(".api-search, .api-key, .api-try, [data-copies]")) part.hidden = false;

// The contents are closed on narrow screens, where they are above the page.
const wide = matchMedia("(min-width: 52.01rem)");
const fit = () => { contents.open = wide.matches; };
wide.addEventListener("change", fit);
fit();
side.addEventListener("click", (event) => {
  if (event.target.closest("a") && !wide.matches) contents.open = false;
});

search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let matches = 0;
  for (const link of links) {
    const text = link.dataset.words.toLowerCase();
    const shown = words.every((word) => text.includes(word));
    link.parentElement.hidden = !shown;
    matches += shown;
  }
  for (const section of all("section", side)) {
    section.hidden = words.length > 0 && !section.querySelector("li:not([hidden])");
  }
  document.getElementById("matches").textContent = words.length ? `${matches} found` : "";
});

search.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && search.value) {
    search.value = "";
    search.dispatchEvent(new Event("input"));
  } else if (event.key === "Enter") {
    links.find((link) => !link.parentElement.hidden)?.click();
  }
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  contents.open = true;
  search.focus();
});

// The link of the operation that is being read is marked.
const current = new Map(links.map((link) => [link.hash.slice(1), link]));
const mark = (link) => {
  for (const other of all("[aria-current]", side)) other.removeAttribute("aria-current");
  link.setAttribute("aria-current", "location");
  if (wide.matches) link.scrollIntoView({ block: "nearest" });
};
const seen = new IntersectionObserver((entries) => {
  const entry = entries.find((each) => each.isIntersecting);
  if (entry) mark(current.get(entry.target.id));
}, { rootMargin: "-20% 0px -70% 0px" });
for (const operation of all(".api-operation")) seen.observe(operation);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  const code = button.closest("figure").querySelector("code");
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(code.textContent);
  } else { // browsers offer the clipboard to https and localhost only
    getSelection().selectAllChildren(code);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

// The key is in the field and nowhere else: a page that is restored from memory has none.
addEventListener("pagehide", () => { key.value = ""; });

function requestOf(form) {
  const { method, path, media } = form.dataset;
  const query = new URLSearchParams();
  let url = path;
  for (const input of all("[data-place]", form)) {
    if (input.dataset.place === "path") {
      url = url.replace(`{${input.name}}`, encodeURIComponent(input.value));
    } else if (input.value) {
      query.append(input.name, input.value);
    }
  }
  const headers = { Authorization: `Bearer ${key.value.trim()}` };
  if (media) headers["Content-Type"] = media;
  const body = form.querySelector("textarea")?.value;
  return [query.size ? `${url}?${query}` : url, { method, headers, body, credentials: "omit", cache: "no-store" }];
}

function pretty(text, media) {
  if (!/[/+]json\b/.test(media)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function send(form) {
  const problem = form.querySelector(".problem");
  const figure = form.querySelector("figure");
  const status = figure.querySelector("figcaption");
  const shown = figure.querySelector("code");
  const stop = form.querySelector("[data-stops]");
  const fail = (message) => { problem.textContent = message; problem.hidden = !message; };
  fail("");
  figure.hidden = true;
  if (!key.value.trim()) {
    fail("Enter an API key at the top of this page first.");
    key.focus();
    return;
  }
  if ("asks" in form.dataset && !confirm(`Really send this ${form.dataset.method} request?`)) return;
  const controller = new AbortController();
  stop.onclick = () => controller.abort();
  stop.hidden = false;
  try {
    const [url, options] = requestOf(form);
    const answer = await fetch(url, { ...options, signal: controller.signal });
    const media = answer.headers.get("content-type") ?? "";
    status.textContent = `${answer.status} ${media}`;
    shown.textContent = "";
    figure.hidden = false;
    const decoder = new TextDecoder();
    const reader = answer.body?.getReader();
    let text = "";
    for (let part; reader && !(part = await reader.read()).done;) {
      text += decoder.decode(part.value, { stream: true });
      if (text.length > MAX_SHOWN_CHARS) controller.abort();
      shown.textContent = text.slice(0, MAX_SHOWN_CHARS);
    }
    shown.textContent = pretty(text, media);
  } catch (error) {
    if (error.name !== "AbortError") fail(`The request failed: ${error.message}`);
  } finally {
    stop.hidden = true;
  }
}

document.addEventListener("submit", (event) => {
  event.preventDefault();
  send(event.target);
});
