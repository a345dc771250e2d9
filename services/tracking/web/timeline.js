// The timeline of one record: what is tracked, and mixed in by time what is suggested to its reader.

import { Problem, recordPath } from "./api.js";
import { announce, arrange, button, confirm, h, icon, notice, patch } from "./dom.js";
import * as dates from "./dates.js";
import { follow } from "./live.js";
import { Tile } from "./tiles.js";
import * as words from "./words.js";

const PAGE = 50; // tracked activities at a time
const AGAIN = 3_000; // ms until a reading that failed is tried again
const CLOCK = 60_000; // ms; items leave by the clock, and nobody says so

const FILTERS = {
  state: { label: "Visibility", choices: { "": "Everything", own: "Only mine", tracked: "Tracked" } },
  kind: { label: "Kind", choices: { "": "All kinds", email: "E-mail", meeting: "Meetings" } },
  direction: { label: "Direction", choices: { "": "Both ways", incoming: "Received", outgoing: "Sent" } },
};
const SYMBOLS = { own: "lock", tracked: "people" }; // those of the tiles

export class Timeline {
  // hears: {changed(), session()}: her counts may have changed; her session has ended.
  // name: the record's, where it is known already.
  constructor(api, me, { type, id, name }, hears) {
    Object.assign(this, { api, me, hears, key: { type, id } });
    this.filters = { kind: "", direction: "", state: "" };
    this.tiles = new Map();
    this.days = new Map();
    this.dismissed = new Map(); // item -> {data, since}: the reading that was the last to begin before it was dismissed
    this.readings = 0;
    this.pages = 1;
    this.answer = null;
    this.heading = h("h1", { tabindex: "-1" }, name ?? "…");
    document.title = `${name ?? words.typeName(type)} · Timeline`;
    this.type = h("p.type", {}, words.typeName(type));
    this.live = h("p.live", {}, h("span.dot"), h("span", {}, "Connecting"));
    this.banner = h("div.banner", { role: "status", hidden: true });
    this.notices = h("div.notices");
    this.list = h("div.days");
    this.end = h("div.end");
    const back = h("a.back", { href: "#/" }, icon("back"), "All records");
    this.element = h("div.timeline", {}, back, h("header.record", {}, h("div", {}, this.type, this.heading), this.live), this.banner, this.bar(), this.notices, this.list, this.end);
  }

  start() {
    this.stopFollowing = follow(this.api, `${recordPath(this.key)}/stream`, () => this.load(), (state) => this.liveIs(state));
    this.timer = setInterval(() => document.hidden || this.load(), CLOCK);
    this.awake = () => document.hidden || this.load();
    this.offline = () => this.say(words.OFFLINE);
    document.addEventListener("visibilitychange", this.awake);
    addEventListener("offline", this.offline);
    return this.load();
  }

  stop() {
    this.stopped = true;
    this.stopFollowing();
    clearInterval(this.timer);
    clearTimeout(this.retry);
    document.removeEventListener("visibilitychange", this.awake);
    removeEventListener("offline", this.offline);
  }

  bar() {
    const groups = Object.entries(FILTERS).map(([name, { label, choices }]) =>
      h(
        "fieldset.choice",
        {},
        h("legend.unseen", {}, label),
        Object.entries(choices).map(([value, text]) =>
          h("label", {}, h("input", { type: "radio", name: `filter-${name}`, value, checked: value === "", onchange: () => this.filter(name, value) }), h("span", {}, SYMBOLS[value] ? icon(SYMBOLS[value]) : null, text)),
        ),
      ),
    );
    return h("div.filters", { role: "group", "aria-label": "Filters" }, groups);
  }

  filter(name, value) {
    this.filters[name] = value;
    this.pages = 1;
    if (name === "state") this.draw();
    else this.load();
  }

  clearFilters() {
    for (const name of Object.keys(this.filters)) this.filters[name] = "";
    for (const input of this.element.querySelectorAll(".filters input")) input.checked = input.value === "";
    this.load();
    this.element.querySelector(".filters input:checked").focus();
  }

  // -- what the server says ------------------------------------------------------------------------

  // Reads the timeline; what is asked for meanwhile is one further reading after it.
  async load() {
    if (this.loading) {
      this.again = true;
      await this.loading;
      return this.loading;
    }
    this.again = false;
    this.loading = this.read().finally(() => {
      this.loading = null;
      if (this.again && !this.stopped) this.load();
    });
    return this.loading;
  }

  async read() {
    const { kind, direction } = this.filters;
    const number = ++this.readings;
    clearTimeout(this.retry);
    try {
      const answer = await this.api.get(`${recordPath(this.key)}/timeline`, { kind, direction, limit: PAGE });
      for (let page = 1; page < this.pages && answer.next; page++) {
        const older = await this.api.get(`${recordPath(this.key)}/timeline`, { kind, direction, limit: PAGE, before: answer.next });
        answer.tracked.push(...older.tracked);
        answer.next = older.next;
      }
      if (this.stopped || kind !== this.filters.kind || direction !== this.filters.direction) return;
      const before = this.answer;
      this.answer = { ...answer, number };
      this.say(null);
      this.draw();
      if (before && kind === this.readKind && direction === this.readDirection) this.tell(before, answer);
      [this.readKind, this.readDirection] = [kind, direction];
      this.hears.changed();
    } catch (error) {
      this.failed(error);
    }
  }

  failed(error) {
    if (this.stopped) return;
    if (!(error instanceof Problem)) throw error;
    if (error.what === "session") this.hears.session();
    else if (error.what === "missing") {
      this.answer = null;
      this.say(null);
      this.draw();
    } else if (error.what === "refused") this.say({ title: "That cannot be shown", text: error.message });
    else {
      this.say(error.what === "offline" ? words.OFFLINE : words.AWAY);
      this.retry = setTimeout(() => this.load(), AGAIN);
    }
  }

  // Says aloud what came without her doing.
  tell(before, after) {
    const states = new Map(before.suggestions.map((tile) => [tile.item, tile.state]));
    const known = new Set(before.tracked.map((tile) => tile.id));
    for (const tile of after.suggestions) {
      const subject = words.subjectOf(tile.activity);
      if (!states.has(tile.item)) announce(`New, seen by you alone: ${subject}.`);
      else if (tile.state === "failed" && states.get(tile.item) !== "failed") announce(`Not tracked: ${subject}. ${words.because(tile.reason)}`);
    }
    for (const tile of after.tracked) if (!known.has(tile.id) && this.pages === 1) announce(`Tracked: ${words.subjectOf(tile.activity)}.`);
  }

  // -- what is shown -------------------------------------------------------------------------------

  entries() {
    const { suggestions, tracked } = this.answer;
    const { kind, direction, state } = this.filters;
    const there = new Set(suggestions.map((data) => data.item));
    for (const [item, { since }] of this.dismissed) if (there.has(item) && this.answer.number > since) this.dismissed.delete(item); // undone elsewhere
    const all = suggestions.filter(({ item }) => !this.dismissed.has(item)).map((data) => ({ key: `item/${data.item}`, state: data.state, data }));
    for (const [item, { data }] of this.dismissed) {
      if ((!kind || data.activity.kind === kind) && (!direction || data.activity.direction === direction)) all.push({ key: `item/${item}`, state: "dismissed", data });
    }
    all.push(...tracked.map((data) => ({ key: `tracked/${data.id}`, state: "tracked", data })));
    const shown = all.filter((entry) => !state || (entry.state === "tracked") === (state === "tracked"));
    return shown.sort((one, other) => (one.data.activity.at < other.data.activity.at ? 1 : one.data.activity.at > other.data.activity.at ? -1 : one.key < other.key ? -1 : 1));
  }

  draw() {
    const there = this.answer !== null;
    this.element.querySelector(".filters").hidden = !there;
    this.live.hidden = !there;
    if (!there) {
      this.heading.textContent = words.NOT_THERE.title;
      document.title = `${words.NOT_THERE.title} · Timeline`;
      patch(this.notices, [h("p.plain", {}, words.NOT_THERE.text)]);
      arrange(this.list, []);
      patch(this.end, []);
      return;
    }
    const name = words.recordName(this.answer.record);
    this.heading.textContent = name;
    document.title = `${name} · Timeline`;
    const entries = this.entries();
    this.place(entries, { me: { oid: this.me.oid, admin: this.me.admin }, record: name, key: this.key });
    patch(this.notices, this.noticesOf(entries));
    patch(this.end, this.endOf(entries));
  }

  place(entries, context) {
    const handed = this.handOver(entries);
    const days = new Map();
    for (const entry of entries) {
      const tile = this.tiles.get(entry.key) ?? new Tile(this.acts());
      this.tiles.set(entry.key, tile);
      tile.show(entry, context);
      const day = dates.dayOf(entry.data.activity.start ?? entry.data.activity.at, entry.data.activity.all_day);
      days.set(+day, [...(days.get(+day) ?? []), tile.element]);
    }
    const sections = [...days.keys()].sort((a, b) => b - a).map((day) => this.section(day));
    arrange(this.list, sections.map(({ element }) => element));
    for (const [day, elements] of days) arrange(this.days.get(day).items, elements);
    const keys = new Set(entries.map((entry) => entry.key));
    for (const key of [...this.tiles.keys()]) if (!keys.has(key)) this.tiles.delete(key);
    handed?.focus();
  }

  // A suggestion that became a tracked activity goes on as the same tile; answers the tile that had the focus and may lose it.
  handOver(entries) {
    const now = new Map(entries.map((entry) => [entry.key, entry]));
    let handed = null;
    for (const [key, tile] of [...this.tiles]) {
      if (now.has(key) || tile.state === "tracked") continue;
      const same = entries.find((entry) => entry.state === "tracked" && !this.tiles.has(entry.key) && alike(entry.data.activity, tile.activity));
      if (!same) continue;
      if (tile.element.contains(document.activeElement)) handed = tile;
      this.tiles.delete(key);
      this.tiles.set(same.key, tile);
      tile.content = null;
      if (tile.expanded) queueMicrotask(() => tile.showText());
    }
    return handed;
  }

  section(day) {
    const { near, date, upcoming } = dates.dayTitle(new Date(day));
    const section = this.days.get(day) ?? { title: h("h2"), items: h("ol.items") };
    section.element ??= h("section.day", {}, section.title, section.items);
    section.title.replaceChildren(...(near ? [near, h("span.date", {}, date)] : [date]), ...(upcoming ? [h("span.mark", {}, "Upcoming")] : []));
    this.days.set(day, section);
    return section;
  }

  noticesOf(entries) {
    const { mailbox, empty, has_more, groups_missing } = this.answer;
    const filtered = Object.values(this.filters).some(Boolean);
    const found = [];
    const status = mailbox?.status ?? "not_enrolled";
    if (status !== "enrolled") found.push(notice("warning", words.MAILBOX[status](mailbox?.reason)));
    if (groups_missing) found.push(notice("warning", words.GROUPS));
    if (!entries.length && filtered) found.push(notice("empty", words.NOTHING_FILTERED, button("clear", "Clear the filters", () => this.clearFilters())));
    else if (!entries.length && (status === "enrolled" || !empty)) found.push(notice("empty", status === "enrolled" && !mailbox.complete_as_of ? words.FIRST_READING : words.NOTHING));
    else if (entries.some((entry) => entry.state === "untracked"))
      found.push(h("p.legend", {}, icon("lock"), h("span", {}, "Tiles with a dashed edge are yours alone. ", h("b", {}, "Track"), ` shares one, with its text, with everyone who can read ${words.recordName(this.answer.record)}.`)));
    if (has_more) found.push(h("p.legend", {}, "These are your 50 newest suggestions here; there are more. Track or dismiss some to see them."));
    return found;
  }

  endOf(entries) {
    if (this.answer.next && this.filters.state !== "own") return [button("older", "Older tracked activities", () => this.older())];
    return entries.length && !this.answer.has_more ? [h("p.plain", {}, "That is all there is.")] : [];
  }

  async older() {
    const before = this.answer.tracked.length;
    this.pages += 1;
    await this.load();
    const next = this.answer?.tracked[before];
    if (next) this.tiles.get(`tracked/${next.id}`)?.focus();
  }

  say(problem) {
    const text = problem ? `${problem.title}. ${problem.text}` : "";
    this.banner.hidden = !problem;
    if (this.banner.dataset.text === text) return;
    this.banner.dataset.text = text;
    this.banner.replaceChildren(...(problem ? [icon("alert"), h("span", {}, h("b", {}, `${problem.title}. `), problem.text)] : []));
  }

  liveIs(state) {
    if (this.live.dataset.state === state) return;
    this.live.dataset.state = state;
    this.live.title = state === "live" ? "Changes appear by themselves" : "The connection is being made again";
    this.live.lastChild.textContent = state === "live" ? "Live" : "Connecting";
  }

  // -- what she does -------------------------------------------------------------------------------

  acts() {
    return {
      text: (tile) => this.text(tile),
      track: (tile) => this.track(tile),
      dismiss: (tile) => this.dismiss(tile),
      undo: (tile) => this.undo(tile),
      untrack: (tile, entry, own) => this.untrack(tile, entry, own),
    };
  }

  suggestion(tile) {
    return `${recordPath(this.key)}/suggestions/${encodeURIComponent(tile.entry.data.item)}`;
  }

  async text(tile) {
    const tracked = tile.state === "tracked";
    try {
      return tracked ? (await this.api.get(`${recordPath(this.key)}/tracked/${tile.entry.data.id}`)).content : await this.api.get(`${this.suggestion(tile)}/text`);
    } catch (error) {
      return { problem: this.explain(error, "The text cannot be had now.") };
    }
  }

  async track(tile) {
    const { activity } = tile;
    const subject = words.subjectOf(activity);
    let confirmed = activity.sensitivity === "normal";
    if (!confirmed) {
      confirmed = await confirm(`Share something ${activity.sensitivity}?`, `“${subject}” is marked as ${activity.sensitivity} in Outlook. Track it, and everyone who can read ${tile.context.record} can read its text.`, "Track it");
      if (!confirmed) return tile.focus("track");
    }
    await tile.run(() =>
      this.attempt(async () => {
        const answer = await this.api.ask("POST", `${this.suggestion(tile)}/track`, { confirm_private: confirmed });
        const mine = this.answer?.suggestions.find((one) => one.item === tile.entry.data.item);
        if (mine && answer.state === "pending") {
          Object.assign(mine, { state: "pending", reason: null, until: answer.until });
          this.draw();
        }
        announce(`Tracking pending: ${subject}.`);
        await this.load();
      }),
    );
  }

  async dismiss(tile) {
    const data = tile.entry.data;
    await tile.run(() =>
      this.attempt(async () => {
        await this.api.ask("PUT", `${this.suggestion(tile)}/dismissal`);
        this.dismissed.set(data.item, { data, since: this.readings });
        tile.expanded = false;
        this.draw();
        announce(`Dismissed: ${words.subjectOf(data.activity)}.`);
      }),
    );
    const now = this.tiles.get(`item/${data.item}`); // another one, where the change was heard of before the answer
    if (now?.state === "dismissed") now.focus("undo");
    this.hears.changed();
  }

  async undo(tile) {
    const data = tile.entry.data;
    await tile.run(() =>
      this.attempt(async () => {
        await this.api.ask("DELETE", `${this.suggestion(tile)}/dismissal`);
        this.dismissed.delete(data.item);
        if (this.answer && !this.answer.suggestions.some((one) => one.item === data.item)) this.answer.suggestions.push(data);
        this.draw();
        announce(`Shown again: ${words.subjectOf(data.activity)}.`);
        await this.load();
      }),
    );
    const now = this.tiles.get(`item/${data.item}`) ?? tile;
    const held = document.activeElement; // elsewhere by now, if she went on while the timeline was read again
    if (held === document.body || now.element.contains(held)) now.focus();
  }

  async untrack(tile, entry, own) {
    const subject = words.subjectOf(tile.activity);
    const [title, text, yes] = own ? words.untrackOwn(subject) : words.untrackOther(subject, words.tracker(entry), tile.context.record);
    const sure = await confirm(title, text, yes);
    if (!sure) return tile.focus();
    const place = [...this.element.querySelectorAll(".tile")].indexOf(tile.element);
    await tile.run(() =>
      this.attempt(async () => {
        await this.api.ask("DELETE", `${recordPath(this.key)}/tracked/${tile.entry.data.id}${own ? "" : `?by=${encodeURIComponent(entry.by)}`}`);
        announce(`No longer tracked: ${subject}.`);
        await this.load();
      }),
    );
    if (tile.element.isConnected) return tile.focus();
    const again = [...this.tiles.values()].find((one) => one.element.isConnected && alike(one.activity, tile.activity)); // a suggestion now
    (again ?? this.element.querySelectorAll(".tile .toggle")[Math.max(0, place)] ?? this.heading).focus();
  }

  // Answers what is to be said where it did not work.
  async attempt(act) {
    try {
      await act();
      return null;
    } catch (error) {
      const why = this.explain(error, "That did not work.");
      if (error.what === "refused" || error.what === "missing") this.load();
      return why;
    }
  }

  explain(error, otherwise) {
    if (!(error instanceof Problem)) throw error;
    if (error.what === "session") this.hears.session();
    return (
      { offline: "You are offline. Try again once you are connected.", away: "The server did not answer. Try again in a moment.", session: words.SESSION_ENDED, missing: "It is no longer there." }[error.what] ??
      { no_longer_visible: "It is no longer suggested on this record, so it cannot be tracked." }[error.code] ??
      `${otherwise} ${words.because(error.code)}`
    );
  }
}

const alike = (one, other) => one.kind === other.kind && one.at === other.at && one.subject === other.subject;
