/** What was changed on two sides at once: mine, theirs, and what was kept. */
import { h } from "../dom.ts";
import { ago, formatMoment } from "../format.ts";
import type { Session } from "../session.ts";
import type { ConflictEntry } from "../sync-api.ts";
import { openList } from "./dialog.ts";
import { documentName, fieldName, showValue, toPlain } from "./values.ts";

const STRATEGIES: Readonly<Record<string, string>> = {
  "last-write": "the later write wins",
  "first-write": "the earlier write wins",
  newest: "the latest edit wins",
  sum: "both are added up",
  min: "the smaller one wins",
  max: "the larger one wins",
  union: "both are joined",
  text: "both texts are woven together",
  list: "both lists are joined by element",
  resolver: "decided by the application",
};

function entryView(session: Session, entry: ConflictEntry): HTMLElement {
  const field = entry.path[0];
  const outcome = toPlain(entry.outcome);
  const kept = { mine: toPlain(entry.mine) === outcome, theirs: toPlain(entry.theirs) === outcome };
  const side = (name: string, value: unknown, mark: string | null, testid: string): HTMLElement =>
    h(
      "div",
      { class: "side", "data-side": testid, testid: `conflict-${testid}` },
      h("h4", {}, name, mark !== null && h("span", "badge", mark)),
      h("div", "side-value", showValue(session.model, field, value)),
    );
  const strategy = STRATEGIES[entry.strategy];
  return h(
    "article",
    { class: "entry", testid: "conflict" },
    h(
      "header",
      "entry-head",
      h("h3", {}, documentName(session.model, entry.store, entry.key)),
      h("p", "note", `${fieldName(entry.path)} · with ${entry.by || "someone else"} · `, timeOf(entry.at)),
    ),
    h(
      "div",
      "sides",
      side("Mine", entry.mine, kept.mine && !kept.theirs ? "kept" : null, "mine"),
      side("Theirs", entry.theirs, kept.theirs && !kept.mine ? "kept" : null, "theirs"),
      side("Outcome", entry.outcome, !kept.mine && !kept.theirs ? "merged" : null, "outcome"),
    ),
    h(
      "details",
      {},
      h("summary", {}, strategy ? `How it was decided: ${strategy}` : `How it was decided: ${entry.strategy}`),
      h("p", "note", `Strategy “${entry.strategy}”. Before either change:`),
      h("div", "side-value", showValue(session.model, field, entry.base)),
    ),
  );
}

function timeOf(at: number): HTMLElement {
  const date = new Date(at);
  return h("time", { datetime: date.toISOString(), title: formatMoment(date) }, ago(at));
}

/** Opens the conflict view; it stays up to date while it is open. */
export function openConflicts(session: Session): void {
  const { sync } = session.connection;
  const stop = sync.on("conflict", () => void draw());
  const draw = openList(
    { title: "Conflicts", testid: "conflicts", kind: "wide", icon: "merge", onClose: stop },
    {
      title: "No conflicts",
      text: "When two people change the same field at once, both versions are kept here.",
    },
    async () => {
      const entries = await sync.conflicts();
      return entries.sort((a, b) => b.at - a.at).map((entry) => entryView(session, entry));
    },
  );
  void draw();
}
