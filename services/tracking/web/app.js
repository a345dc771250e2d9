// The page: who is she, and which record does she look at.

import { Api, Problem, reachable } from "./api.js";
import { button, h, icon, notice } from "./dom.js";
import { Records } from "./records.js";
import { SignIn, SignInFailed } from "./signin.js";
import { Timeline } from "./timeline.js";
import { AWAY, GROUPS, notLetIn, SESSION_ENDED } from "./words.js";

const AGAIN = 2_000; // ms between two attempts to reach the server at the start
const root = document.getElementById("app");
// The address says which record she looks at, so the link to the content may not change it.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
const logo = () => h("span.brand", {}, h("img", { src: "/page/icon.svg", alt: "", width: "28", height: "28" }), "Timeline");

// another: whether the account that is signed in at the authority is of no use here.
function welcome(signin, why, another = false) {
  document.body.dataset.view = "welcome";
  document.title = "Sign in · Timeline";
  const enter = button("sign-in", another ? "Sign in with another account" : "Sign in", () => signin.begin(another), { look: "primary" });
  root.replaceChildren(
    h(
      "main.welcome",
      { id: "main", tabindex: "-1" },
      logo(),
      h("h1", {}, "E-mails and meetings, where they belong"),
      h("p", {}, "What you have written and agreed with customers appears on their records by itself, for your eyes only, until you track it for your team."),
      why ? h("p.note", { role: "alert" }, icon("alert"), why) : null,
      enter,
    ),
  );
  enter.focus();
}

function waiting(problem) {
  root.replaceChildren(h("main.welcome", { id: "main", tabindex: "-1" }, logo(), h("h1", {}, problem.title), h("p", { role: "status" }, problem.text)));
}

class Page {
  constructor(signin, me) {
    this.signin = signin;
    this.me = me;
    this.api = new Api(signin);
    this.timeline = null;
    this.records = new Records(this.api, () => this.ended());
    this.main = h("main", { id: "main", tabindex: "-1" });
    const out = button("sign-out", "Sign out", () => this.leave());
    const header = h("header.top", {}, logo(), h("div.row", {}, h("span.me", {}, me.name ?? "Signed in"), out));
    root.replaceChildren(header, h("div.columns", {}, this.records.element, this.main));
    this.routed = () => this.route();
    addEventListener("hashchange", this.routed);
    this.records.start();
    this.route(true);
  }

  route(first = false) {
    const [type, id] = location.hash.replace(/^#\/?/, "").split("/").map((part) => decode(part));
    this.timeline?.stop();
    this.timeline = null;
    if (type && id) this.open({ type, id });
    else this.choose();
    if (!first) (this.timeline?.heading ?? this.records.field).focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  open(key) {
    document.body.dataset.view = "record";
    this.records.mark(key);
    this.records.listen(false);
    this.timeline = new Timeline(this.api, this.me, { ...key, name: this.records.name(key) }, { changed: () => this.records.soon(), session: () => this.ended() });
    this.main.replaceChildren(this.timeline.element);
    this.timeline.start();
  }

  choose() {
    document.body.dataset.view = "list";
    document.title = "Timeline";
    this.records.mark(null);
    this.records.listen(true);
    this.main.replaceChildren(
      h(
        "section.choose",
        {},
        h("h1", {}, "Choose a record"),
        this.me.groups_missing ? notice("warning", GROUPS) : null,
        h("p", {}, "The number beside a record counts e-mails and meetings of yours that may belong to it."),
        h("p.chip.private", {}, icon("lock"), "Only you can see this"),
        h("p", {}, "A suggestion from your own mailbox. Nobody else sees it, not even that it is there."),
        h("p.chip.shared", {}, icon("people"), "Tracked"),
        h("p", {}, "Somebody has shared it: everyone who can read the record sees it, with its text."),
      ),
    );
  }

  ended() {
    if (this.over) return;
    this.close();
    this.signin.forget();
    welcome(this.signin, SESSION_ENDED);
  }

  leave() {
    this.close();
    this.signin.signOut();
  }

  close() {
    this.over = true;
    this.timeline?.stop();
    this.records.stop();
    removeEventListener("hashchange", this.routed);
  }
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function start() {
  const signin = new SignIn(await reachable(async () => (await fetch("/config.json")).json()));
  try {
    if (!(await reachable(() => signin.arrive()))) return welcome(signin, null);
    const me = await new Api(signin).get("/me");
    return new Page(signin, me);
  } catch (error) {
    if (error instanceof SignInFailed) return welcome(signin, error.message);
    if (error instanceof Problem && error.what === "session") return signin.fresh ? welcome(signin, notLetIn(error.message), true) : welcome(signin, SESSION_ENDED);
    throw error;
  }
}

for (let page = null; page === null; ) {
  try {
    page = (await start()) ?? true;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    waiting(AWAY);
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
}
