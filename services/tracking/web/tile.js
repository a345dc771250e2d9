// One tile of the timeline: a suggestion, which only its owner sees, or a tracked activity, which the team sees.
// timeline.js creates a tile for each entry and calls show(); tile-details.js draws the part that expands.

import { formatShort, formatTime, formatTimeRange, startOfDay } from "./dates.js";
import { button, errorMessage, h, icon } from "./dom.js";
import { redrawWithFocus } from "./focus.js";
import * as texts from "./texts.js";
import { tileDetails } from "./tile-details.js";

const PEOPLE_IN_SUMMARY = 2; // of each side
let tileCount = 0;

export class Tile {
  expanded = false;
  busy = false;
  entry = null; // {key, state, data}, see timeline-state.js
  context = null; // {user: {oid, admin}, record: its name, key: its type and id}
  content = null; // {text, html, cut}, {loading: true} or {error}; null while the text is not shown
  error = null; // of the last action
  expandedRoles = new Set(); // roles of which all people are shown

  // actions: TimelineActions
  constructor(actions) {
    this.actions = actions;
    this.id = `tile-${++tileCount}`;
    this.toggle = h("button.toggle", {
      type: "button",
      "data-action": "toggle",
      "aria-expanded": "false",
      "aria-controls": `${this.id}-body`,
      onclick: () => this.toggleExpanded(),
    });
    this.title = h("h3", { id: this.id }, this.toggle);
    this.body = h("div.body", { id: `${this.id}-body`, hidden: true });
    this.head = h("div.head");
    this.summary = h("div.summary");
    this.marker = h("div.marker");
    this.card = h("article.card", { "aria-labelledby": this.id }, this.head, this.summary, this.body);
    this.element = h("li.tile", {}, this.marker, this.card);
  }

  get activity() {
    return this.entry.data.activity;
  }

  get state() {
    return this.entry.state;
  }

  // The regarding entries of a tracked activity for the record whose timeline this is.
  get regardingHere() {
    const { type, id } = this.context.key;
    return this.entry.data.regarding.filter((regarding) => regarding.type === type && regarding.id === id);
  }

  // Shows an entry; an unchanged one causes no redraw.
  show(entry, context) {
    const serialized = JSON.stringify([entry, context]);
    if (serialized === this.shown) return;
    if (this.entry && this.entry.state !== entry.state) this.error = null;
    const isChanged = this.entry?.state === "tracked" && this.entry.data.revision !== entry.data.revision;
    this.shown = serialized;
    this.entry = entry;
    this.context = context;
    this.draw();
    if (isChanged) this.refreshText();
  }

  toggleExpanded() {
    this.expanded = !this.expanded;
    const needsText = this.state === "tracked" && (!this.content || this.content.error);
    if (this.expanded && needsText) this.showText();
    else this.draw();
  }

  async showText() {
    const request = { loading: true };
    this.content = request;
    this.draw();
    const content = await this.actions.loadText(this);
    if (this.content !== request) return; // hidden or requested again in the meantime
    this.content = content;
    this.draw();
  }

  hideText() {
    this.content = null;
    this.draw();
  }

  // After Track, the stored text replaces the text from the user's mailbox.
  // It loads after the timeline has called show() with the tracked activity.
  replaceText() {
    this.content = null;
    if (this.expanded) queueMicrotask(() => this.showText());
  }

  // The stored text may have changed. It is loaded again behind the text that is shown.
  async refreshText() {
    const before = this.content;
    if (!this.expanded || !before || before.loading) {
      this.replaceText();
      return;
    }
    const content = await this.actions.loadText(this);
    if (this.content !== before || content.error) return; // hidden or requested again in the meantime
    this.content = content;
    this.draw();
  }

  // Runs an action with the tile marked as busy, and shows the error text that it returns.
  async runBusy(action) {
    if (this.busy) return;
    this.busy = true;
    this.error = null;
    this.draw();
    this.error = (await action()) ?? null;
    this.busy = false;
    this.draw();
  }

  // -- drawing -------------------------------------------------------------------------------------

  draw() {
    redrawWithFocus(this.element, () => {
      this.element.className = `tile is-${this.state}`;
      if (this.state === "dismissed") this.drawDismissed();
      else this.drawActivity();
      this.card.setAttribute("aria-busy", String(this.busy));
    });
  }

  drawActivity() {
    const { activity } = this;
    this.marker.replaceChildren(icon(activity.kind, texts.kindName(activity)));
    this.toggle.replaceChildren(h("span.subject", {}, texts.subjectOf(activity)), icon("chevron"));
    this.toggle.setAttribute("aria-expanded", String(this.expanded));
    this.head.replaceChildren(this.title, ...badges(this.entry.data), timeOf(activity));
    const foot = h("div.foot", {}, h("div.row", {}, this.stateChip()), h("div.row", {}, this.buttons()));
    const people = h("p.participants", {}, participants(activity));
    this.summary.replaceChildren(people, this.reason(), foot, this.errorText());
    this.body.hidden = !this.expanded;
    this.body.replaceChildren(...(this.expanded ? tileDetails(this) : []));
  }

  drawDismissed() {
    const subject = texts.subjectOf(this.activity);
    this.marker.replaceChildren();
    this.head.replaceChildren();
    this.body.hidden = true;
    const undo = button("undo", "Undo", () => this.actions.undoDismissal(this), {
      "aria-label": `Undo: show ${subject} again`,
    });
    const text = h("span", {}, "Dismissed (only for you) · ", h("b", {}, subject));
    this.summary.replaceChildren(h("p.dismissed", { id: this.id }, text, undo), this.errorText());
  }

  reason() {
    const [first] = this.entry.data.why ?? [];
    if (!first || this.expanded) return "";
    return h("p.reason", {}, icon("link"), h("span", {}, h("span.visually-hidden", {}, "Why it is here: "), first));
  }

  stateChip() {
    switch (this.state) {
      case "tracked":
        return h("p.chip.shared", {}, icon("people"), trackedBy(this.regardingHere, this.context.user));
      case "pending":
        return h("p.chip.pending", {}, icon("pending"), texts.SHARING);
      case "failed": {
        const text = `Not tracked: ${texts.shortReason(this.entry.data.reason)}`;
        return [h("p.chip.failed", {}, icon("alert"), text), h("p.still-private", {}, icon("lock"), "Still private")];
      }
      default:
        return h("p.chip.private", {}, icon("lock"), texts.ONLY_YOU);
    }
  }

  buttons() {
    switch (this.state) {
      case "untracked":
        return [this.dismissButton(), this.trackButton("Track")];
      case "failed":
        return [this.dismissButton(), this.trackButton("Retry")];
      default:
        return [];
    }
  }

  dismissButton() {
    return button("dismiss", "Dismiss", () => this.actions.dismiss(this), {
      disabled: this.busy,
      "aria-label": `Dismiss ${texts.subjectOf(this.activity)}`,
      title: "Remove it from this record, only for you",
    });
  }

  trackButton(label) {
    return button("track", label, () => this.actions.track(this), {
      look: "primary",
      symbol: "people",
      disabled: this.busy,
      "aria-label": `${label} ${texts.subjectOf(this.activity)}`,
      title: `Share it with everyone who can open ${this.context.record}, text included`,
    });
  }

  errorText() {
    return this.error ? errorMessage(this.error) : "";
  }
}

function timeOf({ at, start, end, all_day }) {
  const isOneDay = start && end && startOfDay(start) - startOfDay(end) === 0;
  const text = all_day ? "All day" : isOneDay ? formatTimeRange(start, end) : formatTime(at);
  return h("time", { datetime: start ?? at }, text);
}

function badges({ activity: { kind, sensitivity, cancelled }, source_gone: isSourceGone }) {
  const found = [];
  if (cancelled) found.push(h("span.badge.cancelled", {}, "Cancelled"));
  if (isSourceGone) found.push(h("span.badge.gone", { title: texts.sourceGone(kind) }, texts.SOURCE_GONE));
  const name = sensitivity[0].toUpperCase() + sensitivity.slice(1);
  if (sensitivity !== "normal") found.push(h("span.badge", {}, name));
  return found;
}

// "Carla Reyes → Ann Lee, Ben Roy and 3 more" for an e-mail, "Ann Lee with Carla Reyes" for a meeting
function participants(activity) {
  const names = (roles, most) => {
    const people = activity.participants.filter((person) => roles.includes(person.role));
    const more = people.length > most ? ` and ${people.length - most} more` : "";
    return people.slice(0, most).map(texts.personName).join(", ") + more;
  };
  if (activity.kind === "meeting") {
    const attendees = names(["required", "optional"], PEOPLE_IN_SUMMARY);
    return `${names(["organizer"], 1) || "Somebody"}${attendees ? ` with ${attendees}` : ""}`;
  }
  const arrow = h("span.arrow", { "aria-hidden": "true" }, "→");
  const to = h("span.visually-hidden", {}, "to");
  const recipients = names(["to", "cc"], PEOPLE_IN_SUMMARY) || "nobody named";
  return [names(["from"], 1) || "Somebody", " ", arrow, " ", to, " ", recipients];
}

function trackedBy(regarding, user) {
  const [first] = regarding;
  if (!first) return "Tracked";
  const name = first.by === user.oid ? "you" : texts.trackerName(first);
  const more = regarding.length > 1 ? ` and ${regarding.length - 1} more` : "";
  const time = h("time", { datetime: first.at }, formatShort(first.at));
  return h("span", {}, "Tracked by ", h("b", {}, name), more, " · ", time);
}
