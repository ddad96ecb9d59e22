package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/couchbase/gocb/v2"
)

func (c cluster) collection() (*gocb.Cluster, *gocb.Collection, error) {
	options := gocb.ClusterOptions{Authenticator: gocb.PasswordAuthenticator{Username: user, Password: password}}
	connected, err := gocb.Connect("couchbase://"+c.hosts, options)
	if err != nil {
		return nil, nil, err
	}
	b := connected.Bucket(bucket)
	if err := b.WaitUntilReady(patience, &gocb.WaitUntilReadyOptions{ServiceTypes: []gocb.ServiceType{gocb.ServiceTypeKeyValue}}); err != nil {
		return nil, nil, fmt.Errorf("the bucket is not ready: %w", err)
	}
	return connected, b.DefaultCollection(), nil
}

// Writes, reads, conditions, counters, expiry, durability.
func sdkValues(c cluster) error {
	connected, collection, err := c.collection()
	if err != nil {
		return err
	}
	defer connected.Close(nil)
	written, err := collection.Upsert("k", map[string]int{"a": 1}, &gocb.UpsertOptions{DurabilityLevel: gocb.DurabilityLevelMajority})
	if err != nil {
		return err
	}
	read, err := collection.Get("k", nil)
	if err != nil {
		return err
	}
	var value map[string]int
	if err := read.Content(&value); err != nil {
		return err
	}
	if err := errors.Join(expect("the value", value["a"], 1), expect("the CAS", read.Cas(), written.Cas())); err != nil {
		return err
	}
	if _, err := collection.Replace("k", 2, &gocb.ReplaceOptions{Cas: written.Cas() + 1}); !errors.Is(err, gocb.ErrCasMismatch) {
		return fmt.Errorf("a wrong CAS gives %v", err)
	}
	if _, err := collection.Insert("k", 3, nil); !errors.Is(err, gocb.ErrDocumentExists) {
		return fmt.Errorf("an insert over a document gives %v", err)
	}
	if _, err := collection.Get("missing", nil); !errors.Is(err, gocb.ErrDocumentNotFound) {
		return fmt.Errorf("a missing document gives %v", err)
	}
	counter, err := collection.Binary().Increment("n", &gocb.IncrementOptions{Initial: 5, Delta: 2})
	if err != nil {
		return err
	}
	if err := expect("the counter", counter.Content(), uint64(5)); err != nil {
		return err
	}
	if _, err := collection.Upsert("brief", 1, &gocb.UpsertOptions{Expiry: time.Minute}); err != nil {
		return err
	}
	brief, err := collection.Get("brief", &gocb.GetOptions{WithExpiry: true})
	if err != nil {
		return err
	}
	if left := time.Until(brief.ExpiryTime()); left < 50*time.Second || left > 61*time.Second {
		return fmt.Errorf("the expiry is in %v", left)
	}
	_, err = collection.Remove("k", nil)
	return err
}

// Attributes with macros, in documents and in tombstones.
func sdkXattrs(c cluster) error {
	connected, collection, err := c.collection()
	if err != nil {
		return err
	}
	defer connected.Close(nil)
	xattr := &gocb.UpsertSpecOptions{IsXattr: true, CreatePath: true}
	specs := []gocb.MutateInSpec{
		gocb.UpsertSpec("_tl.v", 7, xattr),
		gocb.UpsertSpec("_tl.cas", gocb.MutationMacroCAS, xattr),
		gocb.ReplaceSpec("", map[string]int{"a": 1}, nil),
	}
	written, err := collection.MutateIn("k", specs, &gocb.MutateInOptions{StoreSemantic: gocb.StoreSemanticsUpsert})
	if err != nil {
		return err
	}
	get := &gocb.GetSpecOptions{IsXattr: true}
	lookup := []gocb.LookupInSpec{gocb.GetSpec("_tl", get), gocb.GetSpec("$document.CAS", get), gocb.GetSpec("", nil)}
	read, err := collection.LookupIn("k", lookup, nil)
	if err != nil {
		return err
	}
	var meta struct {
		V   int    `json:"v"`
		Cas string `json:"cas"`
	}
	var cas string
	var body map[string]int
	if err := errors.Join(read.ContentAt(0, &meta), read.ContentAt(1, &cas), read.ContentAt(2, &body)); err != nil {
		return err
	}
	// The macro has the bytes in the reverse order.
	reversed := "0x"
	for shift := 0; shift < 64; shift += 8 {
		reversed += fmt.Sprintf("%02x", byte(uint64(written.Cas())>>shift))
	}
	if err := errors.Join(
		expect("the attribute", meta.V, 7),
		expect("the macro", strings.ToLower(meta.Cas), reversed),
		expect("$document.CAS", strings.ToLower(cas), fmt.Sprintf("0x%016x", uint64(written.Cas()))),
		expect("the body", body["a"], 1),
	); err != nil {
		return err
	}
	if _, err := collection.Remove("k", nil); err != nil {
		return err
	}
	options := &gocb.LookupInOptions{}
	options.Internal.DocFlags = gocb.SubdocDocFlagAccessDeleted
	tombstone, err := collection.LookupIn("k", []gocb.LookupInSpec{gocb.GetSpec("_tl.v", get)}, options)
	if err != nil {
		return fmt.Errorf("the tombstone: %w", err)
	}
	var kept int
	if err := tombstone.ContentAt(0, &kept); err != nil {
		return err
	}
	return expect("the tombstone's attribute", kept, 7)
}
