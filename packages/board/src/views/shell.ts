/** The page around the columns: header, filters, what to do with an empty board. */
import { newCard } from "../data.ts";
import { fill, h, icon } from "../dom.ts";
import { isFiltering, NO_FILTER } from "../model.ts";
import type { Session } from "../session.ts";
import { openActivity } from "./activity.ts";
import { avatar } from "./card-face.ts";
import { openCard, setDone, vote } from "./card-dialog.ts";
import { Columns } from "./columns.ts";
import { PointerDrag } from "./drag.ts";
import { openHelp } from "./help.ts";
import { openIdentity } from "./identity.ts";
import { Keyboard } from "./keyboard.ts";
import { openMenu } from "./menu.ts";
import { SyncStatus } from "./sync-status.ts";
import { toPlain } from "./values.ts";

export class Shell {
  readonly #session: Session;
  readonly #columns: Columns;
  readonly #search: HTMLInputElement;
  readonly #labels = h("div", {
    class: "filters",
    role: "group",
    "aria-label": "Filter by label",
    testid: "label-filter",
  });
  readonly #main = h("main", {});
  readonly #empty: HTMLElement;

  constructor(session: Session, root: HTMLElement) {
    this.#session = session;
    this.#columns = new Columns(session, {
      open: (card) => openCard(session, card),
      vote: (card) => vote(session, card, 1),
    });
    this.#search = h("input", {
      class: "search-field",
      type: "search",
      placeholder: "Search cards",
      "aria-label": "Search cards",
      testid: "search",
      oninput: () => session.setFilter({ ...session.filter, text: this.#search.value }),
    });
    this.#empty = this.#emptyBoard();
    new PointerDrag(session, this.#columns);
    new Keyboard(session, this.#columns, {
      search: () => this.#search.focus(),
      help: openHelp,
      vote: (card) => vote(session, card, 1),
      toggleDone: (id) => {
        const card = session.card(id);
        if (card) setDone(session, card, !card.done);
      },
    });
    root.replaceChildren(this.#header(), this.#main);
    session.subscribe((changed) => this.#draw(changed));
  }

  #draw(changed: ReadonlySet<string>): void {
    const session = this.#session;
    if (!session.loaded) return;
    const bare = session.model.lists.length === 0;
    const shown = bare ? this.#empty : this.#columns.element;
    if (this.#main.firstChild !== shown) {
      const adding = this.#main.firstChild !== null && !bare;
      fill(this.#main, shown);
      // The button that made the first list is gone: the next thing to do is there.
      if (adding) this.#columns.element.querySelector<HTMLElement>(".add-card")?.focus();
    }
    this.#columns.draw(changed);
    this.#drawLabels();
  }

  #header(): HTMLElement {
    const who = h(
      "button",
      {
        class: "who",
        testid: "identity",
        "aria-label": `You are ${this.#session.who.name}`,
        "aria-haspopup": "dialog",
        onclick: () => openIdentity(this.#session, who),
      },
      avatar(this.#session.who.name),
    );
    const menu = h(
      "button",
      {
        class: "icon-button",
        testid: "board-menu",
        "aria-label": "Board menu",
        "aria-haspopup": "menu",
        onclick: () => this.#openMenu(menu),
      },
      icon("more"),
    );
    const second = h(
      "button",
      { class: "button is-second-window", testid: "second-window", onclick: openSecondWindow },
      icon("window"),
      h("span", {}, "Open second window"),
    );
    return h(
      "header",
      "top",
      h("div", "brand", h("span", { class: "mark", "aria-hidden": "true" }), h("h1", {}, "Team board")),
      h("div", "search", icon("search"), this.#search),
      second,
      menu,
      who,
      this.#labels,
      new SyncStatus(this.#session).element,
    );
  }

  #drawLabels(): void {
    const session = this.#session;
    const { filter } = session;
    const tags = [...session.model.labels.values()].map((label) => {
      const on = filter.labels.has(label.id);
      const toggle = (): void => {
        const labels = new Set(filter.labels);
        if (!labels.delete(label.id)) labels.add(label.id);
        session.setFilter({ ...filter, labels });
      };
      const props = {
        class: on ? "tag is-button is-on" : "tag is-button",
        "data-hue": label.hue,
        "data-label": label.id,
      };
      return h("button", { ...props, "aria-pressed": String(on), onclick: toggle }, label.name);
    });
    const clear = (): void => {
      this.#search.value = "";
      session.setFilter(NO_FILTER);
      this.#search.focus();
    };
    const reset = { class: "link", testid: "clear-filter", onclick: clear };
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["label"] : undefined;
    const inside = this.#labels.contains(document.activeElement);
    fill(this.#labels, ...tags, isFiltering(filter) && h("button", reset, "Clear filter"));
    if (inside) tags.find((tag) => tag.dataset["label"] === focused)?.focus();
  }

  #emptyBoard(): HTMLElement {
    const session = this.#session;
    const field = h("input", {
      class: "field",
      placeholder: "To do",
      "aria-label": "Name of the first list",
      testid: "first-list-name",
    });
    const form = h(
      "form",
      {
        class: "row",
        onsubmit: (event) => {
          event.preventDefault();
          const name = field.value.trim() || field.placeholder;
          void session.run((board) => board.addList(name, 1));
          field.value = "";
        },
      },
      field,
      h("button", { class: "button is-primary", type: "submit", testid: "first-list-add" }, "Add a list"),
    );
    const sample = (): void =>
      void session.run(async (board) => {
        const { sampleBoard } = await import("../sample.ts");
        return board.fill(sampleBoard(newCard, session.who.name));
      });
    return h(
      "section",
      { class: "empty-board", testid: "empty-board" },
      h("div", { class: "empty-art", "aria-hidden": "true" }, h("span", {}), h("span", {}), h("span", {})),
      h("h2", {}, "A clear board"),
      h("p", {}, "Start with a list, or look around in a board that is already in use."),
      form,
      h("button", { class: "button", testid: "sample-data", onclick: sample }, "Fill with sample data"),
    );
  }

  #openMenu(anchor: HTMLElement): void {
    openMenu(anchor, "Board menu", [
      { label: "Open second window", icon: "window", run: openSecondWindow },
      { label: "Activity", icon: "history", testid: "menu-activity", run: () => openActivity(this.#session) },
      {
        label: "Export as JSON",
        icon: "text",
        testid: "menu-export",
        run: () => void this.#session.run((board) => board.load().then(download)),
      },
      { label: "Keyboard", icon: "help", testid: "menu-help", run: openHelp },
    ]);
  }
}

/** Opens this board once more, beside this window where there is room. */
function openSecondWindow(): void {
  const width = Math.min(1100, Math.round(screen.availWidth / 2));
  open(location.href, "_blank", `noopener,width=${width},height=${Math.round(screen.availHeight * 0.9)}`);
}

/** Saves the rows as a file. */
function download(rows: unknown): void {
  const url = URL.createObjectURL(new Blob([toPlain(rows)], { type: "application/json" }));
  h("a", { href: url, download: `board-${new Date().toISOString().slice(0, 10)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url));
}
