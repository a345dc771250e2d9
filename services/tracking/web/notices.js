// The notices above a timeline, among them the reason why it is empty, and the line at its end.
// timeline.js calls both functions at each redraw.

import { button, h, icon, notice } from "./dom.js";
import * as texts from "./texts.js";

// entries: those that are shown.
export function timelineNotices(state, entries, clearFilters) {
  const { mailbox, empty, has_more, groups_missing, record } = state.response;
  const status = mailbox?.status ?? "not_enrolled";
  const notices = [];
  if (status === "enrolled") notices.push(...captureLimits(mailbox));
  else notices.push(notice("warning", texts.MAILBOX[status](mailbox?.reason)));
  const reasons = reasonsToExplain(entries, mailbox);
  if (reasons.length) notices.push(notice("warning", texts.notTracked(reasons)));
  if (groups_missing) notices.push(notice("warning", texts.GROUPS_MISSING));
  if (!entries.length && state.isFiltered) notices.push(noMatches(clearFilters));
  else if (!entries.length && (status === "enrolled" || !empty)) {
    const isFirstReading = status === "enrolled" && !mailbox.complete_as_of;
    notices.push(notice("empty", isFirstReading ? texts.FIRST_READING : texts.NOTHING));
  } else if (entries.some((entry) => entry.state === "untracked")) notices.push(legend(texts.recordName(record)));
  if (has_more) {
    const text = "Your 50 newest suggestions are shown; there are more. Track or dismiss some to see them.";
    notices.push(h("p.legend", {}, text));
  }
  return notices;
}

// What is captured late, or not at all, although the mailbox is enrolled.
function captureLimits({ refused_kinds, no_notifications }) {
  const limits = refused_kinds.map(texts.kindRefused);
  if (no_notifications) limits.push(texts.slowCapture(no_notifications));
  return limits.map(({ title, text }) => h("p.legend", {}, icon("alert"), h("span", {}, h("b", {}, title), text)));
}

// The reasons of failed tiles that no other notice explains, each once.
function reasonsToExplain(entries, mailbox) {
  const failed = entries.filter((entry) => entry.state === "failed").map((entry) => entry.data.reason);
  const explained = mailbox?.status === "blocked" ? mailbox.reason : undefined;
  return [...new Set(failed)].filter((reason) => texts.needsNotice(reason) && reason !== explained);
}

function noMatches(clearFilters) {
  const clear = button("clear", "Clear filters", clearFilters);
  return h("section.notice.empty", {}, h("h2", {}, texts.NO_MATCHES), clear);
}

function legend(record) {
  const effect = ` shares it with everyone who can open ${record}, text included.`;
  return h("p.legend", {}, icon("lock"), h("span", {}, "Dashed = private. ", h("b", {}, "Track"), effect));
}

export function timelineEnd(state, entries, showOlder) {
  const { next, has_more } = state.response;
  if (next && state.filters.state !== "own") return [button("older", "Older tracked activities", showOlder)];
  return entries.length && !has_more ? [h("p.muted", {}, "End of timeline")] : [];
}
