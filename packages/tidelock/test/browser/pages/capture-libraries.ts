/** Cases that run the three versions of the application, natively and captured. Each runs in a page of its own. */
import { dexie, idb, raw } from "./capture-apps.ts";
import type { App, Task } from "./capture-apps.ts";
import { check, equal, setup, show } from "./kit.ts";
import type { Cases, Setup } from "./kit.ts";

const task = (number: number): Task => ({ id: `t${number}`, list: `l${number % 3}`, title: `Task ${number}`, done: 0 });

const byId = (tasks: readonly Task[]): Map<string, string> => new Map(tasks.map((one) => [one.id, show(one)]));

/** Keys announced since the last call, sorted; "range" when a store was marked without keys. */
function takeMarks({ captured }: Setup): string[] {
  const marks = captured.splice(0).flatMap((stores) =>
    [...stores].flatMap(([store, { keys }]) => {
      return keys === null ? [`${store} range`] : keys.map((key) => `${store} ${String(key)}`);
    }),
  );
  return [...new Set(marks)].sort();
}

/** Runs the application's story and returns all that it saw; `changed` is called after each step. */
async function story(
  app: App,
  factory: IDBFactory,
  name: string,
  changed: (step: string, tasks: Task[]) => void,
): Promise<unknown> {
  let tasks = await app(factory, name);
  const step = async (label: string, work: () => Promise<unknown>): Promise<void> => {
    await work();
    changed(label, await tasks.all());
  };
  await step("add", () => tasks.add(Array.from({ length: 9 }, (_, index) => task(index))));
  await step("rename", () => tasks.rename("t4", "Renamed"));
  await step("finish", () => tasks.finish("l1"));
  await step("fail", () => tasks.addAndFail(task(100)));
  await step("sweep", () => tasks.sweep());
  tasks.close();
  tasks = await app(factory, name);
  await step("reopened", () => tasks.rename("t0", "Again"));
  const result = [await tasks.all(), await tasks.log()];
  tasks.close();
  return result;
}

async function compare(app: App): Promise<void> {
  const native = indexedDB;
  const at = setup(["tasks", "log"]);
  let before = new Map<string, string>();
  const steps: string[] = [];
  const result = await story(app, at.factory, at.name, (step, tasks) => {
    const after = byId(tasks);
    const ids = [...new Set([...before.keys(), ...after.keys()])].filter((id) => before.get(id) !== after.get(id));
    const marks = takeMarks(at);
    for (const id of ids) check(marks.includes(`tasks ${id}`), `${step}: ${id} is not among ${marks.join()}`);
    if (step === "fail") equal(marks, [], "marks of an aborted transaction");
    if (step === "sweep") check(marks.includes("log 1"), "log");
    steps.push(`${step} ${ids.length}`);
    before = after;
  });
  equal(steps, ["add 9", "rename 1", "finish 3", "fail 0", "sweep 3", "reopened 1"]);
  equal(result, await story(app, native, `${at.name}-native`, () => undefined), "result");
}

export const libraries: Cases = {
  "the application with raw IndexedDB": () => compare(raw),
  "the application with idb": () => compare(idb),
  "the application with Dexie": () => compare(dexie),

  async "one version reads what another wrote"() {
    const at = setup(["tasks"]);
    const results: unknown[] = [];
    for (const app of [dexie, raw, dexie]) {
      const tasks = await app(at.factory, at.name);
      await tasks.add([task(results.length)]);
      results.push((await tasks.all()).length);
      tasks.close();
    }
    equal(results, [1, 2, 3]);
  },
};
