// The actions of a tile's buttons: each calls the API, updates the state, redraws the timeline and places the focus.
// A tile calls these methods with itself as the first argument.

import { ApiError } from "./api.js";
import { announce, confirmDialog } from "./dom.js";
import { focusAction, focusTileAt, focusTileUnlessMoved } from "./focus.js";
import * as texts from "./texts.js";
import { isSameActivity } from "./timeline-state.js";

export class TimelineActions {
  constructor(timeline) {
    this.timeline = timeline;
    this.api = timeline.api;
    this.key = timeline.key;
    this.state = timeline.state;
  }

  // The text of a tile's activity: {text, html, cut}, or {error}.
  async loadText(tile) {
    const { data } = tile.entry;
    try {
      if (tile.state === "tracked") return await this.api.trackedText(this.key, data.id);
      return await this.api.suggestionText(this.key, data.item);
    } catch (error) {
      return { error: `Couldn't load the text. ${this.#errorText(error)}` };
    }
  }

  async track(tile) {
    const { activity } = tile;
    const { item } = tile.entry.data;
    const subject = texts.subjectOf(activity);
    const isNormal = activity.sensitivity === "normal";
    const dialog = texts.shareDialog(subject, activity.sensitivity, tile.context.record);
    if (!isNormal && !(await confirmDialog(dialog))) return focusAction(tile.element, "track");
    await this.#run(tile, async () => {
      const response = await this.api.track(this.key, item, true);
      if (response.state === "pending" && this.state.markPending(item, response.until)) this.timeline.draw();
      announce(`${texts.SHARING}: ${subject}.`);
      await this.timeline.load();
    });
  }

  async dismiss(tile) {
    const { data } = tile.entry;
    await this.#run(tile, async () => {
      await this.api.dismiss(this.key, data.item);
      this.state.dismiss(data);
      tile.expanded = false;
      this.timeline.draw();
      announce(`Dismissed: ${texts.subjectOf(data.activity)}.`);
    });
    // Another tile than before, if the stream reported the change before the API responded.
    const current = this.timeline.tileOf(data.item);
    if (current?.state === "dismissed") focusAction(current.element, "undo");
    this.timeline.callbacks.countsMayChange();
  }

  async undoDismissal(tile) {
    const { data } = tile.entry;
    await this.#run(tile, async () => {
      await this.api.undoDismissal(this.key, data.item);
      this.state.undoDismissal(data);
      this.timeline.draw();
      announce(`Restored: ${texts.subjectOf(data.activity)}.`);
      await this.timeline.load();
    });
    focusTileUnlessMoved((this.timeline.tileOf(data.item) ?? tile).element);
  }

  // regarding: the entry to remove; isOwn: whether it is the user's own, and not one that an administrator removes.
  async untrack(tile, regarding, isOwn) {
    const subject = texts.subjectOf(tile.activity);
    const dialog = isOwn
      ? texts.untrackOwnDialog(subject)
      : texts.untrackOtherDialog(subject, texts.trackerName(regarding), tile.context.record);
    if (!(await confirmDialog(dialog))) return focusAction(tile.element);
    const index = this.timeline.indexOf(tile);
    await this.#run(tile, async () => {
      await this.api.untrack(this.key, tile.entry.data.id, isOwn ? null : regarding.by);
      announce(`No longer tracked: ${subject}.`);
      await this.timeline.load();
    });
    if (tile.element.isConnected) return focusAction(tile.element);
    const suggestion = this.timeline.findTile((other) => isSameActivity(other.activity, tile.activity));
    if (suggestion) focusAction(suggestion.element);
    else focusTileAt(this.timeline.element, index, this.timeline.heading);
  }

  // Runs a change with the tile marked as busy; the tile shows the error, if there is one.
  #run(tile, change) {
    return tile.runBusy(async () => {
      try {
        await change();
        return null;
      } catch (error) {
        const text = this.#errorText(error, "That did not work. ");
        if (error.kind === "refused" || error.kind === "not-found") this.timeline.load();
        return text;
      }
    });
  }

  #errorText(error, prefix = "") {
    if (!(error instanceof ApiError)) throw error;
    if (error.kind === "signed-out") this.timeline.callbacks.sessionEnded();
    if (error.kind in texts.ACTION_ERRORS) return texts.ACTION_ERRORS[error.kind];
    if (error.code === "no_longer_visible") return texts.NO_LONGER_VISIBLE;
    return prefix + texts.reasonText(error.code);
  }
}
