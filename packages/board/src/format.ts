/** Values as people read them. */

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "narrow" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const dayAndYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** How long ago `at` (Unix milliseconds) was, roughly. */
export function ago(at: number, now: number = Date.now()): string {
  const passed = Math.max(0, now - at);
  if (passed < MINUTE_MS) return "just now";
  if (passed < HOUR_MS) return relative.format(-Math.floor(passed / MINUTE_MS), "minute");
  if (passed < DAY_MS) return relative.format(-Math.floor(passed / HOUR_MS), "hour");
  return relative.format(-Math.floor(passed / DAY_MS), "day");
}

/** A day, with its year when that is not this one. */
export function formatDay(date: Date): string {
  return (date.getFullYear() === new Date().getFullYear() ? day : dayAndYear).format(date);
}

export function formatMoment(date: Date): string {
  return moment.format(date);
}

/** `date` in the form of an `<input type="date">`, in local time. */
export function toDateInput(date: Date): string {
  const pad = (part: number): string => String(part).padStart(2, "0");
  return `${String(date.getFullYear()).padStart(4, "0")}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

/** The local midnight that an `<input type="date">` names, null when it is empty. */
export function fromDateInput(value: string): Date | null {
  const date = new Date(`${value}T00:00`);
  return Number.isNaN(date.getTime()) ? null : date;
}

/** Whether the day of `due` is over, is today or tomorrow, or lies ahead. */
export function dueState(due: Date): "over" | "soon" | "ahead" {
  const end = new Date(due.getFullYear(), due.getMonth(), due.getDate() + 1).getTime();
  const left = end - Date.now();
  return left < 0 ? "over" : left < 2 * DAY_MS ? "soon" : "ahead";
}

/** Up to two letters for a person's picture. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  return words
    .slice(0, 2)
    .map((word) => String.fromCodePoint(word.codePointAt(0) ?? 0x20))
    .join("")
    .trim()
    .toUpperCase();
}

/** One of `count` numbers, always the same for one text. */
export function pick(text: string, count: number): number {
  let sum = 7;
  for (const char of text) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 104_729;
  return sum % count;
}

/** What went wrong, in the words of whoever noticed. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** "1 card", "2 cards". */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
