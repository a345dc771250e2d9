// Follows a server-sent stream of changes, of one record or of the user's own suggestions. The timeline and the record
// list call followChanges. EventSource cannot send an access token, so this module reads the stream itself.

import { ApiError } from "./api.js";

const FIRST_RETRY_DELAY = 300, LONGEST_RETRY_DELAY = 5_000; // ms
const SILENCE_TIMEOUT = 40_000; // ms; the server sends at least one line every 15 s

// key: the record's, or null for the user's own changes. Returns the function that stops it.
// onChange() is called after each connection and each change; onState("live" | "waiting") when the connection changes.
// A hidden page holds no connection, because a browser has few connections to one server; it catches up when it is
// shown again.
export function followChanges(api, key, onChange, onState = () => {}) {
  let stopped = false, abort = null, wake = null, delay = FIRST_RETRY_DELAY;

  async function readStream() {
    abort = new AbortController();
    let timer;
    const restartTimer = () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(), SILENCE_TIMEOUT);
    };
    try {
      restartTimer();
      const response = await api.openStream(key, abort.signal);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ; ) {
        const { done, value } = await reader.read();
        if (done || stopped) return;
        restartTimer();
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        if (events.some((event) => /^event: (ready|changed|gone)$/m.test(event))) {
          delay = FIRST_RETRY_DELAY;
          onState("live");
          onChange();
        }
      }
    } finally {
      clearTimeout(timer);
      abort.abort();
    }
  }

  async function run() {
    while (!stopped) {
      try {
        if (!document.hidden) await readStream();
      } catch (error) {
        if (error instanceof ApiError && error.kind === "signed-out") stopped = true;
        if (error instanceof ApiError && error.kind === "not-found") delay = LONGEST_RETRY_DELAY;
      }
      if (stopped) return;
      onState("waiting");
      await new Promise((resolve) => {
        wake = resolve;
        if (!document.hidden) setTimeout(resolve, delay * (0.75 + Math.random() / 2));
      });
      delay = Math.min(LONGEST_RETRY_DELAY, delay * 2);
      if (!stopped) onChange(); // the next read of the data shows the error, if there is one
    }
  }

  const reconnect = () => {
    delay = FIRST_RETRY_DELAY;
    abort?.abort();
    wake?.();
  };
  const triggers = [[window, "online"], [document, "visibilitychange"]];
  for (const [target, event] of triggers) target.addEventListener(event, reconnect);
  run();
  return () => {
    stopped = true;
    for (const [target, event] of triggers) target.removeEventListener(event, reconnect);
    reconnect();
  };
}
