"use strict";
// Everything from the server is put on the page as text, never as markup.

const $ = (selector, root = document) => root.querySelector(selector);

function make(tag, text, settings = {}) {
  const element = Object.assign(document.createElement(tag), settings);
  if (text !== undefined) element.textContent = text;
  return element;
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(await response.text());
  return response;
}

// ---------------------------------------------------------------- one side: a user, their scopes, the answer

class Side {
  constructor(state, user, number) {
    this.root = $("#side").content.cloneNode(true).firstElementChild;
    const heading = $("h2", this.root);
    heading.id = `side-${number}`;
    this.root.setAttribute("aria-labelledby", heading.id);
    this.select = $(".user", this.root);
    for (const name of state.users) this.select.append(make("option", name, { value: name, selected: name === user }));
    const retitle = () => { heading.textContent = this.select.value; };
    this.select.addEventListener("change", retitle);
    retitle();
    for (const scope of state.scopes) {
      const box = make("input", undefined, { type: "checkbox", value: scope.name, checked: true });
      const label = make("label", undefined, { title: scope.reach });
      label.append(box, ` ${scope.name}`);
      $(".scopes", this.root).append(label);
    }
    if (!state.scopes.length) $(".scopes", this.root).append(make("span", "The agent declares none."));
    this.answer = $(".answer", this.root);
    this.answer.setAttribute("aria-label", `Answer on side ${number}`);
    this.timeline = $(".timeline", this.root);
  }

  get scopes() {
    return [...this.root.querySelectorAll(".scopes input:checked")].map((box) => box.value);
  }

  async ask(question, route) {
    this.answer.textContent = "";
    this.answer.classList.remove("failed");
    this.answer.setAttribute("aria-busy", "true");
    this.timeline.replaceChildren();
    try {
      const response = await post("api/ask", { user: this.select.value, scopes: this.scopes, question, route });
      await eachLine(response, (line) => this.show(line));
    } catch (error) {
      this.fail(String(error.message || error));
    }
    if (!this.timeline.children.length) this.timeline.append(make("li", "Nothing went out."));
    this.answer.removeAttribute("aria-busy");
  }

  fail(text) {
    this.answer.classList.add("failed");
    this.answer.append(text);
  }

  show(line) {
    if (line.type === "delta") this.answer.append(line.text);
    else if (line.type === "answer") this.answer.append(this.answer.textContent ? `\n${line.text}` : line.text);
    else if (line.type === "error") this.fail(line.text);
    else if (line.type === "request") this.timeline.append(requestItem(line));
    else if (line.type === "tool") this.timeline.append(toolItem(line));
  }
}

async function eachLine(response, show) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) show(JSON.parse(line));
  }
}

// ---------------------------------------------------------------- the timeline

function item(allowed, title, pairs) {
  const entry = make("li", undefined, { className: allowed ? "allowed" : "denied" });
  const head = make("div");
  head.append(make("span", allowed ? "✓ allowed" : "✗ denied", { className: "mark" }), " ", title);
  const list = make("dl");
  for (const [term, text] of pairs) if (text) list.append(make("dt", term), make("dd", text));
  entry.append(head, list);
  return entry;
}

function requestItem(line) {
  const allowed = line.decision === "allowed";
  const title = make("code", `${line.method} ${line.path}`);
  return item(allowed, title, [
    ["by", [line.tool, line.user || "nobody"].filter(Boolean).join(", as ")],
    ["scope needed", line.scopes_needed.join(" or ")],
    ["scopes held", line.scopes_held === null ? "" : line.scopes_held.join(", ") || "none"],
    ["scope missing", line.scopes_missing.join(", ")],
    ["grant for the API", line.grants.join("; ")],
    ["decision", allowed ? "" : `${line.decision} (${line.status})`],
  ]);
}

function toolItem(line) {
  const allowed = line.outcome === "allowed" || line.outcome === "retried";
  const title = make("strong", `tool ${line.tool}`);
  const reason = line.reason || (line.outcome === "failed" ? `failed with ${line.error}` : line.outcome === "retried" ? "tries again" : "");
  return item(allowed, title, [
    ["reason", reason],
    ["scope missing", (line.missing || []).join(", ")],
    ["resource", line.resource],
    ["detail", line.detail],
    ["Fix", line.remedy],
  ]);
}

// ---------------------------------------------------------------- grants and policy

function showGrants(grants) {
  const head = make("tr");
  const titles = grants.columns.map((name) => (name === "users" ? "users (everybody)" : name));
  for (const title of ["Privilege", "On", ...titles]) head.append(make("th", title, { scope: "col" }));
  $("#grants thead").replaceChildren(head);
  const rows = grants.rows.map((row) => {
    const line = make("tr");
    line.append(make("th", row.privilege, { scope: "row" }), make("td", `${row.kind.replaceAll("_", " ")} ${row.name}`));
    for (const principal of grants.columns) {
      const box = make("input", undefined, { type: "checkbox", checked: row.holders.includes(principal) });
      box.setAttribute("aria-label", `${row.privilege} on ${row.name} for ${principal}`);
      box.addEventListener("change", () => changeGrant(row, principal, box));
      const cell = make("td", undefined, { className: "tick" });
      cell.append(box);
      line.append(cell);
    }
    return line;
  });
  $("#grants tbody").replaceChildren(...rows);
}

async function changeGrant(row, principal, box) {
  const { privilege, kind, name } = row;
  try {
    await post("api/grant", { principal, privilege, kind, name, held: box.checked });
    say(`${privilege} on ${name} ${box.checked ? "granted to" : "taken from"} ${principal}.`);
  } catch (error) {
    box.checked = !box.checked;
    say(String(error.message || error));
  }
}

function showPolicy(policy) {
  const head = make("tr");
  for (const title of ["Tool", "Runs as", "Scope", "Resource", "The user needs"]) head.append(make("th", title, { scope: "col" }));
  $("#needs thead").replaceChildren(head);
  const rows = [];
  for (const tool of policy.tools)
    for (const need of tool.needs)
      rows.push([tool.name, "the user", need.scopes.join(", ") || "(unasked)", need.resource || "", need.grants.join("; ")]);
  for (const system of policy.system) rows.push(["(the agent)", "the agent itself", "", system.resource, system.permission || ""]);
  $("#needs tbody").replaceChildren(...rows.map((row) => {
    const line = make("tr");
    line.append(make("th", row[0], { scope: "row" }), ...row.slice(1).map((text) => make("td", text)));
    return line;
  }));
}

function say(text) {
  $("#status").textContent = text;
}

// ---------------------------------------------------------------- the page

async function start() {
  const state = await (await fetch("api/state")).json();
  const agent = state.agent.split(/[\\/]/).pop();
  $("#agent").textContent = `${agent} on ${state.target === "apps" ? "Databricks Apps" : "Model Serving"}`;
  document.title = `${agent} – obo_kit playground`;
  $("#notice").textContent = state.notice;
  for (const route of state.routes) $("#route").append(make("option", route, { value: route }));
  $("#route-line").hidden = state.routes.length < 2;
  const sides = state.users.slice(0, 2).map((user, number) => new Side(state, user, number + 1));
  $("#sides").append(...sides.map((side) => side.root));
  showGrants(state.grants);
  showPolicy(state.policy);

  async function ask(event) {
    event.preventDefault();
    const button = $("#ask");
    if (button.disabled || !$("#form").reportValidity()) return;
    button.disabled = true;
    say("Asking.");
    await Promise.all(sides.map((side) => side.ask($("#question").value, $("#route").value)));
    say("Answered.");
    button.disabled = false;
  }
  $("#form").addEventListener("submit", ask);
  $("#question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(event);
  });
  document.body.dataset.ready = "yes";
}

start().catch((error) => say(String(error)));
