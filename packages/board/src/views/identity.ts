/** Who uses this window, and windows for other people. */
import { h } from "../dom.ts";
import { rememberName } from "../identity.ts";
import type { Session } from "../session.ts";
import { avatar } from "./card-face.ts";
import { openPopover } from "./menu.ts";

const SUGGESTED = ["Ann", "Ben", "Chloé", "Dmitri"] as const;

/** Becomes `name` in this window. Unsent changes would be sent under the wrong name, so they go first. */
async function become(session: Session, name: string): Promise<void> {
  const { sync, mode } = session.connection;
  if (!name || name === session.who.name) return;
  if (mode === "synced") {
    if (sync.status.pending > 0) {
      session.voice.problem(
        `Some changes are not sent yet. Go online and wait, so that they are sent as ${session.who.name}.`,
      );
      return;
    }
    // Another person may see other documents: nothing of the former one stays on the device.
    await sync.signOut({ wipe: true });
  }
  rememberName(name);
  const address = new URL(location.href);
  address.searchParams.delete("as");
  location.assign(address);
}

/** Opens a window that is a second person: it has a local database of its own. */
function openAs(name: string): void {
  const address = new URL(location.href);
  address.searchParams.set("as", name);
  open(address, "_blank", "noopener");
}

export function openIdentity(session: Session, anchor: HTMLElement): void {
  const { who } = session;
  const field = h("input", {
    class: "field",
    value: who.name,
    maxlength: 40,
    id: "who",
    autocomplete: "off",
    testid: "identity-name",
  });
  const form = h(
    "form",
    {
      class: "row",
      onsubmit: (event) => {
        event.preventDefault();
        panel.hidePopover();
        become(session, field.value.trim()).catch((error: unknown) => session.failed(error));
      },
    },
    field,
    h("button", { class: "button is-primary", type: "submit", testid: "identity-save" }, "Use this name"),
  );
  const others = SUGGESTED.filter((name) => name !== who.name).map((name) =>
    h("button", { class: "person", onclick: () => openAs(name) }, avatar(name), name),
  );
  const second = h(
    "div",
    {},
    h("h3", {}, "Open a window as someone else"),
    h("p", "note", "It has its own copy of the board, as on another device."),
    h("div", "people", ...others),
  );
  const panel = h(
    "div",
    { class: "panel", role: "dialog", "aria-label": "Who are you?", testid: "identity-panel" },
    h("label", { class: "heading", for: "who" }, "Your name"),
    form,
    session.connection.mode === "synced" && second,
  );
  openPopover(panel, anchor);
  field.focus();
}
