// Couchbase's Node client as a judge of the double: `node judge.mjs CHECK HOSTS MANAGEMENT`.

import assert from "node:assert/strict";
import couchbase from "couchbase";

const [check, hosts] = process.argv.slice(2);
const checks = { "sdk-values": values, "sdk-xattrs": xattrs };

const cluster = await couchbase.connect(`couchbase://${hosts}`, { username: "Administrator", password: "password" });
const run = checks[check];
assert(run, `there is no check ${check}`);
await run(cluster.bucket("default").defaultCollection());
await cluster.close();

async function values(collection) {
  const written = await collection.upsert("k", { a: 1 }, { durabilityLevel: couchbase.DurabilityLevel.Majority });
  const read = await collection.get("k");
  assert.deepEqual(read.content, { a: 1 });
  assert.equal(read.cas.toString(), written.cas.toString());
  const later = await collection.upsert("k", { a: 2 });
  await assert.rejects(collection.replace("k", 3, { cas: written.cas }), couchbase.CasMismatchError);
  assert.notEqual(later.cas.toString(), written.cas.toString());
  await assert.rejects(collection.insert("k", 3), couchbase.DocumentExistsError);
  await assert.rejects(collection.get("missing"), couchbase.DocumentNotFoundError);
  const counter = await collection.binary().increment("n", 2, { initial: 5 });
  assert.equal(counter.value, 5);
  await collection.remove("k");
  assert.equal((await collection.exists("k")).exists, false);
}

async function xattrs(collection) {
  const { MutateInSpec, LookupInSpec, MutateInMacro, StoreSemantics } = couchbase;
  const specs = [
    MutateInSpec.upsert("_tl.v", 7, { xattr: true, createPath: true }),
    MutateInSpec.upsert("_tl.cas", MutateInMacro.Cas, { xattr: true, createPath: true }),
    MutateInSpec.replace("", { a: 1 }),
  ];
  const written = await collection.mutateIn("k", specs, { storeSemantics: StoreSemantics.Upsert });
  const read = await collection.lookupIn("k", [
    LookupInSpec.get("_tl", { xattr: true }),
    LookupInSpec.get("$document.CAS", { xattr: true }),
    LookupInSpec.get("a"),
  ]);
  const [meta, cas, field] = read.content.map((one) => one.value);
  assert.equal(meta.v, 7);
  // The macro has the bytes in the reverse order.
  assert.equal(
    Buffer.from(meta.cas.slice(2), "hex").reverse().toString("hex"),
    BigInt(cas).toString(16).padStart(16, "0"),
  );
  assert.equal(BigInt(cas).toString(), written.cas.toString());
  assert.equal(field, 1);
  await collection.remove("k");
  const tombstone = await collection.lookupIn("k", [LookupInSpec.get("_tl.v", { xattr: true })], {
    accessDeleted: true,
  });
  assert.equal(tombstone.content[0].value, 7);
}
