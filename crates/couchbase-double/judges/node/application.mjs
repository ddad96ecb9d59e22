// Another application by Couchbase's Node client, beside the tests of the browser: `node application.mjs HOSTS USER PASSWORD BUCKET SCOPE`.
//
// Each line of the input is a command in JSON, each line of the output its answer: `{"ok": …}`, or `{"error": KIND, "message": …}`.
// `packages/tidelock/test/couchbase/application.ts` lists the commands. It ends with its input.

import { createInterface } from "node:readline";
import couchbase from "couchbase";

const [hosts, username, password, bucket, scope] = process.argv.slice(2);
const { MutateInSpec } = couchbase;

const KINDS = [
  [couchbase.DocumentNotFoundError, "not-found"],
  [couchbase.DocumentExistsError, "exists"],
  [couchbase.CasMismatchError, "cas-mismatch"],
];

const METHODS = { upsert: "upsert", increment: "increment", append: "arrayAppend", remove: "remove" };
const spec = ([name, ...parts]) => MutateInSpec[METHODS[name]](...parts);

const commands = {
  async get(collection, { key }) {
    const { content, cas } = await collection.get(key);
    return { document: content, cas: cas.toString() };
  },
  insert: (collection, { key, document }) => collection.insert(key, document),
  upsert: (collection, { key, document, expiry_s: expiry = 0 }) => collection.upsert(key, document, { expiry }),
  replace: (collection, { key, document, cas }) => collection.replace(key, document, cas ? { cas } : {}),
  remove: (collection, { key }) => collection.remove(key),
  touch: (collection, { key, expiry_s }) => collection.touch(key, expiry_s),
  edit: (collection, { key, specs }) => collection.mutateIn(key, specs.map(spec)),
  async count(collection, { key, delta, initial }) {
    return (await collection.binary().increment(key, delta, { initial })).value;
  },
  async add(collection, { key, members, times }) {
    let late = 0;
    for (let left = times; left > 0;) {
      const { content, cas } = await collection.get(key);
      for (const member of members) content[member] += 1;
      try {
        await collection.replace(key, content, { cas });
        left--;
      } catch (error) {
        if (!(error instanceof couchbase.CasMismatchError)) throw error;
        late++;
      }
    }
    return late;
  },
};

const ANSWERS = new Set(["get", "count", "add"]);

const cluster = await couchbase.connect(hosts, { username, password });
const collections = cluster.bucket(bucket).scope(scope);
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  let answer;
  try {
    const result = await commands[command.do](collections.collection(command.collection), command);
    answer = { ok: ANSWERS.has(command.do) ? result : null };
  } catch (error) {
    const [, kind = "other"] = KINDS.find(([type]) => error instanceof type) ?? [];
    answer = { error: kind, message: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await cluster.close();
