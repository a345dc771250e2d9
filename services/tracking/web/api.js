// The client of the timeline API: one method for each route, and the errors that the page acts on.
// Every read and every change of data on the page goes through this module.

const ROOT = "/api/v1";
// ms; without a timeout, a network that fails silently gives no error for minutes
export const RESPONSE_TIMEOUT = 20_000;

// kind: "offline", "unreachable", "signed-out", "not-found", or "refused" (with the code of the error response)
export class ApiError extends Error {
  constructor(kind, detail = kind, code = null) {
    super(detail);
    this.kind = kind;
    this.code = code;
  }
}

const recordPath = ({ type, id }) => `/records/${encodeURIComponent(type)}/${encodeURIComponent(id)}`;
const suggestionPath = (key, item) => `${recordPath(key)}/suggestions/${encodeURIComponent(item)}`;
const trackedPath = (key, id) => `${recordPath(key)}/tracked/${id}`;

export class Api {
  constructor(signIn) {
    this.signIn = signIn;
  }

  me() {
    return this.#get("/me");
  }

  // The records that the user may read; q: a part of the name.
  records(q, limit) {
    return this.#get("/records", { q, limit });
  }

  // query: {kind, direction, limit, before}; before: `next` of the previous page of tracked activities.
  timeline(key, query) {
    return this.#get(`${recordPath(key)}/timeline`, query);
  }

  suggestionText(key, item) {
    return this.#get(`${suggestionPath(key, item)}/text`);
  }

  async trackedText(key, id) {
    return (await this.#get(trackedPath(key, id))).content;
  }

  track(key, item, confirmPrivate) {
    return this.#request("POST", `${suggestionPath(key, item)}/track`, { confirm_private: confirmPrivate });
  }

  dismiss(key, item) {
    return this.#request("PUT", `${suggestionPath(key, item)}/dismissal`);
  }

  undoDismissal(key, item) {
    return this.#request("DELETE", `${suggestionPath(key, item)}/dismissal`);
  }

  // by: the oid of the user whose entry an administrator removes; null for the caller's own entry.
  untrack(key, id, by = null) {
    return this.#request("DELETE", trackedPath(key, id) + (by === null ? "" : `?by=${encodeURIComponent(by)}`));
  }

  // The response of a stream of changes: of one record, or of the user's own suggestions where key is null.
  openStream(key, signal) {
    return this.#fetch("GET", `${key ? recordPath(key) : ""}/stream`, { signal });
  }

  #get(path, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
    return this.#request("GET", given.length ? `${path}?${new URLSearchParams(given)}` : path);
  }

  async #request(method, path, body) {
    const response = await this.#fetch(method, path, { body });
    return response.status === 204 ? null : await withNetworkErrors(() => response.json());
  }

  // A successful response; an access token that is refused is renewed once. A caller without a signal gets the timeout.
  async #fetch(method, path, { body, signal = AbortSignal.timeout(RESPONSE_TIMEOUT) } = {}) {
    let refusal;
    for (let renewed = false; ; renewed = true) {
      const token = await withNetworkErrors(() => this.signIn.token());
      if (!token) throw new ApiError("signed-out", refusal);
      const headers = { Authorization: `Bearer ${token}` };
      if (body) headers["Content-Type"] = "application/json";
      const options = { method, headers, signal, credentials: "omit", cache: "no-store" };
      if (body) options.body = JSON.stringify(body);
      const response = await withNetworkErrors(() => fetch(ROOT + path, options));
      if (response.ok) return response;
      const { detail, code } = await readProblem(response);
      if (response.status === 401 && !renewed) {
        refusal = detail;
        await withNetworkErrors(() => this.signIn.renew());
        continue;
      }
      if (response.status === 401) this.signIn.forget();
      throw new ApiError(errorKind(response.status), detail, code);
    }
  }
}

const errorKind = (status) =>
  ({ 401: "signed-out", 404: "not-found" })[status] ?? (status >= 500 ? "unreachable" : "refused");

// The body of an error response; detail and code are undefined where the body is not JSON.
async function readProblem(response) {
  const { detail, code } = await response.json().catch(() => ({}));
  return { detail, code };
}

// Converts a network failure to an ApiError; an error in the page's own code passes unchanged.
export async function withNetworkErrors(operation) {
  try {
    return await operation();
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof SyntaxError || error instanceof DOMException)) throw error;
    throw new ApiError(navigator.onLine ? "unreachable" : "offline");
  }
}
