"use strict";
const at = (id) => document.getElementById(id);
const make = (tag, text, name) => {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (name) e.className = name;
  return e;
};
let messages = [];
let chosen = null;
let tab = "html";
let asking = null;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const when = (iso) => {
  const t = new Date(iso);
  return (t.toDateString() === new Date().toDateString() ? clock : day).format(t);
};

async function ask(path, options) {
  const r = await fetch(path, options);
  if (!r.ok) throw new Error((await r.json()).error.message);
  return r.status === 204 ? null : r.json();
}

const query = (more) => "api/messages?" + new URLSearchParams({ to: at("to").value.trim(), limit: "200", ...more });

async function refresh() {
  const got = await ask(query({}));
  messages = got.messages;
  draw(got.total);
}

// Waits for news for as long as the page is open; a new search ends the waiting at once.
async function follow() {
  for (;;) {
    asking = new AbortController();
    try {
      await refresh();
      const newest = messages.length ? messages[0].id : "";
      await ask(query({ limit: "1", wait: "25", after: newest }), { signal: asking.signal });
    } catch (e) {
      if (e.name === "AbortError") continue;
      at("count").textContent = "The inbox does not answer. Trying again.";
      await new Promise((again) => setTimeout(again, 2000));
    }
  }
}

function draw(total) {
  const focused = document.activeElement.dataset ? document.activeElement.dataset.id : undefined;
  at("list").replaceChildren(...messages.map((m) => {
    const a = make("a");
    a.href = "#" + m.id;
    a.dataset.id = m.id;
    if (chosen === m.id) a.setAttribute("aria-current", "true");
    const t = make("time", when(m.receivedAt));
    t.dateTime = m.receivedAt;
    a.append(make("span", m.to.join(", "), "to"), t, make("span", m.subject || "(no subject)", "title"), make("span", m.preview, "preview"));
    const li = make("li");
    li.append(a);
    return li;
  }));
  at("none").hidden = messages.length > 0;
  at("count").textContent = messages.length === total ? `${total} kept` : `${messages.length} of ${total}`;
  document.title = (total ? `(${total}) ` : "") + "Tulifo inbox";
  if (focused) link(focused)?.focus();
}

const link = (id) => at("list").querySelector(`a[data-id="${CSS.escape(id)}"]`);

async function read(id) {
  let m;
  try {
    m = await ask("api/messages/" + encodeURIComponent(id));
  } catch {
    return close();
  }
  chosen = id;
  document.body.classList.add("reading");
  at("hint").hidden = true;
  at("message").hidden = false;
  at("subject").textContent = m.subject || "(no subject)";
  at("envelope").replaceChildren(...[["From", m.from], ["To", m.to.join(", ")], ["Received", new Date(m.receivedAt).toLocaleString()]]
    .flatMap(([k, v]) => [make("dt", k), make("dd", v)]));
  at("raw").href = `api/messages/${id}/raw`;
  at("text").replaceChildren(...linked(m.text));
  at("headers").tBodies[0].replaceChildren(...m.headers.map(([k, v]) => {
    const tr = make("tr");
    tr.append(make("th", k), make("td", v));
    return tr;
  }));
  at("files").replaceChildren(...m.attachments.map((f) => make("li", `${f.name || "unnamed"} (${f.contentType}, ${f.size} bytes)`)));
  at("html").src = m.hasHtml ? `api/messages/${id}/html` : "about:blank";
  document.querySelector('[data-tab="html"]').disabled = !m.hasHtml;
  show(!m.hasHtml && tab === "html" ? "text" : tab);
  for (const a of at("list").querySelectorAll("a")) a.toggleAttribute("aria-current", a.dataset.id === id);
}

// Web addresses in plain text become links; nothing else of it is ever markup.
function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"']+)/).map((s, i) => {
    if (i % 2 === 0) return s;
    const a = make("a", s);
    a.href = s;
    a.target = "_blank";
    a.rel = "noreferrer noopener";
    return a;
  });
}

function show(name) {
  for (const t of document.querySelectorAll("[role=tab]")) {
    t.setAttribute("aria-selected", String(t.dataset.tab === name));
    at(t.dataset.tab).hidden = t.dataset.tab !== name;
  }
}

function close() {
  chosen = null;
  history.replaceState(null, "", location.pathname);
  document.body.classList.remove("reading");
  at("message").hidden = true;
  at("hint").hidden = false;
  for (const a of at("list").querySelectorAll("a")) a.removeAttribute("aria-current");
}

async function remove(id) {
  const i = messages.findIndex((m) => m.id === id);
  await ask("api/messages/" + encodeURIComponent(id), { method: "DELETE" });
  const next = messages[i + 1] || messages[i - 1];
  await refresh();
  if (next) location.hash = next.id;
  else close();
}

function move(by) {
  const here = document.activeElement.dataset?.id || chosen;
  const i = messages.findIndex((m) => m.id === here);
  const next = messages[Math.min(Math.max(i + by, 0), messages.length - 1)];
  if (next) link(next.id)?.focus();
}

addEventListener("hashchange", () => { if (location.hash.length > 1) read(location.hash.slice(1)); });
at("to").addEventListener("input", () => asking?.abort());
document.forms[0].addEventListener("submit", (e) => { e.preventDefault(); move(0); });
at("clear").addEventListener("click", async () => {
  if (!messages.length || !confirm("Delete every message in the inbox?")) return;
  await ask("api/messages", { method: "DELETE" });
  close();
  await refresh();
});
at("remove").addEventListener("click", () => remove(chosen));
for (const t of document.querySelectorAll("[role=tab]")) t.addEventListener("click", () => { tab = t.dataset.tab; show(tab); });
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === "Escape") {
    if (document.activeElement === at("to")) { at("to").value = ""; asking?.abort(); at("to").blur(); } else close();
    return;
  }
  if (e.target === at("to")) return;
  const tabs = { 1: "html", 2: "text", 3: "headers" };
  if (e.key === "j" || e.key === "ArrowDown") move(1);
  else if (e.key === "k" || e.key === "ArrowUp") move(-1);
  else if (e.key === "/") at("to").focus();
  else if (e.key === "d" && chosen) remove(chosen);
  else if (tabs[e.key] && chosen) document.querySelector(`[data-tab="${tabs[e.key]}"]`).click();
  else return;
  e.preventDefault();
});
follow();
if (location.hash.length > 1) read(location.hash.slice(1));
