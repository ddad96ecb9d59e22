"""Another application by Couchbase's Python client, beside the tests of the browser: `application.py HOSTS USER PASSWORD BUCKET SCOPE`.

Each line of the input is a command in JSON, each line of the output its answer: `{"ok": …}`, or `{"error": KIND, "message": …}`.
`packages/tidelock/test/couchbase/application.ts` lists the commands. It ends with its input.
"""

import json
import sys
from datetime import timedelta

from couchbase import subdocument
from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.exceptions import (
    CasMismatchException,
    CouchbaseException,
    DocumentExistsException,
    DocumentNotFoundException,
)
from couchbase.options import (
    ClusterOptions,
    DeltaValue,
    IncrementOptions,
    ReplaceOptions,
    SignedInt64,
    UpsertOptions,
)

PATIENCE = timedelta(seconds=15)
KINDS = {
    DocumentNotFoundException: "not-found",
    DocumentExistsException: "exists",
    CasMismatchException: "cas-mismatch",
}


def read(collection, key, **_):
    found = collection.get(key)
    return {"document": found.value, "cas": str(found.cas)}


def insert(collection, key, document):
    collection.insert(key, document)


def upsert(collection, key, document, expiry_s=0):
    collection.upsert(key, document, UpsertOptions(expiry=timedelta(seconds=expiry_s)))


def replace(collection, key, document, cas=None):
    options = ReplaceOptions(cas=int(cas)) if cas else ReplaceOptions()
    collection.replace(key, document, options)


def remove(collection, key):
    collection.remove(key)


def touch(collection, key, expiry_s):
    collection.touch(key, timedelta(seconds=expiry_s))


def spec(name, path, value=None):
    if name == "upsert":
        return subdocument.upsert(path, value)
    if name == "increment":
        return subdocument.increment(path, value)
    if name == "append":
        return subdocument.array_append(path, value)
    return subdocument.remove(path)


def edit(collection, key, specs):
    collection.mutate_in(key, [spec(*one) for one in specs])


def count(collection, key, delta, initial):
    options = IncrementOptions(delta=DeltaValue(delta), initial=SignedInt64(initial))
    return collection.binary().increment(key, options).content


def add(collection, key, members, times):
    late = 0
    while times > 0:
        found = collection.get(key)
        document = found.value
        for member in members:
            document[member] += 1
        try:
            collection.replace(key, document, ReplaceOptions(cas=found.cas))
            times -= 1
        except CasMismatchException:
            late += 1
    return late


COMMANDS = {
    "get": read,
    "insert": insert,
    "upsert": upsert,
    "replace": replace,
    "remove": remove,
    "touch": touch,
    "edit": edit,
    "count": count,
    "add": add,
}


def answer(scope, command):
    carry_out = COMMANDS[command.pop("do")]
    collection = scope.collection(command.pop("collection"))
    try:
        return {"ok": carry_out(collection, **command)}
    except CouchbaseException as error:
        kind = next((name for type_, name in KINDS.items() if isinstance(error, type_)), "other")
        return {"error": kind, "message": str(error)}


def main():
    _, hosts, user, password, bucket, scope = sys.argv
    cluster = Cluster.connect(hosts, ClusterOptions(PasswordAuthenticator(user, password)))
    cluster.wait_until_ready(PATIENCE)
    collections = cluster.bucket(bucket).scope(scope)
    for line in sys.stdin:
        print(json.dumps(answer(collections, json.loads(line))), flush=True)
    cluster.close()


main()
