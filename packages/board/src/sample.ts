/**
 * A board to look around in, with every kind of field in use. Loaded when someone asks for it, so it stands alone:
 * whatever it needs is passed to it.
 */
import type { newCard, SharedStore } from "./data.ts";
import type { Hue, Row } from "./model.ts";

const DAY_MS = 86_400_000;

const LABELS = {
  design: ["Design", "violet"],
  server: ["Server", "blue"],
  field: ["Field test", "green"],
  urgent: ["Urgent", "red"],
  writing: ["Writing", "amber"],
} as const satisfies Record<string, readonly [string, Hue]>;

interface SampleCard {
  readonly title: string;
  readonly labels?: readonly (keyof typeof LABELS)[];
  readonly description?: string;
  readonly assignee?: string;
  readonly dueInDays?: number;
  readonly votes?: number;
  readonly steps?: readonly (readonly [string, boolean])[];
  readonly done?: boolean;
}

const LISTS: readonly (readonly [string, readonly SampleCard[]])[] = [
  [
    "Ideas",
    [
      { title: "Tide tables for the harbour page", labels: ["design"], votes: 5, assignee: "Chloé" },
      {
        title: "Let the crew mark a buoy as checked, without any network",
        description: "Out past the point there is no reception.\nThe list has to work there and catch up at the pier.",
        labels: ["field"],
        votes: 8,
      },
      { title: "Printable week plan", votes: 1 },
    ],
  ],
  [
    "Next",
    [
      {
        title: "Two people edit the same log entry",
        description: "Try it: open a second window, switch both offline, change the same card, switch back on.",
        labels: ["field", "urgent"],
        assignee: "Ann",
        dueInDays: 1,
        votes: 3,
        steps: [
          ["Change different fields", true],
          ["Change the same text", false],
          ["Vote in both windows", false],
        ],
      },
      { title: "Weather report from the old import", labels: ["server"], assignee: "Dmitri", dueInDays: -2 },
      { title: "Shorter names for the moorings", dueInDays: 12 },
    ],
  ],
  [
    "Doing",
    [
      {
        title: "Guide for the summer crew",
        description: "One page, with pictures.",
        labels: ["writing"],
        assignee: "Ben",
        dueInDays: 4,
        votes: 2,
        steps: [
          ["Outline", true],
          ["Photographs of both slipways", true],
          ["Ask Chloé to read it", false],
        ],
      },
      { title: "Night colours for the chart", labels: ["design"], assignee: "Chloé", votes: 4 },
    ],
  ],
  [
    "Done",
    [
      {
        title: "Move the logbook out of the spreadsheet",
        labels: ["server", "writing"],
        assignee: "Ann",
        done: true,
        votes: 6,
        steps: [
          ["Import 2019 to 2025", true],
          ["Compare the totals", true],
        ],
      },
      { title: "New batteries for the tide gauge", assignee: "Dmitri", done: true },
    ],
  ],
];

/** The fields in which a sample differs from a blank card. */
function fieldsOf(sample: SampleCard, labelIds: Readonly<Record<string, string>>): Row {
  const due = sample.dueInDays === undefined ? null : new Date(Date.now() + sample.dueInDays * DAY_MS);
  due?.setHours(0, 0, 0, 0);
  return {
    description: sample.description ?? "",
    labels: (sample.labels ?? []).map((name) => labelIds[name]),
    votes: sample.votes ?? 0,
    assignee: sample.assignee ?? "",
    due,
    checklist: (sample.steps ?? []).map(([text, done]) => ({ id: crypto.randomUUID(), text, done })),
    done: sample.done ?? false,
  };
}

/** Rows of the sample board, with fresh identities; `make` makes the row of a blank card. */
export function sampleBoard(make: typeof newCard, author: string): Record<SharedStore, Row[]> {
  const labelIds = Object.fromEntries(Object.keys(LABELS).map((name) => [name, crypto.randomUUID()]));
  const labels = Object.entries(LABELS).map(([key, [name, color]]): Row => ({ id: labelIds[key], name, color }));
  const lists: Row[] = [];
  const cards: Row[] = [];
  for (const [position, [name, samples]] of LISTS.entries()) {
    const id = crypto.randomUUID();
    const rows = samples.map((sample) => {
      const blank = make(crypto.randomUUID(), id, sample.title, author);
      return { ...blank, ...fieldsOf(sample, labelIds) };
    });
    cards.push(...rows);
    lists.push({ id, name, position, order: rows.map((row: Row) => row["id"]) });
  }
  return { lists, cards, labels };
}
