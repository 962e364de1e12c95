// What HTML and htmx leave to do: say whether the page is live, and copy a command.
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
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

// Esc takes every filter off, unless it is wanted where somebody types.
document.addEventListener("keydown", (event) => {
  const clear = document.querySelector("[data-clear]");
  const typing = event.target.matches("input, textarea, select") && event.target.value;
  if (event.key === "Escape" && clear && !typing) location.assign(clear.href);
});
