// The records that she may read, each with the number of her suggestions there.

import { Problem } from "./api.js";
import { arrange, h, icon } from "./dom.js";
import { follow } from "./live.js";
import { AWAY, OFFLINE, recordName, typeName } from "./words.js";

const MOST = 50;
const AFTER_TYPING = 200, AFTER_CHANGE = 500; // ms
const CLOCK = 20_000; // ms; names, and what others track, are told on the record's own stream alone

export class Records {
  constructor(api, session) {
    Object.assign(this, { api, session });
    this.rows = new Map();
    this.current = null;
    this.asked = this.answered = 0;
    this.due = Infinity;
    this.field = h("input", { type: "search", id: "search", maxlength: "200", autocomplete: "off", spellcheck: "false", placeholder: "Search by name", oninput: () => this.soon(AFTER_TYPING) });
    this.list = h("ul.records");
    this.none = h("p.plain", { role: "status" }); // why there are none, or why these may be out of date
    this.element = h("nav.side", { "aria-label": "Records" }, h("h2", {}, "Records"), h("label.search", { for: "search" }, h("span.unseen", {}, "Search records by name"), icon("search"), this.field), this.none, this.list);
  }

  start() {
    this.clock = setInterval(() => document.hidden || this.load(), CLOCK);
    this.offline = () => this.say(OFFLINE);
    this.online = () => this.load();
    addEventListener("offline", this.offline);
    addEventListener("online", this.online);
    return this.load();
  }

  // Whether the list hears of her own changes by itself; where a record is open, that one's stream tells of them.
  listen(wanted) {
    this.stopFollowing?.();
    this.stopFollowing = wanted ? follow(this.api, "/stream", () => this.soon()) : null;
  }

  stop() {
    this.listen(false);
    clearInterval(this.clock);
    clearTimeout(this.timer);
    removeEventListener("offline", this.offline);
    removeEventListener("online", this.online);
  }

  // What comes meanwhile waits for the same reading, and puts it off never.
  soon(pause = AFTER_CHANGE) {
    const due = performance.now() + pause;
    if (due >= this.due) return;
    this.due = due;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), pause);
  }

  async load() {
    clearTimeout(this.timer);
    this.due = Infinity;
    const number = ++this.asked;
    const q = this.field.value.trim();
    try {
      const { records } = await this.api.get("/records", { q, limit: MOST });
      if (number < this.answered) return; // overtaken
      this.answered = number;
      this.draw(records, q);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.what === "session") this.session();
      else if (number >= this.answered) this.say(error.what === "offline" ? OFFLINE : AWAY);
    }
  }

  say({ title, text }) {
    this.none.textContent = `${title}. ${text}`;
  }

  // What a record is called, where the list shows it.
  name({ type, id }) {
    return this.rows.get(`${type}/${id}`)?.querySelector("b").textContent;
  }

  draw(records, q) {
    const rows = records.map((record) => {
      const key = `${record.type}/${record.id}`;
      const row = this.rows.get(key) ?? h("li");
      this.rows.set(key, row);
      const text = JSON.stringify(record);
      if (row.dataset.shown !== text) {
        row.dataset.shown = text;
        const link = row.firstChild ?? row.appendChild(h("a", { href: `#/${encodeURIComponent(record.type)}/${encodeURIComponent(record.id)}` }));
        link.replaceChildren(h(`span.sort.of-${sortOf(record.type)}`, { "aria-hidden": "true" }, record.type[0].toUpperCase()), h("span.name", {}, h("b", {}, recordName(record)), h("small", {}, typeName(record.type))), count(record.suggestions));
      }
      return row;
    });
    arrange(this.list, rows);
    this.none.textContent = records.length ? "" : q ? `No record that you may read has “${q}” in its name.` : "There are no records yet. They appear as soon as your CRM publishes them.";
    this.mark(this.current);
  }

  mark(key) {
    this.current = key;
    for (const link of this.list.querySelectorAll("a")) {
      if (key && link.getAttribute("href") === `#/${encodeURIComponent(key.type)}/${encodeURIComponent(key.id)}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }
}

const sortOf = (type) => (["account", "contact", "lead", "opportunity"].includes(type) ? type : "custom");

function count(number) {
  return number ? h("span.count", { title: "Suggested to you, not yet tracked" }, String(number), h("span.unseen", {}, number === 1 ? " suggestion" : " suggestions")) : "";
}
