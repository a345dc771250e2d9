// Sign-in by authorization code with PKCE (RFC 7636) at the authority, and the access token of the session.
// The tokens are only in this tab's sessionStorage. app.js creates it; api.js reads and renews the token.

import { RESPONSE_TIMEOUT } from "./api.js";

const SESSION = "timeline.session";
const FLOW = "timeline.sign-in";
const RENEW_BEFORE_EXPIRY = 60; // seconds

const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const randomValue = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const sha256 = async (text) => base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
const now = () => Date.now() / 1000;

function tokenClaims(token) {
  const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

export class SignInError extends Error {}

export class SignIn {
  constructor(config) {
    this.config = config;
    this.url = `${config.authority}/${config.tenant}/oauth2/v2.0`;
    this.home = `${location.origin}/`;
    this.session = JSON.parse(sessionStorage.getItem(SESSION) ?? "null");
    this.renewing = null;
    this.justSignedIn = false;
  }

  // Completes the sign-in if the authority redirected the browser back here. Returns whether a user is signed in.
  async complete() {
    const query = new URLSearchParams(location.search);
    if (query.has("state") && (query.has("code") || query.has("error"))) {
      const flow = JSON.parse(sessionStorage.getItem(FLOW) ?? "null");
      sessionStorage.removeItem(FLOW);
      history.replaceState(null, "", `/${flow?.hash ?? ""}`);
      if (!flow || flow.state !== query.get("state"))
        throw new SignInError("This sign-in was not started in this tab. Please sign in again.");
      if (query.has("error"))
        throw new SignInError(`You are not signed in: ${query.get("error_description") ?? query.get("error")}`);
      const form = {
        grant_type: "authorization_code",
        code: query.get("code"),
        redirect_uri: this.home,
        code_verifier: flow.verifier,
      };
      await this.#requestTokens(form, flow.nonce);
      this.justSignedIn = true;
    }
    return this.session !== null;
  }

  // chooseAccount: the authority shows its list of accounts, even if it has a session of this user.
  async start(chooseAccount = false) {
    const flow = { verifier: randomValue(), state: randomValue(), nonce: randomValue(), hash: location.hash };
    sessionStorage.setItem(FLOW, JSON.stringify(flow));
    const query = {
      client_id: this.config.client_id,
      response_type: "code",
      redirect_uri: this.home,
      scope: this.config.scope,
      state: flow.state,
      nonce: flow.nonce,
      code_challenge: await sha256(flow.verifier),
      code_challenge_method: "S256",
      ...(chooseAccount ? { prompt: "select_account" } : {}),
    };
    location.assign(`${this.url}/authorize?${new URLSearchParams(query)}`);
  }

  // A valid access token; null if the session has ended.
  // Throws TypeError or DOMException if the authority is unreachable.
  async token() {
    if (this.session && this.session.expires - RENEW_BEFORE_EXPIRY < now()) await this.renew();
    return this.session?.token ?? null;
  }

  // Renews the access token; concurrent callers share one request.
  async renew() {
    this.renewing ??= this.#refresh().finally(() => (this.renewing = null));
    return this.renewing;
  }

  forget() {
    this.session = null;
    sessionStorage.removeItem(SESSION);
  }

  signOut() {
    this.forget();
    location.assign(`${this.url}/logout?${new URLSearchParams({ post_logout_redirect_uri: this.home })}`);
  }

  async #refresh() {
    const refresh = this.session?.refresh;
    try {
      if (!refresh) throw new SignInError("no refresh token");
      await this.#requestTokens({ grant_type: "refresh_token", refresh_token: refresh, scope: this.config.scope });
    } catch (error) {
      if (!(error instanceof SignInError)) throw error;
      this.forget();
    }
  }

  async #requestTokens(form, nonce) {
    const response = await fetch(`${this.url}/token`, {
      method: "POST",
      body: new URLSearchParams({ client_id: this.config.client_id, ...form }),
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(RESPONSE_TIMEOUT),
    });
    const tokens = await response.json().catch(() => ({}));
    if (response.status >= 500 || response.status === 429) throw new TypeError("the authority is busy");
    if (!response.ok) throw new SignInError(`You are not signed in: ${tokens.error_description ?? response.status}`);
    if (nonce !== undefined) {
      const claims = tokenClaims(tokens.id_token);
      if (claims.nonce !== nonce || claims.aud !== this.config.client_id)
        throw new SignInError("The authority's response does not match this sign-in. Please sign in again.");
    }
    this.session = {
      token: tokens.access_token,
      refresh: tokens.refresh_token ?? this.session?.refresh,
      expires: now() + tokens.expires_in,
    };
    sessionStorage.setItem(SESSION, JSON.stringify(this.session));
  }
}
