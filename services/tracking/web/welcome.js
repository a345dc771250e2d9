// What a user sees before the sign-in: the welcome with its button, or that the server is unreachable.
// app.js calls it at the start, page.js when the session ends.

import { button, h, icon } from "./dom.js";

export const logo = () =>
  h("span.brand", {}, h("img", { src: "/page/icon.svg", alt: "", width: "28", height: "28" }), "Timeline");

// problem: why the user is not signed in.
// chooseAccount: whether the account of the authority's session is refused here.
export function showWelcome(root, signIn, { problem = null, chooseAccount = false } = {}) {
  document.body.dataset.view = "welcome";
  document.title = "Sign in · Timeline";
  const label = chooseAccount ? "Sign in with another account" : "Sign in";
  const start = button("sign-in", label, () => signIn.start(chooseAccount), { look: "primary" });
  root.replaceChildren(
    h(
      "main.welcome",
      { id: "main", tabindex: "-1" },
      logo(),
      h("h1", {}, "E-mails and meetings, where they belong"),
      h(
        "p",
        {},
        "Your e-mails and meetings with customers appear on their records automatically. " +
          "Only you can see them, until you track them for your team.",
      ),
      problem ? h("p.error", { role: "alert" }, icon("alert"), problem) : null,
      start,
    ),
  );
  start.focus();
}

export function showUnreachable(root, { title, text }) {
  const main = { id: "main", tabindex: "-1" };
  root.replaceChildren(h("main.welcome", main, logo(), h("h1", {}, title), h("p", { role: "status" }, text)));
}
