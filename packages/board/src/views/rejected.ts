/** Changes that the server refused: why, what they were, and what to do with them. */
import { SHARED_STORES } from "../data.ts";
import { h } from "../dom.ts";
import { ago } from "../format.ts";
import { isRow } from "../model.ts";
import type { Session } from "../session.ts";
import type { RejectedEntry } from "../sync-api.ts";
import { openList } from "./dialog.ts";
import { documentName, fieldName, showValue, toPlain } from "./values.ts";

type Rejected = RejectedEntry["documents"][number];

/** The fields of the refused document that differ from what the board holds. */
async function documentView(session: Session, { store, key, mine }: Rejected): Promise<HTMLElement> {
  const shared = SHARED_STORES.find((name) => name === store);
  const [current] = shared ? await session.board.read([{ store: shared, key }]) : [];
  const name = h("h4", {}, documentName(session.model, store, key, mine));
  if (mine === undefined) return h("div", "refused", name, h("p", "note", "You deleted it."));
  if (!isRow(mine)) return h("div", "refused", name, h("pre", {}, toPlain(mine)));
  const old = isRow(current) ? current : {};
  const fields = Object.keys(mine).filter((field) => field !== "id" && toPlain(mine[field]) !== toPlain(old[field]));
  const rows = fields.map((field) =>
    h("div", {}, h("dt", {}, fieldName([field])), h("dd", {}, showValue(session.model, field, mine[field]))),
  );
  const same = rows.length === 0 && h("p", "note", "The board shows the same content.");
  return h("div", "refused", name, same || h("dl", "fields", ...rows));
}

async function entryView(session: Session, entry: RejectedEntry, redraw: () => Promise<void>): Promise<HTMLElement> {
  const documents = await Promise.all(entry.documents.map((document) => documentView(session, document)));
  const act = async (action: () => Promise<void>): Promise<void> => {
    await session.run(action);
    await redraw();
  };
  const { sync } = session.connection;
  const retry = { class: "button is-primary", testid: "rejected-retry" };
  const discard = { class: "button", testid: "rejected-discard" };
  return h(
    "article",
    { class: "entry", testid: "rejected" },
    h(
      "header",
      "entry-head",
      h("h3", {}, entry.message || "Rejected"),
      h("p", "note", `${entry.code} · ${ago(entry.at)}`),
    ),
    ...documents,
    h(
      "div",
      "row",
      h("button", { ...retry, onclick: () => void act(() => sync.retry(entry.id)) }, "Try again"),
      h("button", { ...discard, onclick: () => void act(() => sync.discard(entry.id)) }, "Discard"),
    ),
  );
}

/** Opens the drawer of rejected changes; it stays up to date while it is open. */
export function openRejected(session: Session): void {
  const { sync } = session.connection;
  const stop = sync.on("rejected", () => void draw());
  const draw = openList(
    { title: "Rejected changes", testid: "rejected-drawer", kind: "sheet", icon: "alert", onClose: stop },
    {
      title: "Nothing was rejected",
      text: "Changes that the rules of the server forbid are kept here, with the reason.",
    },
    async () => Promise.all((await sync.rejected()).map((entry) => entryView(session, entry, () => draw()))),
  );
  void draw();
}
