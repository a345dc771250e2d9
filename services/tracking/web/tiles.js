// One tile of the timeline: a suggestion, which only its owner sees, or a tracked activity, which the team sees.

import { button, h, icon } from "./dom.js";
import * as dates from "./dates.js";
import { textOf } from "./mail.js";
import { because, kindOf, named, recordName, ROLES, subjectOf, tracker } from "./words.js";

const MOST_PEOPLE = 10; // named at once of each role: a mail may go to a thousand
let numbers = 0;
const STILL = () => h("p.still", {}, icon("lock"), "Still only you can see this");

export class Tile {
  // acts: what its buttons do, each called with the tile; text(tile) fetches its text.
  constructor(acts) {
    this.acts = acts;
    this.id = `tile-${++numbers}`;
    this.expanded = false;
    this.entry = null;
    this.content = null; // {text, html, cut}, or {problem}
    this.note = null; // what went wrong last
    this.busy = false;
    this.everyone = new Set(); // roles of which all people are shown
    this.toggle = h("button.toggle", { type: "button", "data-act": "toggle", "aria-expanded": "false", "aria-controls": `${this.id}-body`, onclick: () => this.turn() });
    this.title = h("h3", { id: this.id }, this.toggle);
    this.body = h("div.body", { id: `${this.id}-body`, hidden: true });
    this.head = h("div.head");
    this.rest = h("div.rest");
    this.node = h("div.node");
    this.card = h("article.card", { "aria-labelledby": this.id }, this.head, this.rest, this.body);
    this.element = h("li.tile", {}, this.node, this.card);
  }

  get activity() {
    return this.entry.data.activity;
  }

  get state() {
    return this.entry.state;
  }

  // Shows an entry; nothing is touched where it is the one that is shown.
  show(entry, context) {
    const same = JSON.stringify([entry, context]);
    if (same === this.shown) return;
    if (this.entry && this.entry.state !== entry.state) this.note = null;
    this.shown = same;
    this.entry = entry;
    this.context = context;
    this.draw();
  }

  draw() {
    const focused = this.element.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    const { activity, state } = this;
    this.element.className = `tile is-${state}`;
    if (state === "dismissed") this.drawDismissed();
    else {
      this.node.replaceChildren(icon(activity.kind, kindOf(activity)));
      this.toggle.replaceChildren(h("span.subject", {}, subjectOf(activity)), icon("chevron"));
      this.toggle.setAttribute("aria-expanded", String(this.expanded));
      this.head.replaceChildren(this.title, ...this.marks(), this.when());
      this.rest.replaceChildren(h("p.who", {}, who(activity)), this.why(), h("div.foot", {}, h("div.row", {}, this.chip()), this.buttons()), this.problem());
      this.body.hidden = !this.expanded;
      this.body.replaceChildren(...(this.expanded ? this.details() : []));
    }
    this.card.setAttribute("aria-busy", String(this.busy));
    if (focused && !this.element.contains(document.activeElement)) this.focus(focused);
    else if (focused && document.activeElement === document.body) this.focus(focused);
  }

  focus(act = "toggle") {
    (this.element.querySelector(`[data-act="${act}"]:not([disabled])`) ?? this.element.querySelector("button"))?.focus();
  }

  drawDismissed() {
    this.node.replaceChildren();
    this.head.replaceChildren();
    this.body.hidden = true;
    const undo = button("undo", "Undo", () => this.acts.undo(this), { "aria-label": `Undo: show ${subjectOf(this.activity)} again` });
    this.rest.replaceChildren(h("p.gone", { id: this.id }, h("span", {}, "Dismissed here, for you alone: ", h("b", {}, subjectOf(this.activity))), undo), this.problem() ?? "");
  }

  turn(expanded = !this.expanded) {
    this.expanded = expanded;
    if (expanded && this.state === "tracked" && (!this.content || this.content.problem)) this.showText();
    else this.draw();
  }

  async showText() {
    const asked = (this.content = { waiting: true });
    this.draw();
    const found = await this.acts.text(this);
    if (this.content !== asked) return; // hidden, or asked for anew, meanwhile
    this.content = found;
    this.draw();
  }

  // Runs one of the acts with the tile marked as busy; what goes wrong is said on the tile.
  async run(act) {
    if (this.busy) return;
    this.busy = true;
    this.note = null;
    this.draw();
    this.note = (await act()) ?? null;
    this.busy = false;
    this.draw();
  }

  when() {
    const { at, start, end, all_day } = this.activity;
    const text = all_day ? "All day" : start && end && dates.dayOf(start) - dates.dayOf(end) === 0 ? dates.range(start, end) : dates.time(at);
    return h("time", { datetime: start ?? at }, text);
  }

  marks() {
    const { sensitivity, cancelled } = this.activity;
    return [cancelled ? h("span.mark.cancelled", {}, "Cancelled") : null, sensitivity !== "normal" ? h("span.mark", {}, sensitivity[0].toUpperCase() + sensitivity.slice(1)) : null].filter(Boolean);
  }

  why() {
    const [first] = this.entry.data.why ?? [];
    return first && !this.expanded ? h("p.why", {}, icon("link"), h("span", {}, h("span.unseen", {}, "Why it is here: "), first)) : "";
  }

  chip() {
    const data = this.entry.data;
    switch (this.state) {
      case "tracked":
        return h("p.chip.shared", {}, icon("people"), trackers(this.mine(), this.context.me));
      case "pending":
        return [h("p.chip.pending", {}, icon("wait"), "Tracking pending"), STILL()];
      case "failed":
        return [h("p.chip.failed", {}, icon("alert"), h("span", {}, "Not tracked. ", because(data.reason))), STILL()];
      default:
        return h("p.chip.private", {}, icon("lock"), "Only you can see this");
    }
  }

  buttons() {
    const { acts, busy } = this;
    const about = subjectOf(this.activity);
    const dismiss = button("dismiss", "Dismiss", () => acts.dismiss(this), { disabled: busy, "aria-label": `Dismiss ${about}`, title: "Take it off this record, for you alone" });
    const track = (label) =>
      button("track", label, () => acts.track(this), { look: "primary", symbol: "people", disabled: busy, "aria-label": `${label} ${about}`, title: `Share it, with its text, with everyone who can read ${this.context.record}` });
    const row = { untracked: () => [dismiss, track("Track")], failed: () => [dismiss, track("Retry")], pending: () => [], tracked: () => [] }[this.state]();
    return h("div.row", {}, row);
  }

  problem() {
    return this.note ? h("p.note", { role: "alert" }, icon("alert"), this.note) : "";
  }

  mine() {
    const { type, id } = this.context.key;
    return this.entry.data.regarding.filter((entry) => entry.type === type && entry.id === id);
  }

  details() {
    const { activity, entry, state } = this;
    const { start, end, all_day, at } = activity;
    const when = !start ? dates.full(at) : all_day ? dates.wholeDays(start, end ?? start) : end ? dates.fullRange(start, end) : dates.full(start);
    const rows = [["When", when], ...Object.entries(ROLES).map(([role, label]) => [label, this.people(role)]).filter(([, found]) => found.length)];
    if (state === "tracked") rows.push(...this.trackedBy(), ...this.others());
    const reasons = entry.data.why ?? [];
    const more = entry.data.more_reasons ? h("li", {}, `and ${entry.data.more_reasons} more`) : null;
    return [
      h("dl", {}, rows.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])),
      reasons.length ? h("div.reasons", {}, h("h4", {}, "Why it is here"), h("ul", {}, reasons.map((reason) => h("li", {}, reason)), more)) : "",
      this.text(),
      h("div.row", {}, this.further()),
    ];
  }

  people(role) {
    const all = this.activity.participants
      .filter((person) => person.role === role)
      .map((person) => h("span.person", {}, person.name ? [h("b", {}, person.name), ` ${person.address}`] : person.address));
    if (all.length <= MOST_PEOPLE + 1) return all;
    const turned = (event) => this.everyone[event.target.open ? "add" : "delete"](role);
    const rest = h("details", { open: this.everyone.has(role), ontoggle: turned }, h("summary", { "data-act": `more-${role}` }, `and ${all.length - MOST_PEOPLE} more`), all.slice(MOST_PEOPLE));
    return [...all.slice(0, MOST_PEOPLE), rest];
  }

  trackedBy() {
    const all = this.mine().map((entry) => h("span.person", {}, h("b", {}, entry.by === this.context.me.oid ? "You" : tracker(entry)), ` ${dates.short(entry.at)}`));
    return all.length > 1 ? [["Tracked by", all]] : [];
  }

  others() {
    const { type, id } = this.context.key;
    const others = this.entry.data.regarding.filter((entry) => entry.type !== type || entry.id !== id);
    const names = [...new Map(others.map((entry) => [`${entry.type}/${entry.id}`, entry.deleted ? "a deleted record" : recordName(entry)])).values()];
    return names.length ? [["Also on", names.join(", ")]] : [];
  }

  text() {
    const { content } = this;
    if (!content) return "";
    if (content.waiting) return h("p.text.waiting", { role: "status" }, "Fetching the text …");
    if (content.problem) return h("p.note", { role: "alert" }, icon("alert"), content.problem);
    const plain = (content.html ? textOf(content.text) : content.text).trim();
    return h("div.text", { tabindex: "0", role: "region", "data-act": "read", "aria-label": `Text of ${subjectOf(this.activity)}` }, plain || "(no text)", content.cut ? h("p.cut", {}, "It was longer, and ends early here.") : null);
  }

  further() {
    const found = [];
    if (this.state !== "tracked") {
      const shown = Boolean(this.content && !this.content.problem);
      found.push(
        button("text", shown ? "Hide text" : "Show text", () => (shown ? this.hideText() : this.showText()), {
          "aria-expanded": String(shown),
          title: "Fetched from your mailbox for you alone, and kept nowhere",
        }),
      );
      const link = this.entry.data.web_link;
      if (/^https:\/\//.test(link ?? "")) found.push(h("a.quiet", { href: link, "data-act": "open", target: "_blank", rel: "noopener noreferrer" }, icon("open"), "Open in Outlook", h("span.unseen", {}, " (new tab)")));
    } else {
      if (this.content?.problem) found.push(button("text", "Try again", () => this.showText()));
      for (const entry of this.mine()) {
        const own = entry.by === this.context.me.oid;
        if (own || this.context.me.admin) {
          const label = own ? "Untrack" : `Remove what ${tracker(entry)} tracked`;
          const title = own ? null : "As an administrator you may take anybody's entry off this record";
          found.push(button(`untrack-${entry.by}`, label, () => this.acts.untrack(this, entry, own), { disabled: this.busy, title, "aria-label": `${label}: ${subjectOf(this.activity)}` }));
        }
      }
    }
    return found;
  }

  hideText() {
    this.content = null;
    this.draw();
  }
}

function who(activity) {
  const of = (...roles) => activity.participants.filter((person) => roles.includes(person.role));
  const list = (all, most = 2) => all.slice(0, most).map(named).join(", ") + (all.length > most ? ` and ${all.length - most} more` : "");
  if (activity.kind === "meeting") {
    const attendees = of("required", "optional");
    return `${list(of("organizer"), 1) || "Somebody"}${attendees.length ? ` with ${list(attendees)}` : ""}`;
  }
  return [list(of("from"), 1) || "Somebody", h("span.to", { "aria-hidden": "true" }, "→"), h("span.unseen", {}, "to"), list(of("to", "cc")) || "nobody named"].flatMap((part) => [part, " "]);
}

function trackers(entries, me) {
  const [first] = entries;
  if (!first) return "Tracked";
  const name = (entry) => (entry.by === me.oid ? "you" : tracker(entry));
  const others = entries.length > 1 ? ` and ${entries.length - 1} more` : "";
  return h("span", {}, "Tracked by ", h("b", {}, name(first)), others, " · ", h("time", { datetime: first.at }, dates.short(first.at)));
}

