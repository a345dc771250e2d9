// The timeline API, and what its errors mean for the page.

const ROOT = "/api/v1";
export const PATIENCE = 20_000; // ms for an answer: a network that went away in silence says nothing for minutes

// what: offline, away, session, missing, refused (with its code)
export class Problem extends Error {
  constructor(what, message = what, code = null) {
    super(message);
    this.what = what;
    this.code = code;
  }
}

export const recordPath = ({ type, id }) => `/records/${encodeURIComponent(type)}/${encodeURIComponent(id)}`;

export class Api {
  constructor(signin) {
    this.signin = signin;
  }

  get(path, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
    return this.ask("GET", given.length ? `${path}?${new URLSearchParams(given)}` : path);
  }

  async ask(method, path, body) {
    const answer = await this.fetch(method, path, { body });
    return answer.status === 204 ? null : await reachable(() => answer.json());
  }

  // The answer, if it is a good one; a token that is no longer taken is renewed once. Who gives no signal of its own waits for so long.
  async fetch(method, path, { body, signal = AbortSignal.timeout(PATIENCE) } = {}) {
    let refused;
    for (let renewed = false; ; renewed = true) {
      const token = await reachable(() => this.signin.token());
      if (!token) throw new Problem("session", refused);
      const headers = { Authorization: `Bearer ${token}`, ...(body ? { "Content-Type": "application/json" } : {}) };
      const answer = await reachable(() => fetch(ROOT + path, { method, headers, body: body ? JSON.stringify(body) : undefined, signal, credentials: "omit", cache: "no-store" }));
      if (answer.status === 401 && !renewed) {
        refused = (await answer.json().catch(() => ({}))).detail;
        await reachable(() => this.signin.renew());
        continue;
      }
      if (answer.ok) return answer;
      const why = await answer.json().catch(() => ({}));
      if (answer.status === 401) this.signin.forget();
      const what = { 401: "session", 404: "missing" }[answer.status] ?? (answer.status >= 500 ? "away" : "refused");
      throw new Problem(what, why.detail, why.code);
    }
  }
}

// What the network does, as a Problem; a fault of ours stays what it is.
export async function reachable(act) {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof SyntaxError || error instanceof DOMException)) throw error;
    throw new Problem(navigator.onLine ? "away" : "offline");
  }
}
