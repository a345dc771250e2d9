// The page of a signed-in user: the header, the list of records, and the timeline of the record in the address.
// app.js creates it after the sign-in.

import { Api } from "./api.js";
import { button, h, icon, notice } from "./dom.js";
import { RecordList } from "./record-list.js";
import { GROUPS_MISSING, ONLY_YOU, SIGNED_OUT } from "./texts.js";
import { Timeline } from "./timeline.js";
import { logo, showWelcome } from "./welcome.js";

export class Page {
  // user: the response of /me
  constructor(root, signIn, user) {
    Object.assign(this, { root, signIn, user });
    this.api = new Api(signIn);
    this.timeline = null;
    this.records = new RecordList(this.api, () => this.endSession());
    this.main = h("main", { id: "main", tabindex: "-1" });
    const signOut = button("sign-out", "Sign out", () => this.signOut());
    const name = h("span.user-name", {}, user.name ?? "Signed in");
    root.replaceChildren(
      h("header.site-header", {}, logo(), h("div.row", {}, name, signOut)),
      h("div.columns", {}, this.records.element, this.main),
    );
    this.listeners = new AbortController();
    addEventListener("hashchange", () => this.showAddress(), { signal: this.listeners.signal });
    this.records.start();
    this.showAddress(true);
  }

  // Shows the record in the address, or the start view if there is none.
  showAddress(isFirst = false) {
    const [type, id] = location.hash.replace(/^#\/?/, "").split("/").map((part) => decode(part));
    this.timeline?.stop();
    this.timeline = null;
    if (type && id) this.showRecord({ type, id });
    else this.showStart();
    if (!isFirst) (this.timeline?.heading ?? this.records.field).focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  showRecord(key) {
    document.body.dataset.view = "record";
    this.records.markCurrent(key);
    this.records.followOwnChanges(false);
    const record = { ...key, name: this.records.nameOf(key) };
    this.timeline = new Timeline(this.api, this.user, record, {
      countsMayChange: () => this.records.scheduleLoad(),
      sessionEnded: () => this.endSession(),
    });
    this.main.replaceChildren(this.timeline.element);
    this.timeline.start();
  }

  showStart() {
    document.body.dataset.view = "list";
    document.title = "Timeline";
    this.records.markCurrent(null);
    this.records.followOwnChanges(true);
    this.main.replaceChildren(
      h(
        "section.start",
        {},
        h("h1", {}, "Choose a record"),
        this.user.groups_missing ? notice("warning", GROUPS_MISSING) : null,
        h("p", {}, "The number beside a record counts your e-mails and meetings that may belong to it."),
        h("p.chip.private", {}, icon("lock"), ONLY_YOU),
        h("p", {}, "A suggestion from your own mailbox. Nobody else can see it, nor that it exists."),
        h("p.chip.shared", {}, icon("people"), "Tracked"),
        h("p", {}, "Somebody has shared it: everyone who can open the record can see it, text included."),
      ),
    );
  }

  endSession() {
    if (this.closed) return;
    this.close();
    this.signIn.forget();
    showWelcome(this.root, this.signIn, { problem: SIGNED_OUT });
  }

  signOut() {
    this.close();
    this.signIn.signOut();
  }

  close() {
    this.closed = true;
    this.timeline?.stop();
    this.records.stop();
    this.listeners.abort();
  }
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
