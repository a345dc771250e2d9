// Formats dates and times in the user's language and time zone. The timeline and its tiles call it.

const LOCALE = navigator.languages?.length ? [...navigator.languages] : undefined;
const formatter = (options) => new Intl.DateTimeFormat(LOCALE, options);
const DAY_AND_MONTH = { weekday: "long", day: "numeric", month: "long" };
const TIME = { hour: "2-digit", minute: "2-digit" };
const FULL_DATE = { weekday: "short", day: "numeric", month: "short", year: "numeric" };

const timeFormat = formatter(TIME);
const dayFormat = formatter(DAY_AND_MONTH);
const dayAndYearFormat = formatter({ ...DAY_AND_MONTH, year: "numeric" });
const shortFormat = formatter({ day: "numeric", month: "short", ...TIME });
const fullFormat = formatter({ ...FULL_DATE, ...TIME, timeZoneName: "short" });
const utcDayFormat = formatter({ ...FULL_DATE, timeZone: "UTC" });
const relativeFormat = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto" });

export const formatTime = (timestamp) => timeFormat.format(new Date(timestamp));
export const formatShort = (timestamp) => shortFormat.format(new Date(timestamp));
export const formatFull = (timestamp) => fullFormat.format(new Date(timestamp));
export const formatTimeRange = (start, end) => timeFormat.formatRange(new Date(start), new Date(end));
export const formatFullRange = (start, end) => fullFormat.formatRange(new Date(start), new Date(end));
// An all-day meeting has no time zone: its days are those of UTC, and its end is exclusive.
export const formatAllDayRange = (start, end) =>
  utcDayFormat.formatRange(new Date(start), new Date(Math.max(new Date(start), new Date(end) - 1)));

// Midnight, in the user's time zone, of the day of a timestamp.
export function startOfDay(timestamp, allDay) {
  const date = new Date(timestamp);
  return allDay
    ? new Date(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate())
    : new Date(date.getFullYear(), date.getMonth(), date.getDate());
}

// {relative: "Today" or null, date: "Wednesday 25 November", upcoming: whether the day is after today}
export function dayHeading(day, now = new Date()) {
  const distance = Math.round((day - startOfDay(now)) / 86_400_000);
  const relative = Math.abs(distance) <= 1 ? relativeFormat.format(distance, "day") : null;
  const date = (day.getFullYear() === now.getFullYear() ? dayFormat : dayAndYearFormat).format(day);
  return { relative: relative && relative[0].toLocaleUpperCase() + relative.slice(1), date, upcoming: distance > 0 };
}
