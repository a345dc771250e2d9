// The entry point, which index.html loads: completes the sign-in and shows the welcome or the page.

import { Api, ApiError, withNetworkErrors } from "./api.js";
import { Page } from "./page.js";
import { SignIn, SignInError } from "./sign-in.js";
import { accountRefused, SIGNED_OUT, UNREACHABLE } from "./texts.js";
import { showUnreachable, showWelcome } from "./welcome.js";

const RETRY_DELAY = 2_000; // ms between two attempts to reach the server at the start
const root = document.getElementById("app");

// The address names the open record, so the skip link must not change it.
document.querySelector(".skip-link").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});

async function start() {
  const signIn = new SignIn(await withNetworkErrors(async () => (await fetch("/config.json")).json()));
  try {
    if (!(await withNetworkErrors(() => signIn.complete()))) return showWelcome(root, signIn);
    new Page(root, signIn, await new Api(signIn).me());
  } catch (error) {
    if (error instanceof SignInError) showWelcome(root, signIn, { problem: error.message });
    else if (!(error instanceof ApiError && error.kind === "signed-out")) throw error;
    else if (signIn.justSignedIn)
      showWelcome(root, signIn, { problem: accountRefused(error.message), chooseAccount: true });
    else showWelcome(root, signIn, { problem: SIGNED_OUT });
  }
}

for (let started = false; !started; ) {
  try {
    await start();
    started = true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showUnreachable(root, UNREACHABLE);
    await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY));
  }
}
