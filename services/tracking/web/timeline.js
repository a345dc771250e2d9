// The timeline of one record: tracked activities, and the user's suggestions among them, by time.
// page.js creates one for the open record. State: timeline-state.js; reads: timeline-reader.js; a tile: tile.js.

import { ApiError } from "./api.js";
import { dayHeading, startOfDay } from "./dates.js";
import { announce, h, icon } from "./dom.js";
import { filterBar, resetFilterBar } from "./filters.js";
import { focusAction, hasFocus, placeChildren, replaceChangedChildren } from "./focus.js";
import { timelineEnd, timelineNotices } from "./notices.js";
import { followChanges } from "./stream.js";
import * as texts from "./texts.js";
import { Tile } from "./tile.js";
import { TimelineActions } from "./timeline-actions.js";
import { TimelineReader } from "./timeline-reader.js";
import { isSameActivity, TimelineState } from "./timeline-state.js";

const REFRESH_INTERVAL = 60_000; // ms; an item leaves the timeline by time alone, without an event on the stream

export class Timeline {
  // name: the record's name if it is known already. callbacks: {countsMayChange(), sessionEnded()}.
  constructor(api, user, { type, id, name }, callbacks) {
    Object.assign(this, { api, user, callbacks, key: { type, id } });
    this.state = new TimelineState();
    this.reader = new TimelineReader(api, this.key, this.state, {
      onRead: (response, filtersUnchanged) => this.onRead(response, filtersUnchanged),
      onError: (error) => this.onError(error),
    });
    this.actions = new TimelineActions(this);
    this.tiles = new Map(); // key of an entry -> Tile
    this.days = new Map(); // midnight in ms -> {element, title, items}
    this.createElements(name);
  }

  createElements(name) {
    document.title = `${name ?? texts.typeName(this.key.type)} · Timeline`;
    this.heading = h("h1", { tabindex: "-1" }, name ?? "…");
    this.connection = h("p.connection", {}, h("span.dot"), h("span", {}, "Connecting"));
    this.banner = h("div.banner", { role: "status", hidden: true });
    this.filterBar = filterBar((filter, value) => this.setFilter(filter, value));
    this.notices = h("div.notices");
    this.list = h("div.days");
    this.end = h("div.end");
    const title = h("div", {}, h("p.type-name", {}, texts.typeName(this.key.type)), this.heading);
    this.element = h(
      "div.timeline",
      {},
      h("a.back-link", { href: "#/" }, icon("back"), "All records"),
      h("header.record-header", {}, title, this.connection),
      this.banner,
      this.filterBar,
      this.notices,
      this.list,
      this.end,
    );
  }

  start() {
    const loadIfVisible = () => document.hidden || this.load();
    this.stopFollowing = followChanges(
      this.api,
      this.key,
      () => this.load(),
      (state) => this.showConnection(state),
    );
    this.timer = setInterval(loadIfVisible, REFRESH_INTERVAL);
    this.listeners = new AbortController();
    const { signal } = this.listeners;
    document.addEventListener("visibilitychange", loadIfVisible, { signal });
    addEventListener("offline", () => this.showBanner(texts.OFFLINE), { signal });
    return this.load();
  }

  stop() {
    this.reader.stop();
    this.stopFollowing();
    this.listeners.abort();
    clearInterval(this.timer);
  }

  load() {
    return this.reader.load();
  }

  setFilter(name, value) {
    this.state.setFilter(name, value);
    if (name === "state") this.draw(); // the API has no such filter
    else this.load();
  }

  clearFilters() {
    this.state.clearFilters();
    this.load();
    resetFilterBar(this.filterBar);
  }

  async showOlder() {
    const count = this.state.response.tracked.length;
    this.state.pages += 1;
    await this.load();
    const next = this.state.response?.tracked[count];
    const tile = next && this.tiles.get(`tracked/${next.id}`);
    if (tile) focusAction(tile.element);
  }

  // -- what the API returned -----------------------------------------------------------------------

  onRead(response, filtersUnchanged) {
    const previous = this.state.response;
    this.state.response = response;
    this.showBanner(null);
    this.draw();
    if (previous && filtersUnchanged) this.announceChanges(previous, response);
    this.callbacks.countsMayChange();
  }

  onError(error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.kind === "signed-out") this.callbacks.sessionEnded();
    else if (error.kind === "not-found") {
      this.state.response = null;
      this.showBanner(null);
      this.draw();
    } else if (error.kind === "refused") this.showBanner({ title: "This cannot be shown", text: error.message });
    else {
      this.showBanner(error.kind === "offline" ? texts.OFFLINE : texts.UNREACHABLE);
      this.reader.retryLater();
    }
  }

  announceChanges(before, after) {
    const states = new Map(before.suggestions.map((suggestion) => [suggestion.item, suggestion.state]));
    for (const { item, state, reason, activity } of after.suggestions) {
      const subject = texts.subjectOf(activity);
      if (!states.has(item)) announce(`New, only you can see it: ${subject}.`);
      else if (state === "failed" && states.get(item) !== "failed")
        announce(`Not tracked: ${subject}. ${texts.reasonText(reason)}`);
    }
    if (this.state.pages > 1) return;
    const known = new Set(before.tracked.map((tracked) => tracked.id));
    for (const { id, activity } of after.tracked)
      if (!known.has(id)) announce(`Tracked: ${texts.subjectOf(activity)}.`);
  }

  // -- drawing -------------------------------------------------------------------------------------

  draw() {
    const found = this.state.response !== null;
    const name = found ? texts.recordName(this.state.response.record) : texts.NO_RECORD.title;
    this.filterBar.hidden = !found;
    this.connection.hidden = !found;
    this.heading.textContent = name;
    document.title = `${name} · Timeline`;
    if (!found) {
      replaceChangedChildren(this.notices, [h("p.muted", {}, texts.NO_RECORD.text)]);
      placeChildren(this.list, []);
      replaceChangedChildren(this.end, []);
      return;
    }
    const entries = this.state.entries();
    this.drawTiles(entries, { user: { oid: this.user.oid, admin: this.user.admin }, record: name, key: this.key });
    replaceChangedChildren(this.notices, timelineNotices(this.state, entries, () => this.clearFilters()));
    replaceChangedChildren(this.end, timelineEnd(this.state, entries, () => this.showOlder()));
  }

  drawTiles(entries, context) {
    const focused = this.reuseTilesOfTracked(entries);
    const days = new Map();
    for (const entry of entries) {
      const tile = this.tiles.get(entry.key) ?? new Tile(this.actions);
      this.tiles.set(entry.key, tile);
      tile.show(entry, context);
      const { start, at, all_day } = entry.data.activity;
      const day = +startOfDay(start ?? at, all_day);
      days.set(day, [...(days.get(day) ?? []), tile.element]);
    }
    const newestFirst = [...days.keys()].sort((left, right) => right - left);
    const sections = newestFirst.map((day) => this.drawDay(day).element);
    placeChildren(this.list, sections);
    for (const [day, elements] of days) placeChildren(this.days.get(day).items, elements);
    const keys = new Set(entries.map((entry) => entry.key));
    for (const key of [...this.tiles.keys()]) if (!keys.has(key)) this.tiles.delete(key);
    if (focused) focusAction(focused.element);
  }

  // A suggestion that became a tracked activity keeps its tile. Returns the tile that has the focus: it may lose it
  // when the tile moves to another place.
  reuseTilesOfTracked(entries) {
    const keys = new Set(entries.map((entry) => entry.key));
    let focused = null;
    for (const [key, tile] of [...this.tiles]) {
      if (keys.has(key) || tile.state === "tracked") continue;
      const entry = entries.find(
        ({ key: newKey, state, data }) =>
          state === "tracked" && !this.tiles.has(newKey) && isSameActivity(data.activity, tile.activity),
      );
      if (!entry) continue;
      if (hasFocus(tile.element)) focused = tile;
      this.tiles.delete(key);
      this.tiles.set(entry.key, tile);
      tile.replaceText();
    }
    return focused;
  }

  drawDay(day) {
    const section = this.days.get(day) ?? { title: h("h2"), items: h("ol.items") };
    section.element ??= h("section.day", {}, section.title, section.items);
    const { relative, date, upcoming } = dayHeading(new Date(day));
    const title = relative ? [relative, h("span.date", {}, date)] : [date];
    if (upcoming) title.push(h("span.badge", {}, "Upcoming"));
    section.title.replaceChildren(...title);
    this.days.set(day, section);
    return section;
  }

  // problem: {title, text}, or null.
  showBanner(problem) {
    const text = problem ? `${problem.title}. ${problem.text}` : "";
    this.banner.hidden = !problem;
    if (this.banner.dataset.text === text) return;
    this.banner.dataset.text = text;
    const content = problem ? [icon("alert"), h("span", {}, h("b", {}, `${problem.title}. `), problem.text)] : [];
    this.banner.replaceChildren(...content);
  }

  // state: "live" or "waiting"
  showConnection(state) {
    if (this.connection.dataset.state === state) return;
    this.connection.dataset.state = state;
    this.connection.title = state === "live" ? "Changes appear automatically" : "Reconnecting";
    this.connection.lastChild.textContent = state === "live" ? "Live" : "Connecting";
  }

  // -- tiles, for the actions ----------------------------------------------------------------------

  tileOf(item) {
    return this.tiles.get(`item/${item}`);
  }

  findTile(matches) {
    return [...this.tiles.values()].find((tile) => tile.element.isConnected && matches(tile));
  }

  indexOf(tile) {
    return [...this.element.querySelectorAll(".tile")].indexOf(tile.element);
  }
}
