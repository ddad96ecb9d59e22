/** The state of synchronisation: the pill, the offline switch, and what waits for the person. */
import { fill, h, icon } from "../dom.ts";
import { ago, plural } from "../format.ts";
import type { Session } from "../session.ts";
import type { Status } from "../sync-api.ts";
import { openConflicts } from "./conflicts.ts";
import { openPopover } from "./menu.ts";
import { openRejected } from "./rejected.ts";

/** How often the ages on display are renewed. */
const TICK_MS = 15_000;

type Tone = "good" | "busy" | "away" | "bad";

/** The state as a tone, a word or two, and an explanation. */
type Reading = readonly [tone: Tone, text: string, explanation: string];

/** The state in words. */
function read(status: Status, local: boolean): Reading {
  const error = status.error;
  if (error && !error.retryable) return ["bad", "Sync stopped", error.message];
  if (local) {
    return status.online
      ? ["good", "This device", "The board stays in this browser; its tabs share it."]
      : ["away", "Paused", "Other tabs are told of your changes when you switch back on."];
  }
  switch (status.phase) {
    case "starting":
      return ["busy", "Starting", "The sync engine is starting."];
    case "offline":
      return ["away", "Offline", "Your changes are safe here and are sent when you are online."];
    case "connecting":
      return ["busy", "Connecting", error?.message ?? "Looking for the server."];
    case "catching-up":
      return ["busy", "Catching up", "Fetching what others changed."];
    case "live":
      return status.pending > 0
        ? ["busy", "Sending", "Your changes are on their way."]
        : ["good", "Synced", "Everything is on the server, changes arrive as they happen."];
    case "stopped":
      return ["bad", "Stopped", error?.message ?? "The sync engine has stopped. Reload the page."];
  }
}

export class SyncStatus {
  readonly element: HTMLElement;
  readonly #session: Session;
  readonly #text = h("span", { class: "pill-text", testid: "status-phase" });
  readonly #age = h("span", { class: "pill-age", testid: "last-synced" });
  readonly #pill: HTMLButtonElement;
  readonly #toggle: HTMLButtonElement;
  readonly #pending = h("span", { class: "count", testid: "pending-count" });
  readonly #rejected: HTMLButtonElement;
  readonly #conflicts: HTMLButtonElement;
  #spoken = "";

  constructor(session: Session) {
    this.#session = session;
    this.#pill = h(
      "button",
      { class: "pill", testid: "status-pill", "aria-haspopup": "dialog", onclick: () => this.#openPanel() },
      h("span", "dot"),
      this.#text,
      this.#age,
    );
    this.#toggle = h(
      "button",
      { class: "switch", role: "switch", testid: "offline-switch", onclick: () => this.#flip() },
      h("span", "switch-track"),
      "Online",
    );
    this.#rejected = this.#counter("rejected-button", () => openRejected(session));
    this.#conflicts = this.#counter("conflicts-button", () => openConflicts(session));
    this.element = h(
      "div",
      { class: "sync", role: "group", "aria-label": "Synchronisation" },
      this.#pill,
      this.#toggle,
      this.#pending,
      this.#rejected,
      this.#conflicts,
    );
    session.connection.sync.on("status", () => this.#draw());
    setInterval(() => this.#draw(), TICK_MS);
    this.#draw();
  }

  #counter(testid: string, open: () => void): HTMLButtonElement {
    return h("button", { class: "count is-button", testid: testid, onclick: open });
  }

  get #local(): boolean {
    return this.#session.connection.mode === "local";
  }

  #draw(): void {
    const { status } = this.#session.connection.sync;
    const [tone, text, explanation] = read(status, this.#local);
    this.#pill.dataset["tone"] = tone;
    this.#pill.dataset["phase"] = status.phase;
    this.#pill.title = explanation;
    fill(this.#text, text);
    fill(this.#age, status.lastSyncedAt !== null && ago(status.lastSyncedAt));
    this.#toggle.setAttribute("aria-checked", String(status.online));
    fill(this.#pending, String(status.pending), h("span", "count-name", " pending"));
    this.#pending.title = `${plural(status.pending, "change")} not yet on the server`;
    this.#pending.classList.toggle("is-busy", status.pending > 0);
    this.#drawCounter(this.#rejected, "alert", status.rejected, "rejected");
    this.#drawCounter(this.#conflicts, "merge", status.conflicts, "conflicts");
    if (this.#spoken && this.#spoken !== text) this.#session.voice.announce(`${text}. ${explanation}`);
    this.#spoken = text;
  }

  #drawCounter(button: HTMLButtonElement, mark: "alert" | "merge", count: number, name: string): void {
    fill(
      button,
      icon(mark),
      h("span", { testid: `${name}-count` }, String(count)),
      h("span", "count-name", ` ${name}`),
    );
    button.classList.toggle("is-waiting", count > 0);
  }

  #flip(): void {
    const { sync } = this.#session.connection;
    if (sync.status.online) sync.goOffline();
    else sync.goOnline();
    this.#draw();
  }

  #openPanel(): void {
    const { status } = this.#session.connection.sync;
    const [, text, explanation] = read(status, this.#local);
    const fact = (name: string, value: string): HTMLElement => h("div", {}, h("dt", {}, name), h("dd", {}, value));
    const oldest = status.oldestPendingMs === null ? "" : `, oldest ${ago(Date.now() - status.oldestPendingMs)}`;
    const panel = h(
      "div",
      { class: "panel", role: "dialog", "aria-label": "Synchronisation", testid: "sync-panel" },
      h("h3", {}, text),
      h("p", "note", explanation),
      h(
        "dl",
        "facts",
        fact("Not yet sent", `${plural(status.pending, "change")}${oldest}`),
        fact("Last synced", status.lastSyncedAt === null ? "never" : ago(status.lastSyncedAt)),
        fact("Database", this.#session.connection.database),
        !this.#local && fact("This tab", status.leader ? "runs the sync engine" : "follows another tab"),
        status.error && fact("Last error", `${status.error.message} (${status.error.code})`),
      ),
    );
    panel.tabIndex = -1;
    openPopover(panel, this.#pill);
    panel.focus();
  }
}
