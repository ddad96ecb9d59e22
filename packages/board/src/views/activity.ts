/** What happened on this device, latest first. */
import { h } from "../dom.ts";
import { ago } from "../format.ts";
import type { Session } from "../session.ts";
import { openCard } from "./card-dialog.ts";
import { openList } from "./dialog.ts";

export function openActivity(session: Session): void {
  const draw = openList(
    { title: "Activity", testid: "activity", kind: "sheet", icon: "history" },
    { title: "Nothing yet", text: "Your changes and those of others appear here. This list stays on this device." },
    async (dialog) => {
      const entries = await session.board.activity();
      const open = (card: string): void => {
        dialog.close();
        openCard(session, card);
      };
      return entries.map(({ text, at, card, mine }) => {
        const known = card !== null && session.model.cards.has(card);
        const what = known ? h("button", { class: "link", onclick: () => open(card) }, text) : text;
        const note = h("p", "note", `${mine ? "You" : "Others"} · ${ago(at.getTime())}`);
        return h("div", { class: "happened", testid: "activity-entry" }, what, note);
      });
    },
  );
  void draw();
}
