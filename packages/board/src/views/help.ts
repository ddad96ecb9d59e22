/** The sheet of keys, opened by "?". */
import { h } from "../dom.ts";
import { openDialog } from "./dialog.ts";

const KEYS: readonly (readonly [string, readonly (readonly [string, string])[]])[] = [
  [
    "On the board",
    [
      ["← ↑ → ↓", "Move among the cards"],
      ["Home End", "First and last card of the list"],
      ["Enter", "Open the card"],
      ["Space", "Pick the card up"],
      ["V", "Vote for the card"],
      ["X", "Mark the card as done, or not done"],
      ["Delete", "Delete the card"],
    ],
  ],
  [
    "With a card picked up",
    [
      ["← ↑ → ↓", "Move the card, also to another list"],
      ["Space", "Drop it"],
      ["Esc", "Put it back"],
    ],
  ],
  [
    "Anywhere",
    [
      ["N", "Add a card to the current list"],
      ["L", "Add a list"],
      ["/", "Search"],
      ["?", "This sheet"],
      ["Alt ↑ ↓", "In a checklist: move the step"],
      ["Esc", "Close what is open"],
    ],
  ],
];

export function openHelp(): void {
  const groups = KEYS.map(([name, keys]) =>
    h(
      "section",
      "keys",
      h("h3", {}, name),
      h(
        "dl",
        {},
        ...keys.map(([key, what]) =>
          h("div", {}, h("dt", {}, ...key.split(" ").map((one) => h("kbd", {}, one))), h("dd", {}, what)),
        ),
      ),
    ),
  );
  openDialog({ title: "Keyboard", testid: "help" }, ...groups);
}
