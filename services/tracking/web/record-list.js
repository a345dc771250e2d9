// The list of the records that the user may read, each with the number of the user's suggestions, and its search field.
// page.js shows it beside the timeline.

import { ApiError } from "./api.js";
import { h, icon } from "./dom.js";
import { placeChildren } from "./focus.js";
import { followChanges } from "./stream.js";
import { NO_RECORDS, OFFLINE, recordName, typeName, UNREACHABLE } from "./texts.js";

const MAX_RECORDS = 50;
const TYPING_DELAY = 200, CHANGE_DELAY = 500; // ms
// ms; a record's name, and what others track on it, are only on the stream of that record
const REFRESH_INTERVAL = 20_000;
const TYPES_WITH_COLOR = ["account", "contact", "lead", "opportunity"];

const hrefOf = ({ type, id }) => `#/${encodeURIComponent(type)}/${encodeURIComponent(id)}`;

export class RecordList {
  constructor(api, sessionEnded) {
    Object.assign(this, { api, sessionEnded });
    this.rows = new Map(); // "type/id" -> li
    this.current = null; // key of the open record
    this.lastRequest = this.lastShown = 0; // numbers of requests
    this.loadDue = Infinity; // when the next load is scheduled, by performance.now()
    this.field = h("input", {
      type: "search",
      id: "search",
      maxlength: "200",
      autocomplete: "off",
      spellcheck: "false",
      placeholder: "Search by name",
      oninput: () => this.scheduleLoad(TYPING_DELAY),
    });
    this.list = h("ul.records");
    this.status = h("p.muted", { role: "status" }); // why there are no records, or why the list may be out of date
    const label = h("span.visually-hidden", {}, "Search records by name");
    const search = h("label.search", { for: "search" }, label, icon("search"), this.field);
    const heading = h("h2", {}, "Records");
    this.element = h("nav.sidebar", { "aria-label": "Records" }, heading, search, this.status, this.list);
  }

  start() {
    this.timer = setInterval(() => document.hidden || this.load(), REFRESH_INTERVAL);
    this.listeners = new AbortController();
    addEventListener("offline", () => this.showStatus(OFFLINE), { signal: this.listeners.signal });
    addEventListener("online", () => this.load(), { signal: this.listeners.signal });
    return this.load();
  }

  stop() {
    this.followOwnChanges(false);
    this.listeners.abort();
    clearInterval(this.timer);
    clearTimeout(this.loadTimer);
  }

  // Whether the list follows the stream of the user's own changes. An open record has a stream that includes them.
  followOwnChanges(enabled) {
    this.stopFollowing?.();
    this.stopFollowing = enabled ? followChanges(this.api, null, () => this.scheduleLoad()) : null;
  }

  // Loads the list after a delay. A call in the meantime never postpones a load that is scheduled.
  scheduleLoad(delay = CHANGE_DELAY) {
    const due = performance.now() + delay;
    if (due >= this.loadDue) return;
    this.loadDue = due;
    clearTimeout(this.loadTimer);
    this.loadTimer = setTimeout(() => this.load(), delay);
  }

  async load() {
    clearTimeout(this.loadTimer);
    this.loadDue = Infinity;
    const number = ++this.lastRequest;
    const query = this.field.value.trim();
    try {
      const { records } = await this.api.records(query, MAX_RECORDS);
      if (number < this.lastShown) return; // a later request got its response first
      this.lastShown = number;
      this.draw(records, query);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.kind === "signed-out") this.sessionEnded();
      else if (number >= this.lastShown) this.showStatus(error.kind === "offline" ? OFFLINE : UNREACHABLE);
    }
  }

  showStatus({ title, text }) {
    this.status.textContent = `${title}. ${text}`;
  }

  // The name of a record, if the list shows it.
  nameOf({ type, id }) {
    return this.rows.get(`${type}/${id}`)?.querySelector("b").textContent;
  }

  draw(records, query) {
    placeChildren(this.list, records.map((record) => this.drawRow(record)));
    const none = query ? `No records match “${query}”` : NO_RECORDS;
    this.status.textContent = records.length ? "" : none;
    this.markCurrent(this.current);
  }

  drawRow(record) {
    const key = `${record.type}/${record.id}`;
    const row = this.rows.get(key) ?? h("li");
    this.rows.set(key, row);
    const serialized = JSON.stringify(record);
    if (row.dataset.shown === serialized) return row;
    row.dataset.shown = serialized;
    const link = row.firstChild ?? row.appendChild(h("a", { href: hrefOf(record) }));
    const color = TYPES_WITH_COLOR.includes(record.type) ? record.type : "custom";
    link.replaceChildren(
      h(`span.type-initial.of-${color}`, { "aria-hidden": "true" }, record.type[0].toUpperCase()),
      h("span.name", {}, h("b", {}, recordName(record)), h("small", {}, typeName(record.type))),
      suggestionCount(record.suggestions),
    );
    return row;
  }

  markCurrent(key) {
    this.current = key;
    for (const link of this.list.querySelectorAll("a")) {
      if (key && link.getAttribute("href") === hrefOf(key)) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }
}

function suggestionCount(count) {
  if (!count) return "";
  const unit = h("span.visually-hidden", {}, count === 1 ? " suggestion" : " suggestions");
  return h("span.count", { title: "Suggested to you, not yet tracked" }, String(count), unit);
}
