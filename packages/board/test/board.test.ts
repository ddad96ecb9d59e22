/** The board in a real browser, on its own (`?local`). */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import type { BrowserContext, Page } from "playwright-core";
import { at, column, eventually, Harness, plant, rows, titles } from "./harness.ts";

const require = createRequire(import.meta.url);

let harness: Harness;
before(async () => {
  harness = await Harness.start();
});
after(() => harness.stop());

/** Runs `body` with one open board in a fresh profile; nothing may be reported on the console. */
async function withBoard(
  query: string,
  body: (page: Page, context: BrowserContext, complaints: string[]) => Promise<void>,
  options: Parameters<Harness["context"]>[0] = {},
): Promise<void> {
  const context = await harness.context(options);
  const complaints: string[] = [];
  try {
    await body(await harness.open(context, query, complaints), context, complaints);
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
  }
}

async function addList(page: Page, name: string): Promise<void> {
  const first = at(page, "first-list-name");
  if (await first.isVisible()) {
    await first.fill(name);
    await first.press("Enter");
  } else {
    await at(page, "add-list").or(at(page, "new-list-name")).click();
    await at(page, "new-list-name").fill(name);
    await at(page, "new-list-name").press("Enter");
  }
  await column(page, name).waitFor();
}

async function addCards(page: Page, list: string, ...names: string[]): Promise<void> {
  const place = column(page, list);
  await at(place, "add-card").click();
  for (const name of names) {
    await at(place, "new-card-title").fill(name);
    await at(place, "new-card-title").press("Enter");
    await place.getByText(name, { exact: true }).waitFor();
  }
  await at(place, "new-card-title").press("Escape");
}

function face(page: Page, title: string): ReturnType<Page["locator"]> {
  return at(page, "card-open").filter({ hasText: title });
}

/** Lists of a large board, and cards of each. */
const MANY = { lists: 4, cards: 500 };
/** Elements that one change may add, remove or alter: cards, heads of columns, the status, what is said of it; not a list's cards. */
const TOUCHED_MAX = 100;

async function plantMany(page: Page): Promise<void> {
  const lists = Array.from({ length: MANY.lists }, (_, list) => ({
    id: `list ${list}`,
    name: `List ${list}`,
    position: list,
    order: Array.from({ length: MANY.cards }, (__, card) => `card ${list}-${card}`),
  }));
  const cards = lists.flatMap(({ id, order }) => order.map((card) => ({ id: card, list: id, title: card })));
  await plant(page, "lists", lists);
  await plant(page, "cards", cards);
  await page.reload();
  await eventually(() => at(page, "card").count(), MANY.lists * MANY.cards);
}

/** Counts the elements that are added, removed or altered from here on; what is returned tells how many since it was asked last. */
async function countTouched(page: Page): Promise<() => Promise<number>> {
  await page.evaluate(() => {
    const counts: number[] = [];
    new MutationObserver((records) => {
      for (const { addedNodes, removedNodes } of records) counts.push(addedNodes.length + removedNodes.length || 1);
    }).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    Object.assign(globalThis, { touched: counts });
  });
  return async () => {
    const counts = await page.evaluate(() => (globalThis as unknown as { touched: number[] }).touched.splice(0));
    return counts.reduce((sum, count) => sum + count, 0);
  };
}

async function moveAmongMany(): Promise<void> {
  await withBoard("?local", async (page) => {
    await plantMany(page);
    await page.locator('[data-card-id="card 1-250"] .card-open').focus();
    const touched = await countTouched(page);
    const areFew = async (what: string): Promise<void> => {
      const count = await touched();
      assert.ok(count > 0 && count <= TOUCHED_MAX, `${what} touches ${count} elements`);
    };
    for (const key of ["Space", "ArrowDown", "ArrowDown", "ArrowUp", "ArrowRight", "ArrowDown", "ArrowLeft"]) {
      await page.keyboard.press(key);
      await areFew(key);
    }
    await page.keyboard.press("Space");
    await eventually(() => at(page, "announcer").textContent(), "Dropped. List 1, 253 of 500.");
    await areFew("dropping");
    const shown = async (list: string): Promise<string[]> => (await titles(page, list)).slice(-2);
    assert.deepEqual((await titles(page, "List 1")).slice(251, 254), ["card 1-252", "card 1-250", "card 1-253"]);

    // Another window puts the first card of a list behind all others.
    const list = (await rows(page, "lists")).find((row) => row["id"] === "list 0");
    const [first, ...others] = (list?.["order"] ?? []) as string[];
    await plant(page, "lists", [{ ...list, order: [...others, first] }]);
    await touched();
    await page.evaluate(() => {
      const channel = new BroadcastChannel("board:board");
      channel.postMessage([{ store: "lists", keys: ["list 0"], origin: "remote" }]);
      channel.close();
    });
    await eventually(() => shown("List 0"), ["card 0-499", "card 0-0"]);
    await areFew("a card that goes from first to last");
  });
}

/** Records the stores of each read-write transaction in globalThis.transactions. */
async function recordTransactions(context: BrowserContext): Promise<void> {
  await context.addInitScript(() => {
    const seen: string[] = [];
    Object.assign(globalThis, { transactions: seen });
    const native = IDBDatabase.prototype.transaction;
    IDBDatabase.prototype.transaction = function (stores, mode, options) {
      if (mode === "readwrite") seen.push(typeof stores === "string" ? stores : [...stores].join("+"));
      return native.call(this, stores, mode, options);
    };
  });
}

const transactions = (page: Page): Promise<string[]> =>
  page.evaluate(() => (globalThis as unknown as { transactions: string[] }).transactions.splice(0));

void describe("one window", () => {
  void test("lists and cards are created, edited, and kept over a reload", () =>
    withBoard("?local", async (page) => {
      await addList(page, "To do");
      await addList(page, "Done");
      await addCards(page, "To do", "Paint the boat", "Buy rope");
      await face(page, "Paint the boat").click();
      const dialog = at(page, "card-dialog");
      await at(dialog, "card-title").fill("Paint the hull");
      await at(dialog, "card-description").fill("Two coats.\nBlue.");
      await at(dialog, "card-assignee").fill("Ben");
      await at(dialog, "card-due").fill("2031-05-04");
      await at(dialog, "vote-up").click();
      await at(dialog, "vote-up").click();
      await at(dialog, "step-add").fill("Sand it");
      await at(dialog, "step-add").press("Enter");
      await at(dialog, "step-done").check();
      await at(dialog, "label-new").click();
      await at(dialog, "label-name").fill("Yard");
      await at(dialog, "label-name").press("Enter");
      await dialog.locator('[data-testid="label-toggle"][aria-pressed="true"]').waitFor();
      await at(dialog, "card-done").check();
      await eventually(() => at(dialog, "dialog-votes").textContent(), "2 votes");
      await at(dialog, "dialog-close").click();
      await face(page, "Paint the hull").waitFor();
      await page.reload();
      await face(page, "Paint the hull").waitFor();
      const card = at(column(page, "To do"), "card").first();
      assert.match((await card.textContent()) ?? "", /Yard.*Paint the hull.*4 May 2031.*1\/1.*B.*2/s);
      const stored = (await rows(page, "cards")).find((row) => row["title"] === "Paint the hull");
      const [label] = await rows(page, "labels");
      assert.ok(stored && label);
      assert.ok(stored["due"] instanceof Date, "the due day is stored as a Date");
      assert.equal(stored["due"].toDateString(), new Date(2031, 4, 4).toDateString());
      assert.deepEqual(stored["labels"], [label["id"]]);
      const { description, assignee, votes, done, createdBy } = stored;
      const wanted = { description: "Two coats.\nBlue.", assignee: "Ben", votes: 2, done: true, createdBy: "Ann" };
      assert.deepEqual({ description, assignee, votes, done, createdBy }, wanted);
      const steps = stored["checklist"] as { text: string; done: boolean; id: string }[];
      assert.deepEqual([steps[0]?.text, steps[0]?.done, steps[0]?.id.length], ["Sand it", true, 36]);
    }));

  void test("a card is moved by keyboard, in one transaction", () => moveByKeyboard());

  void test("one move among thousands of cards touches few elements", () => moveAmongMany());

  void test("a card is dragged with the mouse, and put back by Escape", () =>
    withBoard("?local", async (page) => {
      await addList(page, "A");
      await addList(page, "B");
      await addCards(page, "A", "one", "two");
      await addCards(page, "B", "three", "four");
      const drag = async (): Promise<void> => {
        const from = await face(page, "one").boundingBox();
        const to = await face(page, "four").boundingBox();
        assert.ok(from && to);
        await page.mouse.move(from.x + 20, from.y + 5);
        await page.mouse.down();
        await page.mouse.move(from.x + 40, from.y + 15, { steps: 3 });
        await page.mouse.move(to.x + 30, to.y + 3, { steps: 6 });
        await eventually(() => titles(page, "B"), ["three", "one", "four"]);
      };
      await drag();
      await page.keyboard.press("Escape");
      await page.mouse.move(300, 700);
      await page.mouse.up();
      await eventually(() => titles(page, "A"), ["one", "two"]);
      await drag();
      await page.mouse.up();
      const longest = async (): Promise<number> =>
        Math.max(...(await rows(page, "lists")).map((list) => (list["order"] as []).length));
      await eventually(longest, 3);
      await page.reload();
      await eventually(() => titles(page, "B"), ["three", "one", "four"]);
      assert.deepEqual(await titles(page, "A"), ["two"]);
      assert.equal(await at(page, "card-dialog").count(), 0, "a drag opens no card");
    }));

  void test("lists are renamed, moved, deleted, and deletions undone", () =>
    withBoard("?local", async (page) => {
      await addList(page, "A");
      await addList(page, "B");
      await addCards(page, "A", "one", "two");
      await at(column(page, "A"), "list-name").click();
      await at(page, "list-name-field").fill("Alpha");
      await at(page, "list-name-field").press("Enter");
      await column(page, "Alpha").waitFor();
      const names = (): Promise<string[]> => at(page, "list-name").allTextContents();
      await at(column(page, "Alpha"), "list-menu").click();
      await page.getByRole("menuitem", { name: "Move right" }).click();
      await eventually(names, ["B", "Alpha"]);
      await at(column(page, "Alpha"), "list-menu").click();
      await at(page, "list-delete").click();
      await eventually(names, ["B"]);
      assert.deepEqual(await rows(page, "cards"), []);
      await at(page, "toast-action").click();
      await eventually(names, ["B", "Alpha"]);
      await eventually(() => titles(page, "Alpha"), ["one", "two"]);
      await face(page, "one").focus();
      await page.keyboard.press("Delete");
      await eventually(() => titles(page, "Alpha"), ["two"]);
      await at(page, "toast-action").click();
      await eventually(() => titles(page, "Alpha"), ["two", "one"]);
    }));

  void test("search and labels filter the cards; the help sheet and the activity open", () =>
    withBoard("?local", async (page) => {
      await at(page, "sample-data").click();
      await at(page, "card").first().waitFor();
      const all = await at(page, "card").count();
      await page.keyboard.press("/");
      await page.keyboard.type("buoy");
      await eventually(() => at(page, "card").count(), 1);
      assert.equal(await at(column(page, "Ideas"), "list-count").textContent(), "1/3");
      await at(page, "clear-filter").click();
      await eventually(() => at(page, "card").count(), all);
      await at(page, "label-filter").getByText("Design").click();
      await eventually(() => at(page, "card").count(), 2);
      await at(page, "label-filter").getByText("Design").click();
      await face(page, "Printable week plan").focus();
      await page.keyboard.press("v");
      await eventually(
        () => face(page, "Printable").locator("..").locator('[data-testid="card-votes"]').textContent(),
        "2",
      );
      await page.keyboard.press("?");
      await at(page, "help").waitFor();
      await page.keyboard.press("Escape");
      await at(page, "board-menu").click();
      await at(page, "menu-activity").click();
      await at(page, "activity-entry").filter({ hasText: "“Printable week plan” has 2 votes" }).waitFor();
    }));

  void test("the board is exported as JSON", () =>
    withBoard("?local", async (page) => {
      await at(page, "sample-data").click();
      await at(page, "card").first().waitFor();
      await at(page, "board-menu").click();
      const [download] = await Promise.all([page.waitForEvent("download"), at(page, "menu-export").click()]);
      const path = await download.path();
      const exported = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown[]>;
      assert.equal(exported["cards"]?.length, (await rows(page, "cards")).length);
      assert.equal(exported["lists"]?.length, 4);
      assert.equal(exported["labels"]?.length, 5);
    }));

  void test("rows that anyone may have written do not break the board", () =>
    withBoard("?local", async (page) => {
      await addList(page, "A");
      const [list] = await rows(page, "lists");
      await plant(page, "lists", [{ id: "bare" }, { id: 7, name: { not: "text" }, order: "none", position: "x" }]);
      await plant(page, "cards", [
        { id: "untitled", list: list?.["id"] },
        { id: "stray", list: "no such list", title: "Stray" },
        { id: 42, title: "Number key", labels: "x", votes: 2n ** 70n, checklist: [null, "plain", { text: "no id" }] },
        { id: ["an", "array"], list: list?.["id"], title: 5, due: "2030-01-02", description: { deep: [1] } },
      ]);
      await page.reload();
      await eventually(() => titles(page, "Unsorted").then((found) => found.sort()), ["Number key", "Stray"]);
      await eventually(() => titles(page, "A").then((found) => found.sort()), ["5", "Untitled card"]);
      assert.equal(await at(page, "list").count(), 4);
      await at(column(page, "Unsorted"), "card-vote").first().click();
      await face(page, "Number key").click();
      await eventually(() => at(page, "step-done").count(), 2);
      await at(page, "step-done").last().check();
      await at(page, "card-list").selectOption({ label: "A" });
      await at(page, "card-title").fill("Sorted");
      await at(page, "dialog-close").click();
      await eventually(() => titles(page, "A").then((found) => found.includes("Sorted")), true);
      const stored = (await rows(page, "cards")).find((row) => row["id"] === 42);
      const steps = stored?.["checklist"] as unknown[];
      assert.deepEqual([steps[0], steps[1]], [null, "plain"], "what the board does not understand stays as it is");
      assert.equal((steps[2] as { done: boolean }).done, true);
      assert.ok((stored?.["votes"] as bigint) >= 2n ** 70n, "a number beyond 2^53 is not rounded");
    }));
});

async function moveByKeyboard(): Promise<void> {
  const context = await harness.context();
  try {
    await recordTransactions(context);
    const page = await harness.open(context, "?local");
    await addList(page, "A");
    await addList(page, "B");
    await addCards(page, "A", "one", "two", "three");
    await addCards(page, "B", "four");
    await face(page, "one").focus();
    await page.keyboard.press("ArrowDown");
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "two");
    await page.keyboard.press("Space");
    await page.keyboard.press("ArrowRight");
    await eventually(() => titles(page, "B"), ["four", "two"]);
    await page.keyboard.press("Escape");
    await eventually(() => titles(page, "A"), ["one", "two", "three"]);
    await transactions(page);
    await page.keyboard.press("Space");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("Space");
    await eventually(() => at(page, "announcer").textContent(), "Dropped. B, 1 of 2.");
    assert.deepEqual(await transactions(page), ["lists+cards", "activity"]);
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "two", "the card keeps the focus");
    await page.keyboard.press("Enter");
    await at(page, "card-dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.reload();
    await eventually(() => titles(page, "B"), ["two", "four"]);
    assert.deepEqual(await titles(page, "A"), ["one", "three"]);
    const lists = await rows(page, "lists");
    const order = lists.flatMap((list) => list["order"] as string[]);
    assert.equal(new Set(order).size, 4, "each card is named by exactly one order");
    assert.equal(order.length, 4);
  } finally {
    await context.close();
  }
}

void describe("the window itself", () => {
  void test("a changed name signs what is created after it", () =>
    withBoard("?local", async (page) => {
      await addList(page, "A");
      await at(page, "identity").click();
      await at(page, "identity-name").fill("Cleo Park");
      await Promise.all([page.waitForNavigation(), at(page, "identity-save").click()]);
      await page.getByRole("button", { name: "You are Cleo Park" }).waitFor();
      await addCards(page, "A", "signed");
      assert.equal((await rows(page, "cards"))[0]?.["createdBy"], "Cleo Park");
    }));

  void test("the name is not changed while changes of the former one are unsent", () =>
    withBoard("", async (page) => {
      await page.evaluate(() => (globalThis as unknown as { stubSet: (p: object) => void }).stubSet({ pending: 2 }));
      await at(page, "identity").click();
      await at(page, "identity-name").fill("Cleo");
      await at(page, "identity-save").click();
      await at(page, "toast").filter({ hasText: "not sent yet" }).waitFor();
      assert.equal(await page.evaluate(() => localStorage.getItem("board.name")), null);
    }));

  void test("a notice of whoever serves the board stands above it, and takes nothing away", () =>
    withBoard("?local", async (page, context, complaints) => {
      assert.equal(await at(page, "notice").count(), 0);
      harness.notice = "Nothing is kept here.";
      try {
        const noted = await harness.open(context, "?local", complaints);
        await noted.setViewportSize({ width: 390, height: 700 });
        assert.equal(await at(noted, "notice").textContent(), "Nothing is kept here.");
        const boxes = await Promise.all(
          [".notice", "header.top", "main"].map((selector) => noted.locator(selector).boundingBox()),
        );
        const [note, header, main] = boxes.map((box) => ({
          top: box?.y ?? -1,
          bottom: (box?.y ?? -1) + (box?.height ?? 0),
        }));
        const told = JSON.stringify(boxes);
        assert.ok(note?.top === 0 && note.bottom === header?.top && main?.bottom === 700, told);
      } finally {
        harness.notice = "";
      }
    }));

  void test("the second window opens the same board", () =>
    withBoard("?local", async (page, context) => {
      await addList(page, "A");
      const [second] = await Promise.all([context.waitForEvent("page"), at(page, "second-window").click()]);
      await column(second, "A").waitFor();
      await addList(second, "B");
      await column(page, "B").waitFor();
    }));

  void test("when the browser drops the storage, the board says what is left and goes on", () =>
    withBoard("?local", async (page, context) => {
      await addList(page, "A");
      const session = await context.newCDPSession(page);
      await session.send("Storage.clearDataForOrigin", { origin: harness.origin, storageTypes: "indexeddb" });
      await at(page, "empty-board").waitFor();
      await addList(page, "B");
      assert.deepEqual(
        (await rows(page, "lists")).map((list) => list["name"]),
        ["B"],
      );
    }));

  void test("without the engine's module the board says so and works on this device", () =>
    withBoard("", async (page, _, complaints) => {
      await page.evaluate(async () => {
        for (const one of await navigator.serviceWorker.getRegistrations()) await one.unregister();
        for (const name of await caches.keys()) await caches.delete(name);
      });
      harness.engine = false;
      try {
        await page.reload();
        await at(page, "toast").filter({ hasText: "Sync could not start" }).waitFor();
        await addList(page, "A");
      } finally {
        harness.engine = true;
      }
      assert.ok(complaints.splice(0).every((text) => text.includes("404")));
    }));
});

void describe("two windows of one browser", () => {
  void test("each sees what the other does, and what was typed is not lost", () =>
    withBoard("?local", async (one, context, complaints) => {
      const two = await harness.open(context, "?local", complaints);
      await addList(one, "A");
      await addCards(one, "A", "first", "second");
      await eventually(() => titles(two, "A"), ["first", "second"]);
      assert.ok(await at(two, "toast").count(), "a change by another window is told");
      await face(one, "first").click();
      await face(two, "first").click();
      await at(one, "card-description").fill("one two three");
      await eventually(() => at(two, "card-description").inputValue(), "one two three");
      await at(two, "card-description").press("End");
      await at(two, "card-description").pressSequentially(" four");
      await at(one, "card-description").press("Home");
      await at(one, "card-description").pressSequentially("zero ");
      for (const page of [one, two]) {
        await eventually(() => at(page, "card-description").inputValue(), "zero one two three four");
      }
      await at(two, "dialog-close").click();
      await at(one, "vote-up").click();
      await two.locator(".card.is-changed", { hasText: "first" }).waitFor();
      await at(one, "card-delete").click();
      await eventually(() => titles(two, "A"), ["second"]);
    }));

  void test("the offline switch holds changes back", () =>
    withBoard("?local", async (one, context, complaints) => {
      await addList(one, "A");
      const two = await harness.open(context, "?local", complaints);
      await at(one, "offline-switch").click();
      assert.equal(await at(one, "offline-switch").getAttribute("aria-checked"), "false");
      await eventually(() => at(one, "status-phase").textContent(), "Paused");
      await addCards(one, "A", "quiet");
      await eventually(() => at(one, "pending-count").textContent(), "1 pending");
      assert.deepEqual(await titles(two, "A"), []);
      await at(one, "offline-switch").click();
      await eventually(() => titles(two, "A"), ["quiet"]);
      await eventually(() => at(one, "pending-count").textContent(), "0 pending");
    }));

  void test("a newer database makes this window say so", () =>
    withBoard("?local", async (one, context) => {
      await addList(one, "A");
      const other = await context.newPage();
      await other.goto(`${harness.origin}/icon.svg`);
      await other.evaluate(
        () =>
          new Promise((resolve, reject) => {
            const open = indexedDB.open("board", 2);
            open.onsuccess = resolve;
            open.onerror = reject;
          }),
      );
      await at(one, "banner").waitFor();
    }));
});

void describe("with a sync engine", () => {
  const stub = (page: Page, content: object): Promise<void> =>
    page.evaluate((text) => localStorage.setItem("stub", text), JSON.stringify(content));

  void test("conflicts show mine, theirs and the outcome", () =>
    withBoard("", async (page) => {
      await at(page, "sample-data").click();
      await at(page, "card").first().waitFor();
      const card = (await rows(page, "cards")).find((row) => row["title"] === "Guide for the summer crew");
      const label = async (name: string): Promise<unknown> =>
        (await rows(page, "labels")).find((row) => row["name"] === name)?.["id"];
      const [writing, urgent, design] = [await label("Writing"), await label("Urgent"), await label("Design")];
      const entry = { at: Date.now() - 120_000, store: "cards", key: card?.["id"], by: "ben" };
      const text = { base: "One page.", mine: "One new page.", theirs: "Two pages.", outcome: "Two pages." };
      const tags = { base: [], mine: [urgent], theirs: [design], outcome: [urgent, design, writing] };
      await stub(page, {
        conflicts: [
          { ...entry, ...text, id: "1", path: ["description"], strategy: "last-write" },
          { ...entry, ...tags, id: "2", path: ["labels"], strategy: "union" },
        ],
      });
      await page.reload();
      await eventually(() => at(page, "conflicts-count").textContent(), "2");
      await at(page, "conflicts-button").click();
      const first = at(page, "conflict").first();
      assert.match((await first.textContent()) ?? "", /Guide for the summer crew.*Description.*ben.*2 ?min ago/);
      assert.match((await at(first, "conflict-mine").textContent()) ?? "", /One new page\./);
      assert.match((await at(first, "conflict-theirs").textContent()) ?? "", /kept.*Two pages\./);
      assert.match((await at(first, "conflict-outcome").textContent()) ?? "", /Two pages\./);
      const second = at(page, "conflict").nth(1);
      assert.match((await at(second, "conflict-outcome").textContent()) ?? "", /merged.*Urgent.*Design.*Writing/);
    }));

  void test("rejected changes show their reason and are tried again or discarded", () =>
    withBoard("", async (page) => {
      await at(page, "sample-data").click();
      await at(page, "card").first().waitFor();
      const card = (await rows(page, "cards")).find((row) => row["title"] === "Guide for the summer crew");
      const documents = [{ store: "cards", key: card?.["id"], mine: { ...card, title: "Guide, final" } }];
      const rejected = [{ id: 7, code: "rule-denied", message: "Only Ben may do this", at: Date.now(), documents }];
      await stub(page, { rejected });
      await page.reload();
      await eventually(() => at(page, "rejected-count").textContent(), "1");
      await at(page, "rejected-button").click();
      const entry = at(page, "rejected");
      assert.match((await entry.textContent()) ?? "", /Only Ben may do this.*rule-denied.*Title.*Guide, final/);
      assert.doesNotMatch((await entry.textContent()) ?? "", /Votes/, "only what differs is listed");
      await at(entry, "rejected-retry").click();
      await at(entry, "rejected-discard").click();
      await page.getByText("Nothing was rejected").waitFor();
      await eventually(() => at(page, "rejected-count").textContent(), "0");
      const calls = await page.evaluate(() => (globalThis as unknown as { stubCalls: unknown }).stubCalls);
      assert.deepEqual(calls, [
        ["retry", 7],
        ["discard", 7],
      ]);
    }));

  void test("the engine gets the board's options, its state is on the pill, remote changes are told", () =>
    withBoard("?as=Ben%20B", async (page) => {
      await addList(page, "A");
      const options = await page.evaluate(() => {
        const { url, database, remote, stores } = (globalThis as unknown as { stubOptions: Record<string, unknown> })
          .stubOptions;
        return { url, database, remote, stores };
      });
      assert.deepEqual(options, {
        url: `${harness.origin.replace("http", "ws")}/v1/sync`,
        database: "board-ben-b",
        remote: "board",
        stores: ["lists", "cards", "labels"],
      });
      const set = (status: object): Promise<void> =>
        page.evaluate((part) => (globalThis as unknown as { stubSet: (p: object) => void }).stubSet(part), status);
      const phase = (): Promise<string | null> => at(page, "status-phase").textContent();
      await eventually(phase, "Synced");
      for (const [status, text] of [
        [{ phase: "connecting" }, "Connecting"],
        [{ phase: "catching-up" }, "Catching up"],
        [{ phase: "live", pending: 4 }, "Sending"],
        [{ phase: "stopped", error: { code: "x", message: "no", retryable: false } }, "Sync stopped"],
      ] as const) {
        await set(status);
        await eventually(phase, text);
      }
      assert.equal(await at(page, "pending-count").textContent(), "4 pending");
      const [list] = await rows(page, "lists", "board-ben-b");
      await page.evaluate((listId) => {
        const open = indexedDB.open("board-ben-b");
        open.onsuccess = () => {
          const tx = open.result.transaction("cards", "readwrite");
          tx.objectStore("cards").put({ id: "r", list: listId, title: "From afar" });
          tx.oncomplete = () => {
            open.result.close();
            const { stubEmit } = globalThis as unknown as { stubEmit: (name: string, event: object) => void };
            stubEmit("change", { store: "cards", keys: ["r"], origin: "remote" });
          };
        };
      }, list?.["id"]);
      await face(page, "From afar").waitFor();
      await at(page, "toast").filter({ hasText: "“From afar” was added to A" }).waitFor();
      await page.locator(".card.is-changed", { hasText: "From afar" }).waitFor();
    }));

  void test("the page opens without the server", () =>
    withBoard("", async (page, _, complaints) => {
      await addList(page, "A");
      await page.evaluate(async () => {
        await navigator.serviceWorker.ready;
        const wanted = new URL("sample.js", location.href).href;
        while (!(await caches.match(wanted))) await new Promise((resolve) => setTimeout(resolve, 20));
      });
      await page.reload();
      await column(page, "A").waitFor();
      harness.down = true;
      try {
        await page.reload();
        await column(page, "A").waitFor();
      } finally {
        harness.down = false;
      }
      // The browser reports the requests that found no server.
      complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes("ERR_EMPTY_RESPONSE")));
    }));
});

void describe("for everyone", () => {
  const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true } as const;

  void test("a phone's page never scrolls sideways", () =>
    withBoard(
      "?local",
      async (page) => {
        const overflow = (): Promise<number> =>
          page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.equal(await overflow(), 0);
        await at(page, "sample-data").click();
        await at(page, "card").first().waitFor();
        assert.equal(await overflow(), 0);
        const inside = await page.evaluate(() =>
          [...document.querySelectorAll(".top > *, .sync > *")].every((part) => {
            const box = part.getBoundingClientRect();
            return box.width === 0 || (box.left >= 0 && box.right <= innerWidth);
          }),
        );
        assert.ok(inside, "header and status bar are inside the screen");
        await face(page, "Two people edit").tap();
        await at(page, "card-dialog").waitFor();
        assert.equal(await overflow(), 0);
        const dialog = await at(page, "card-dialog").evaluate((it) => it.scrollWidth - it.clientWidth);
        assert.equal(dialog, 0);
      },
      PHONE,
    ));

  void test("a finger moves a card after resting on it, and scrolls before", () =>
    withBoard(
      "?local",
      async (page, context) => {
        await addList(page, "A");
        await addCards(page, "A", "one", "two", "three");
        const session = await context.newCDPSession(page);
        const touch = (type: "touchStart" | "touchMove" | "touchEnd", ...points: { x: number; y: number }[]) =>
          session.send("Input.dispatchTouchEvent", { type, touchPoints: points });
        const middle = async (title: string): Promise<{ x: number; y: number }> => {
          const box = await face(page, title).boundingBox();
          assert.ok(box);
          return { x: box.x + 40, y: box.y + 8 };
        };
        const [one, three] = [await middle("one"), await middle("three")];
        await touch("touchStart", one);
        for (let step = 1; step <= 4; step += 1) await touch("touchMove", { x: one.x, y: one.y + step * 12 });
        await touch("touchEnd");
        assert.equal(await page.locator(".ghost").count(), 0, "a quick stroke is no drag");
        assert.deepEqual(await titles(page, "A"), ["one", "two", "three"]);
        await touch("touchStart", await middle("one"));
        await page.locator(".ghost").waitFor();
        for (let step = 1; step <= 4; step += 1) {
          await touch("touchMove", { x: three.x, y: one.y + ((three.y + 20 - one.y) * step) / 4 });
        }
        await eventually(() => titles(page, "A"), ["two", "three", "one"]);
        await touch("touchEnd");
        const order = async (): Promise<unknown> => {
          const names = new Map((await rows(page, "cards")).map((card) => [card["id"], card["title"]]));
          return ((await rows(page, "lists"))[0]!["order"] as string[]).map((id) => names.get(id));
        };
        await eventually(order, ["two", "three", "one"]);
        assert.equal(await at(page, "card-dialog").count(), 0);
      },
      PHONE,
    ));

  for (const colorScheme of ["light", "dark"] as const) {
    void test(`nothing is hard to read or to reach (${colorScheme})`, () =>
      withBoard(
        "?local",
        async (page) => {
          const axe = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
          await page.evaluate(axe);
          await audit(page, "empty board");
          await at(page, "sample-data").click();
          await at(page, "card").first().waitFor();
          await audit(page, "board");
          await face(page, "Two people edit").click();
          await at(page, "card-dialog").waitFor();
          await audit(page, "card");
          await at(page, "dialog-close").click();
          await at(page, "card-dialog").waitFor({ state: "detached" });
          await page.keyboard.press("?");
          await at(page, "help").waitFor();
          await audit(page, "help");
        },
        { colorScheme, reducedMotion: "reduce" },
      ));
  }
});

/** Runs axe over the page: WCAG 2 A and AA, with contrast. */
async function audit(page: Page, where: string): Promise<void> {
  await page.evaluate(() => Promise.all(document.getAnimations().map((one) => one.finished.catch(() => undefined))));
  const found = await page.evaluate(async () => {
    interface Result {
      violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[];
    }
    const { axe } = globalThis as unknown as { axe: { run: (where: Document, options: object) => Promise<Result> } };
    const { violations } = await axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    });
    return violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html + node.failureSummary).join("\n")}`);
  });
  assert.deepEqual(found, [], where);
}
