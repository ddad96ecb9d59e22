/** Starts the board: who, connection, database, page. */
import { openBoard } from "./data.ts";
import { fill, h } from "./dom.ts";
import { reasonOf } from "./format.ts";
import { currentIdentity } from "./identity.ts";
import { Session } from "./session.ts";
import { connect, type Connection } from "./sync.ts";
import { Shell } from "./views/shell.ts";
import { Toasts } from "./views/toasts.ts";

/** A message across the page that stays. */
function banner(text: string): void {
  const reload = { class: "button", onclick: () => location.reload() };
  document.body.prepend(
    h("div", { class: "banner", role: "alert", testid: "banner" }, text, h("button", reload, "Reload")),
  );
}

/** What whoever serves the board has to say to everybody (`public/index.html`); null when there is nothing. */
function notice(): HTMLElement | null {
  const text = document.querySelector<HTMLMetaElement>('meta[name="board-notice"]')?.content.trim();
  return text ? h("p", { class: "notice", role: "note", testid: "notice" }, text) : null;
}

async function start(root: HTMLElement): Promise<void> {
  const who = currentIdentity();
  const voice = new Toasts();
  document.body.append(voice.element, voice.speech);
  const connection = await connect(who);
  const board = await openBoard(connection.factory, connection.database, {
    onOutdated: () => banner("The board was updated in another window."),
    onBlocked: () => banner("Another window keeps an old version of the board open. Close it, then reload."),
  });
  if (who.guest) document.title = `${who.name} · Team board`;
  const session = new Session(board, connection, who, voice);
  new Shell(session, root);
  const note = notice();
  if (note) root.prepend(note);
  connection.sync.on("error", (error) => {
    if (!error.retryable) voice.problem(error.message);
  });
  if (connection.failure !== null)
    voice.problem(`Sync could not start, the board stays on this device: ${connection.failure}`);
  await session.refresh();
  keepShell(connection.mode);
}

/** Lets the page itself open without the server, too. The data never goes through the service worker. */
function keepShell(mode: Connection["mode"]): void {
  // Not in every browser mode, and only in secure contexts; the board works without it.
  if (mode === "synced") navigator.serviceWorker?.register("sw.js").catch(() => undefined);
}

const root = document.getElementById("app");
if (root) {
  start(root).catch((error: unknown) => {
    const retry = { class: "button is-primary", onclick: () => location.reload() };
    fill(
      root,
      h(
        "main",
        { class: "failed", role: "alert" },
        h("h1", {}, "The board could not be opened"),
        h("p", {}, reasonOf(error)),
        h("button", retry, "Try again"),
      ),
    );
  });
}
