// Moments in the reader's own language and time zone.

const LOCALE = navigator.languages?.length ? [...navigator.languages] : undefined;
const format = (options) => new Intl.DateTimeFormat(LOCALE, options);
const TIME = format({ hour: "2-digit", minute: "2-digit" });
const DAY = format({ weekday: "long", day: "numeric", month: "long" });
const DAY_OF_YEAR = format({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
const SHORT = format({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const FULL = format({ weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
const UTC_DAY = format({ weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const RELATIVE = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto" });

export const time = (moment) => TIME.format(new Date(moment));
export const short = (moment) => SHORT.format(new Date(moment));
export const full = (moment) => FULL.format(new Date(moment));
export const range = (start, end) => TIME.formatRange(new Date(start), new Date(end));
export const fullRange = (start, end) => FULL.formatRange(new Date(start), new Date(end));
// A whole day has no zone.
export const wholeDays = (start, end) => UTC_DAY.formatRange(new Date(start), new Date(Math.max(new Date(start), new Date(end) - 1)));

export function dayOf(moment, wholeDay) {
  const date = new Date(moment);
  return wholeDay ? new Date(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()) : new Date(date.getFullYear(), date.getMonth(), date.getDate());
}

// {near: "Today" or null, date: "Wednesday 25 November"}
export function dayTitle(day, now = new Date()) {
  const distance = Math.round((day - dayOf(now)) / 86_400_000);
  const near = Math.abs(distance) <= 1 ? RELATIVE.format(distance, "day") : null;
  const date = (day.getFullYear() === now.getFullYear() ? DAY : DAY_OF_YEAR).format(day);
  return { near: near && near[0].toLocaleUpperCase() + near.slice(1), date, upcoming: distance > 0 };
}
