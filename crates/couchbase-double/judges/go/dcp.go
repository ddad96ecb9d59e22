package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/couchbase/gocbcore/v10"
	"github.com/couchbase/gocbcore/v10/memd"
)

// observer hands on what a stream tells, as text where only the kind matters.
type observer struct {
	documents chan document
	events    chan string
}

// document is a change of a document.
type document struct {
	kind       string
	key, value string
	collection uint32
	seqno      uint64
	datatype   uint8
	vbucket    uint16
}

// No check lets so many changes wait.
const queue = 1000

func newObserver() *observer {
	return &observer{documents: make(chan document, queue), events: make(chan string, queue)}
}

func (o *observer) SnapshotMarker(m gocbcore.DcpSnapshotMarker) {
	o.events <- fmt.Sprintf("snapshot %d-%d", m.StartSeqNo, m.EndSeqNo)
}
func (o *observer) Mutation(m gocbcore.DcpMutation) {
	o.documents <- document{"mutation", string(m.Key), string(m.Value), m.CollectionID, m.SeqNo, m.Datatype, m.VbID}
}
func (o *observer) Deletion(d gocbcore.DcpDeletion) {
	o.documents <- document{"deletion", string(d.Key), string(d.Value), d.CollectionID, d.SeqNo, d.Datatype, d.VbID}
}
func (o *observer) Expiration(e gocbcore.DcpExpiration) {
	o.documents <- document{"expiration", string(e.Key), "", e.CollectionID, e.SeqNo, 0, e.VbID}
}
func (o *observer) End(e gocbcore.DcpStreamEnd, err error) {
	o.events <- fmt.Sprintf("end %v", err)
}
func (o *observer) CreateCollection(c gocbcore.DcpCollectionCreation) {
	o.events <- "create collection " + string(c.Key)
}
func (o *observer) DeleteCollection(c gocbcore.DcpCollectionDeletion) {
	o.events <- fmt.Sprintf("delete collection %d", c.CollectionID)
}
func (o *observer) FlushCollection(gocbcore.DcpCollectionFlush) {}
func (o *observer) CreateScope(c gocbcore.DcpScopeCreation) {
	o.events <- "create scope " + string(c.Key)
}
func (o *observer) DeleteScope(gocbcore.DcpScopeDeletion)               {}
func (o *observer) ModifyCollection(gocbcore.DcpCollectionModification) {}
func (o *observer) OSOSnapshot(gocbcore.DcpOSOSnapshot)                 {}
func (o *observer) SeqNoAdvanced(a gocbcore.DcpSeqNoAdvanced) {
	o.events <- fmt.Sprintf("advanced %d", a.SeqNo)
}

// next waits for a change.
func (o *observer) next() (document, error) {
	select {
	case d := <-o.documents:
		return d, nil
	case <-time.After(patience):
		return document{}, errors.New("no change came")
	}
}

// event waits for an event of that text.
func (o *observer) event(text string) error {
	deadline := time.After(patience)
	for {
		select {
		case e := <-o.events:
			if e == text {
				return nil
			}
		case <-deadline:
			return fmt.Errorf("the event %q did not come", text)
		}
	}
}

// clients are a DCP agent and one that writes.
type clients struct {
	dcp *gocbcore.DCPAgent
	kv  *gocbcore.Agent
}

func (c cluster) connect() (clients, error) {
	auth := gocbcore.PasswordAuthProvider{Username: user, Password: password}
	address := "couchbase://" + c.hosts
	var config gocbcore.DCPAgentConfig
	if err := config.FromConnStr(address); err != nil {
		return clients{}, err
	}
	config.BucketName = bucket
	config.SecurityConfig.Auth = auth
	config.SecurityConfig.UseTLS = false
	config.IoConfig.UseCollections = true
	config.EnableCCCPPoller = true
	config.DCPConfig.UseExpiryOpcode = true
	config.DCPConfig.BufferSize = 16 << 10
	flags := memd.DcpOpenFlagProducer | memd.DcpOpenFlagIncludeXattrs | memd.DcpOpenFlagIncludeDeleteTimes
	dcp, err := gocbcore.CreateDcpAgent(&config, "judge", flags)
	if err != nil {
		return clients{}, fmt.Errorf("the DCP agent: %w", err)
	}
	var kvConfig gocbcore.AgentConfig
	if err := kvConfig.FromConnStr(address); err != nil {
		return clients{}, err
	}
	kvConfig.BucketName = bucket
	kvConfig.SecurityConfig.Auth = auth
	kvConfig.IoConfig.UseCollections = true
	kvConfig.IoConfig.UseMutationTokens = true
	kv, err := gocbcore.CreateAgent(&kvConfig)
	if err != nil {
		return clients{}, fmt.Errorf("the agent: %w", err)
	}
	made := clients{dcp, kv}
	deadline := time.Now().Add(patience)
	err = await(func(done func(error)) (gocbcore.PendingOp, error) {
		return dcp.WaitUntilReady(deadline, gocbcore.WaitUntilReadyOptions{}, func(_ *gocbcore.WaitUntilReadyResult, err error) { done(err) })
	})
	if err != nil {
		return made, fmt.Errorf("the DCP agent is not ready: %w", err)
	}
	return made, await(func(done func(error)) (gocbcore.PendingOp, error) {
		return kv.WaitUntilReady(deadline, gocbcore.WaitUntilReadyOptions{}, func(_ *gocbcore.WaitUntilReadyResult, err error) { done(err) })
	})
}

func (c clients) close() {
	// The process ends right after it.
	_ = c.dcp.Close()
	_ = c.kv.Close()
}

// await turns an operation with a callback into one that returns.
func await(begin func(done func(error)) (gocbcore.PendingOp, error)) error {
	result := make(chan error, 1)
	if _, err := begin(func(err error) { result <- err }); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-time.After(patience):
		return errors.New("no answer in time")
	}
}

// place is where a stream begins.
type place struct {
	uuid             gocbcore.VbUUID
	seqno, start, to gocbcore.SeqNo
}

func (c clients) open(vbucket uint16, from place, o gocbcore.StreamObserver, filter *gocbcore.OpenStreamFilterOptions) ([]gocbcore.FailoverEntry, error) {
	var log []gocbcore.FailoverEntry
	err := await(func(done func(error)) (gocbcore.PendingOp, error) {
		return c.dcp.OpenStream(vbucket, memd.DcpStreamAddFlagActiveOnly, from.uuid, from.seqno, gocbcore.SeqNo(^uint64(0)), from.start, from.to, o,
			gocbcore.OpenStreamOptions{FilterOptions: filter},
			func(entries []gocbcore.FailoverEntry, err error) { log = entries; done(err) })
	})
	return log, err
}

// openAll follows every vbucket from the beginning.
func (c clients) openAll(o *observer, filter *gocbcore.OpenStreamFilterOptions) error {
	snapshot, err := c.dcp.ConfigSnapshot()
	if err != nil {
		return err
	}
	count, err := snapshot.NumVbuckets()
	if err != nil {
		return err
	}
	for vbucket := range count {
		if _, err := c.open(uint16(vbucket), place{}, o, filter); err != nil {
			return fmt.Errorf("vbucket %d: %w", vbucket, err)
		}
	}
	return nil
}

// set writes a document and tells its sequence number and branch.
func (c clients) set(key, value, scope, collection string) (gocbcore.MutationToken, error) {
	var token gocbcore.MutationToken
	err := await(func(done func(error)) (gocbcore.PendingOp, error) {
		options := gocbcore.SetOptions{Key: []byte(key), Value: []byte(value), ScopeName: scope, CollectionName: collection}
		return c.kv.Set(options, func(r *gocbcore.StoreResult, err error) {
			if r != nil {
				token = r.MutationToken
			}
			done(err)
		})
	})
	return token, err
}

func (c clients) remove(key string) error {
	return await(func(done func(error)) (gocbcore.PendingOp, error) {
		return c.kv.Delete(gocbcore.DeleteOptions{Key: []byte(key)}, func(_ *gocbcore.DeleteResult, err error) { done(err) })
	})
}

// Many documents through a small buffer, then a deletion: mutations, markers, flow control.
func dcpStreams(c cluster) error {
	clients, err := c.connect()
	if err != nil {
		return err
	}
	defer clients.close()
	const count = 200
	for n := range count {
		if _, err := clients.set(fmt.Sprintf("k%d", n), fmt.Sprintf(`{"n":%d,"pad":"%0500d"}`, n, n), "", ""); err != nil {
			return err
		}
	}
	o := newObserver()
	// The streams' buffers are acknowledged by the client itself.
	if err := clients.openAll(o, nil); err != nil {
		return err
	}
	seen := map[string]bool{}
	last := map[uint16]uint64{}
	for len(seen) < count {
		d, err := o.next()
		if err != nil {
			return fmt.Errorf("%d of %d: %w", len(seen), count, err)
		}
		if d.kind != "mutation" || seen[d.key] || d.seqno <= last[d.vbucket] {
			return fmt.Errorf("unexpected: %+v", d)
		}
		seen[d.key], last[d.vbucket] = true, d.seqno
	}
	if err := clients.remove("k7"); err != nil {
		return err
	}
	d, err := o.next()
	if err != nil {
		return err
	}
	return expect("the deletion", d.kind+" "+d.key, "deletion k7")
}

// One collection's stream, and the end of it when the collection is dropped.
func dcpFilter(c cluster) error {
	clients, err := c.connect()
	if err != nil {
		return err
	}
	defer clients.close()
	scopes := "/pools/default/buckets/" + bucket + "/scopes"
	if err := c.post(scopes, url.Values{"name": {"app"}}); err != nil {
		return err
	}
	for _, name := range []string{"one", "two"} {
		if err := c.post(scopes+"/app/collections", url.Values{"name": {name}}); err != nil {
			return err
		}
	}
	var id uint32
	err = await(func(done func(error)) (gocbcore.PendingOp, error) {
		return clients.kv.GetCollectionID("app", "one", gocbcore.GetCollectionIDOptions{}, func(r *gocbcore.GetCollectionIDResult, err error) {
			if r != nil {
				id = r.CollectionID
			}
			done(err)
		})
	})
	if err != nil {
		return err
	}
	o := newObserver()
	if err := clients.openAll(o, &gocbcore.OpenStreamFilterOptions{CollectionIDs: []uint32{id}}); err != nil {
		return err
	}
	if err := o.event("create collection one"); err != nil {
		return err
	}
	// The scope, the collection, and the other collection, which is filtered out: the snapshot reaches over it.
	if err := o.event("advanced 3"); err != nil {
		return err
	}
	if _, err := clients.set("hidden", "{}", "app", "two"); err != nil {
		return err
	}
	if _, err := clients.set("shown", "{}", "app", "one"); err != nil {
		return err
	}
	d, err := o.next()
	if err != nil {
		return err
	}
	return errors.Join(expect("the key", d.key, "shown"), expect("the collection", d.collection, id))
}

// A branch that nobody knows, and a start beyond the end, are rolled back.
func dcpRollback(c cluster) error {
	clients, err := c.connect()
	if err != nil {
		return err
	}
	defer clients.close()
	token, err := clients.set("k", "{}", "", "")
	if err != nil {
		return err
	}
	seqno := gocbcore.SeqNo(token.SeqNo)
	refused := func(from place, to gocbcore.SeqNo) error {
		_, err := clients.open(token.VbID, from, newObserver(), nil)
		var rollback gocbcore.DCPRollbackError
		if !errors.As(err, &rollback) {
			return fmt.Errorf("no rollback but %v", err)
		}
		return expect("the rollback's sequence number", rollback.SeqNo, to)
	}
	if err := refused(place{token.VbUUID + 1, seqno, seqno, seqno}, 0); err != nil {
		return fmt.Errorf("an unknown branch: %w", err)
	}
	if err := refused(place{token.VbUUID, seqno + 5, seqno + 5, seqno + 5}, seqno); err != nil {
		return fmt.Errorf("a history that was lost: %w", err)
	}
	return nil
}

// A stream that goes on, and one that ends because its vbucket moves.
func dcpResume(c cluster) error {
	clients, err := c.connect()
	if err != nil {
		return err
	}
	defer clients.close()
	token, err := clients.set("k", "1", "", "")
	if err != nil {
		return err
	}
	o := newObserver()
	seqno := gocbcore.SeqNo(token.SeqNo)
	log, err := clients.open(token.VbID, place{token.VbUUID, seqno, seqno, seqno}, o, nil)
	if err != nil {
		return err
	}
	if err := expect("the newest branch", log[0].VbUUID, token.VbUUID); err != nil {
		return err
	}
	if _, err := clients.set("k", "2", "", ""); err != nil {
		return err
	}
	d, err := o.next()
	if err != nil {
		return err
	}
	if err := expect("the value", d.value, "2"); err != nil {
		return err
	}
	if err := c.post("/_double/end-streams", url.Values{"vbucket": {fmt.Sprint(token.VbID)}, "reason": {"2"}}); err != nil {
		return err
	}
	return o.event(fmt.Sprintf("end %v", gocbcore.ErrDCPStreamStateChanged))
}
