// A stream of changes, of a record or of her own. EventSource cannot send a token, so the stream is read here.

import { Problem } from "./api.js";

const FIRST = 300, MOST = 5_000; // ms between two attempts
const SILENT = 40_000; // ms; the server says something every 15 s

// Calls changed() after each (re)connection and each change; state("live" | "waiting") as it comes and goes. Answers how to stop.
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
        await listen();
      } catch (error) {
        if (error instanceof Problem && error.what === "session") stopped = true;
        if (error instanceof Problem && error.what === "missing") pause = MOST;
      }
      if (stopped) return;
      state("waiting");
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, pause * (0.75 + Math.random() / 2));
      });
      pause = Math.min(MOST, pause * 2);
      changed(); // whatever the matter is, the timeline itself says it best
    }
  })();

  const online = () => {
    pause = FIRST;
    wake?.();
  };
  addEventListener("online", online);
  return () => {
    stopped = true;
    removeEventListener("online", online);
    abort?.abort();
    wake?.();
  };
}
