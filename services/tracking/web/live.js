// A stream of changes, of a record or of her own. EventSource cannot send a token, so the stream is read here.

import { Problem } from "./api.js";

const FIRST = 300, MOST = 5_000; // ms between two attempts
const SILENT = 40_000; // ms; the server says something every 15 s

// Calls changed() after each (re)connection and each change; state("live" | "waiting") as it comes and goes. Answers how to stop.
// Nobody sees a hidden page, and a browser has few connections to one server: it holds none, and catches up when it is looked at.
export function follow(api, path, changed, state = () => {}) {
  let stopped = false, abort = null, wake = null, pause = FIRST;

  async function listen() {
    abort = new AbortController();
    let timer;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(), SILENT);
    };
    try {
      heard();
      const answer = await api.fetch("GET", path, { signal: abort.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ; ) {
        const { done, value } = await reader.read();
        if (done || stopped) return;
        heard();
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        if (events.some((event) => /^event: (ready|changed|gone)$/m.test(event))) {
          pause = FIRST;
          state("live");
          changed();
        }
      }
    } finally {
      clearTimeout(timer);
      abort.abort();
    }
  }

  (async () => {
    while (!stopped) {
      try {
        if (!document.hidden) await listen();
      } catch (error) {
        if (error instanceof Problem && error.what === "session") stopped = true;
        if (error instanceof Problem && error.what === "missing") pause = MOST;
      }
      if (stopped) return;
      state("waiting");
      await new Promise((resolve) => {
        wake = resolve;
        if (!document.hidden) setTimeout(resolve, pause * (0.75 + Math.random() / 2));
      });
      pause = Math.min(MOST, pause * 2);
      if (!stopped) changed(); // whatever the matter is, the timeline itself says it best
    }
  })();

  const anew = () => {
    pause = FIRST;
    abort?.abort();
    wake?.();
  };
  const events = [[window, "online"], [document, "visibilitychange"]];
  for (const [where, event] of events) where.addEventListener(event, anew);
  return () => {
    stopped = true;
    for (const [where, event] of events) where.removeEventListener(event, anew);
    anew();
  };
}
