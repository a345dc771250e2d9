// Sign-in by authorization code with PKCE (RFC 7636) at the authority, and the tokens that come of it.
// They live in this tab's sessionStorage and nowhere else.

import { PATIENCE } from "./api.js";

const SESSION = "timeline.session";
const FLOW = "timeline.sign-in";
const EARLY = 60; // seconds before its end in which a token is renewed

const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const digest = async (text) => base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
const now = () => Date.now() / 1000;

function claims(token) {
  const bytes = Uint8Array.from(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

export class SignInFailed extends Error {}

export class SignIn {
  constructor(config) {
    this.config = config;
    this.url = `${config.authority}/${config.tenant}/oauth2/v2.0`;
    this.home = `${location.origin}/`;
    this.session = JSON.parse(sessionStorage.getItem(SESSION) ?? "null");
    this.renewing = null;
    this.fresh = false; // whether she has only just signed in
  }

  // Takes what the authority sent back with the browser, if it did; answers whether somebody is signed in.
  async arrive() {
    const back = new URLSearchParams(location.search);
    if (back.has("state") && (back.has("code") || back.has("error"))) {
      const flow = JSON.parse(sessionStorage.getItem(FLOW) ?? "null");
      sessionStorage.removeItem(FLOW);
      history.replaceState(null, "", `/${flow?.hash ?? ""}`);
      if (!flow || flow.state !== back.get("state")) throw new SignInFailed("That sign-in was not begun in this tab. Please sign in again.");
      if (back.has("error")) throw new SignInFailed(`You were not signed in: ${back.get("error_description") ?? back.get("error")}`);
      await this.redeem({ grant_type: "authorization_code", code: back.get("code"), redirect_uri: this.home, code_verifier: flow.verifier }, flow.nonce);
      this.fresh = true;
    }
    return this.session !== null;
  }

  // another: also where the authority knows already who she is, it asks which account she wants.
  async begin(another = false) {
    const flow = { verifier: random(), state: random(), nonce: random(), hash: location.hash };
    sessionStorage.setItem(FLOW, JSON.stringify(flow));
    const asked = {
      client_id: this.config.client_id,
      response_type: "code",
      redirect_uri: this.home,
      scope: this.config.scope,
      state: flow.state,
      nonce: flow.nonce,
      code_challenge: await digest(flow.verifier),
      code_challenge_method: "S256",
      ...(another ? { prompt: "select_account" } : {}),
    };
    location.assign(`${this.url}/authorize?${new URLSearchParams(asked)}`);
  }

  // A token that is still good; null where the session has ended. Throws TypeError or DOMException where the authority cannot be reached.
  async token() {
    if (this.session && this.session.ends - EARLY < now()) await this.renew();
    return this.session?.token ?? null;
  }

  // A new token for the old one, once however many ask.
  async renew() {
    this.renewing ??= this.refresh().finally(() => (this.renewing = null));
    return this.renewing;
  }

  async refresh() {
    const refresh = this.session?.refresh;
    try {
      if (!refresh) throw new SignInFailed("no refresh token");
      await this.redeem({ grant_type: "refresh_token", refresh_token: refresh, scope: this.config.scope });
    } catch (error) {
      if (!(error instanceof SignInFailed)) throw error;
      this.forget();
    }
  }

  async redeem(form, nonce) {
    const body = new URLSearchParams({ client_id: this.config.client_id, ...form });
    const answer = await fetch(`${this.url}/token`, { method: "POST", body, credentials: "omit", redirect: "error", signal: AbortSignal.timeout(PATIENCE) });
    const got = await answer.json().catch(() => ({}));
    if (answer.status >= 500 || answer.status === 429) throw new TypeError("the authority is busy");
    if (!answer.ok) throw new SignInFailed(`You were not signed in: ${got.error_description ?? answer.status}`);
    if (nonce !== undefined) {
      const who = claims(got.id_token);
      if (who.nonce !== nonce || who.aud !== this.config.client_id) throw new SignInFailed("The authority's answer is not to our question. Please sign in again.");
    }
    this.session = { token: got.access_token, refresh: got.refresh_token ?? this.session?.refresh, ends: now() + got.expires_in };
    sessionStorage.setItem(SESSION, JSON.stringify(this.session));
  }

  forget() {
    this.session = null;
    sessionStorage.removeItem(SESSION);
  }

  signOut() {
    this.forget();
    location.assign(`${this.url}/logout?${new URLSearchParams({ post_logout_redirect_uri: this.home })}`);
  }
}
