"""Couchbase's Python client as a judge of the double: `judge.py CHECK HOSTS MANAGEMENT`."""

import sys
from datetime import timedelta

from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.durability import DurabilityLevel, ServerDurability
from couchbase.exceptions import CasMismatchException, DocumentExistsException, DocumentNotFoundException
from couchbase.options import ClusterOptions, LookupInOptions, MutateInOptions, ReplaceOptions, UpsertOptions
from couchbase.subdocument import MutationMacro, StoreSemantics, get, get_full, replace, upsert

PATIENCE = timedelta(seconds=15)


def collection_of(hosts):
    options = ClusterOptions(PasswordAuthenticator("Administrator", "password"))
    cluster = Cluster.connect("couchbase://" + hosts, options)
    cluster.wait_until_ready(PATIENCE)
    return cluster, cluster.bucket("default").default_collection()


def expect(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: {found!r} instead of {expected!r}")


def expect_error(what, kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{what} gives no {kind.__name__}")


def sdk_values(collection):
    durable = UpsertOptions(durability=ServerDurability(DurabilityLevel.MAJORITY))
    written = collection.upsert("k", {"a": 1}, durable)
    read = collection.get("k")
    expect("the value", read.content_as[dict], {"a": 1})
    expect("the CAS", read.cas, written.cas)
    wrong = ReplaceOptions(cas=written.cas + 1)
    expect_error("a wrong CAS", CasMismatchException, lambda: collection.replace("k", 2, wrong))
    expect_error("an insert over a document", DocumentExistsException, lambda: collection.insert("k", 3))
    expect_error("a missing document", DocumentNotFoundException, lambda: collection.get("missing"))
    collection.remove("k")
    expect("the removed document", collection.exists("k").exists, False)


def sdk_xattrs(collection):
    specs = [
        upsert("_tl.v", 7, xattr=True, create_parents=True),
        upsert("_tl.cas", MutationMacro.cas(), xattr=True, create_parents=True),
        replace("", {"a": 1}),
    ]
    written = collection.mutate_in("k", specs, MutateInOptions(store_semantics=StoreSemantics.UPSERT))
    read = collection.lookup_in("k", [get("_tl", xattr=True), get("$document.CAS", xattr=True), get_full()])
    meta = read.content_as[dict](0)
    expect("the attribute", meta["v"], 7)
    expect("the macro", int.from_bytes(bytes.fromhex(meta["cas"][2:]), "little"), written.cas)
    expect("$document.CAS", int(read.content_as[str](1), 16), written.cas)
    expect("the body", read.content_as[dict](2), {"a": 1})
    collection.remove("k")
    deleted = LookupInOptions(access_deleted=True)
    tombstone = collection.lookup_in("k", [get("_tl.v", xattr=True), get("$document.deleted", xattr=True)], deleted)
    expect("the tombstone's attribute", tombstone.content_as[int](0), 7)
    expect("$document.deleted", tombstone.content_as[bool](1), True)
    hidden = [get("_tl.v", xattr=True)]
    expect_error("a hidden tombstone", DocumentNotFoundException, lambda: collection.lookup_in("k", hidden))


def main():
    checks = {"sdk-values": sdk_values, "sdk-xattrs": sdk_xattrs}
    _, check, hosts, _management = sys.argv
    cluster, collection = collection_of(hosts)
    checks[check](collection)
    cluster.close()


main()
