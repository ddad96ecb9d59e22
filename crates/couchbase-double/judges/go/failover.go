package main

import (
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/couchbase/gocbcore/v10"
)

// follower keeps what its streams have told, and where each of them stands. Its other methods are those of observer.
type follower struct {
	*observer
	mutex    sync.Mutex
	vbuckets map[uint16]*history
	// Told is that something has changed; one waiting notice is enough.
	changed chan struct{}
	// Vbuckets whose streams have ended.
	ended map[uint16]error
}

// history is what is known of a vbucket.
type history struct {
	place
	versions []version
	// How often it was rolled back.
	rollbacks int
}

// version is what a key became; nothing when it was deleted.
type version struct {
	key   string
	seqno gocbcore.SeqNo
	value *string
}

func newFollower(vbuckets int) *follower {
	f := &follower{observer: newObserver(), vbuckets: map[uint16]*history{}, changed: make(chan struct{}, 1), ended: map[uint16]error{}}
	for vbucket := range vbuckets {
		f.vbuckets[uint16(vbucket)] = &history{}
	}
	return f
}

// change calls change under the lock, and tells that something was changed.
func (f *follower) change(change func()) {
	f.mutex.Lock()
	change()
	f.mutex.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *follower) take(vbucket uint16, seqno uint64, key string, value *string) {
	f.change(func() {
		h := f.vbuckets[vbucket]
		h.seqno = gocbcore.SeqNo(seqno)
		h.versions = append(h.versions, version{key, h.seqno, value})
	})
}

func (f *follower) SnapshotMarker(m gocbcore.DcpSnapshotMarker) {
	f.change(func() {
		f.vbuckets[m.VbID].start, f.vbuckets[m.VbID].to = gocbcore.SeqNo(m.StartSeqNo), gocbcore.SeqNo(m.EndSeqNo)
	})
}
func (f *follower) Mutation(m gocbcore.DcpMutation) {
	value := string(m.Value)
	f.take(m.VbID, m.SeqNo, string(m.Key), &value)
}
func (f *follower) Deletion(d gocbcore.DcpDeletion)     { f.take(d.VbID, d.SeqNo, string(d.Key), nil) }
func (f *follower) Expiration(e gocbcore.DcpExpiration) { f.take(e.VbID, e.SeqNo, string(e.Key), nil) }
func (f *follower) SeqNoAdvanced(a gocbcore.DcpSeqNoAdvanced) {
	f.change(func() { f.vbuckets[a.VbID].seqno = gocbcore.SeqNo(a.SeqNo) })
}
func (f *follower) End(e gocbcore.DcpStreamEnd, err error) {
	f.change(func() { f.ended[e.VbID] = err })
}

// until waits for something that is looked for under the lock.
func (f *follower) until(what string, is func() bool) error {
	deadline := time.After(patience)
	for {
		f.mutex.Lock()
		found := is()
		f.mutex.Unlock()
		if found {
			return nil
		}
		select {
		case <-f.changed:
		case <-deadline:
			return fmt.Errorf("%s did not come", what)
		}
	}
}

// open goes on where the vbucket stands, further back where the server says so. A connection that the agent gives up with the former
// configuration takes a request with it, which is sent again.
func (f *follower) open(c clients, vbucket uint16) error {
	deadline := time.Now().Add(patience)
	for {
		f.mutex.Lock()
		h := f.vbuckets[vbucket]
		from := h.place
		if from.seqno == from.to || from.seqno < from.start {
			// The snapshot is complete, or nothing of it is there.
			from.start, from.to = from.seqno, from.seqno
		}
		f.mutex.Unlock()
		log, err := c.open(vbucket, from, f, nil)
		var rollback gocbcore.DCPRollbackError
		if err == nil {
			f.mutex.Lock()
			defer f.mutex.Unlock()
			h.uuid = log[0].VbUUID
			return nil
		}
		if errors.Is(err, gocbcore.ErrMemdClientClosed) && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if !errors.As(err, &rollback) {
			return fmt.Errorf("vbucket %d: %w", vbucket, err)
		}
		if rollback.SeqNo >= from.seqno {
			return fmt.Errorf("vbucket %d at %d is rolled back to %d", vbucket, from.seqno, rollback.SeqNo)
		}
		f.mutex.Lock()
		h.back(rollback.SeqNo)
		f.mutex.Unlock()
	}
}

// back forgets what lies above a sequence number.
func (h *history) back(seqno gocbcore.SeqNo) {
	kept := h.versions[:0]
	for _, v := range h.versions {
		if v.seqno <= seqno {
			kept = append(kept, v)
		}
	}
	h.versions = kept
	h.rollbacks++
	h.place = place{uuid: h.uuid, seqno: seqno, start: seqno, to: seqno}
	if seqno == 0 {
		h.uuid = 0
	}
}

// reopen opens the streams that have ended again, of which there are to be so many.
func (f *follower) reopen(c clients, count int, reason error) error {
	if err := f.until(fmt.Sprintf("the end of %d streams", count), func() bool { return len(f.ended) == count }); err != nil {
		return fmt.Errorf("%w: %d ended", err, len(f.ended))
	}
	f.mutex.Lock()
	ended := f.ended
	f.ended = map[uint16]error{}
	f.mutex.Unlock()
	for vbucket, why := range ended {
		if reason != nil && !errors.Is(why, reason) {
			return fmt.Errorf("the stream of vbucket %d ended with %v", vbucket, why)
		}
		if err := f.open(c, vbucket); err != nil {
			return err
		}
	}
	return nil
}

// shown is what the streams have told, by key.
func (f *follower) shown() map[string]string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	all := map[string]string{}
	for _, h := range f.vbuckets {
		for _, v := range h.versions {
			if v.value == nil {
				delete(all, v.key)
			} else {
				all[v.key] = *v.value
			}
		}
	}
	return all
}

// write stores documents and waits until the streams have told all of it.
func (f *follower) write(c clients, keys []string, value string) error {
	last := map[uint16]gocbcore.SeqNo{}
	for _, key := range keys {
		token, err := c.set(key, value, "", "")
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		last[token.VbID] = gocbcore.SeqNo(token.SeqNo)
	}
	return f.until("what was written", func() bool {
		for vbucket, seqno := range last {
			if f.vbuckets[vbucket].seqno < seqno {
				return false
			}
		}
		return true
	})
}

// compare holds what the streams have told against what the nodes have.
func (f *follower) compare(c clients, keys []string) error {
	told := f.shown()
	for _, key := range keys {
		var found *string
		err := await(func(done func(error)) (gocbcore.PendingOp, error) {
			return c.kv.Get(gocbcore.GetOptions{Key: []byte(key)}, func(r *gocbcore.GetResult, err error) {
				if r != nil {
					value := string(r.Value)
					found = &value
				}
				done(err)
			})
		})
		if err != nil && !errors.Is(err, gocbcore.ErrDocumentNotFound) {
			return fmt.Errorf("%s: %w", key, err)
		}
		value, is := told[key]
		if is != (found != nil) || is && value != *found {
			return fmt.Errorf("%s: the streams told %q (%v), the node has %v", key, value, is, found)
		}
		delete(told, key)
	}
	if len(told) > 0 {
		return fmt.Errorf("the streams told of documents that nobody wrote: %v", told)
	}
	return nil
}

func named(prefix string, count int) []string {
	keys := make([]string, count)
	for n := range keys {
		keys[n] = fmt.Sprintf("%s-%d", prefix, n)
	}
	return keys
}

// A node fails while its replicas lag: streams end, those whose history was lost are rolled back and go on, and in the end the streams have
// told what the nodes have. Then all connections break, and nothing is rolled back.
func dcpFailover(c cluster) error {
	clients, err := c.connect()
	if err != nil {
		return err
	}
	defer clients.close()
	snapshot, err := clients.dcp.ConfigSnapshot()
	if err != nil {
		return err
	}
	count, err := snapshot.NumVbuckets()
	if err != nil {
		return err
	}
	f := newFollower(count)
	for vbucket := range count {
		if err := f.open(clients, uint16(vbucket)); err != nil {
			return err
		}
	}
	kept, lost, later := named("kept", 150), named("lost", 60), named("later", 60)
	all := append(append(append([]string{}, kept...), lost...), later...)
	if err := f.write(clients, kept, `"first"`); err != nil {
		return err
	}
	if err := c.post("/_double/hold-replication", nil); err != nil {
		return err
	}
	if err := f.write(clients, append(append([]string{}, lost...), kept[:50]...), `"second"`); err != nil {
		return err
	}
	for _, key := range kept[100:110] {
		if err := clients.remove(key); err != nil {
			return err
		}
	}
	if err := f.until("the removals", func() bool { return f.removed() == 10 }); err != nil {
		return err
	}
	if err := f.compare(clients, all); err != nil {
		return fmt.Errorf("before the fail-over: %w", err)
	}
	before := f.branches()
	if err := c.post("/_double/fail-over", url.Values{"node": {"1"}}); err != nil {
		return err
	}
	if err := clients.untilServers(1); err != nil {
		return err
	}
	if err := f.reopen(clients, count/2, gocbcore.ErrDCPStreamStateChanged); err != nil {
		return err
	}
	if rolled := f.rolledBack(); rolled == 0 {
		return errors.New("nothing was rolled back")
	}
	begun := 0
	for vbucket, uuid := range f.branches() {
		if uuid != before[vbucket] {
			begun++
		}
	}
	if err := expect("the branches that began", begun, count/2); err != nil {
		return err
	}
	if err := f.write(clients, later, `"third"`); err != nil {
		return err
	}
	if err := f.compare(clients, all); err != nil {
		return fmt.Errorf("after the fail-over: %w", err)
	}
	if told := f.shown(); len(told) == len(all) || told[kept[100]] == "" && told[kept[101]] == "" && told[kept[102]] == "" {
		return fmt.Errorf("nothing was lost, or nothing came back: %d documents", len(told))
	}
	return dcpCut(c, clients, f, count, all)
}

// untilServers waits until both agents have a configuration with so many nodes. Without it an agent would ask the failed node, learn from
// its refusal that the node is none any more, and close the connection from the goroutine that reads it, which then waits for itself
// (gocbcore 10.8.1, memdclient.go).
func (c clients) untilServers(count int) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		isKnown := true
		for _, agent := range []interface {
			ConfigSnapshot() (*gocbcore.ConfigSnapshot, error)
		}{c.dcp, c.kv} {
			snapshot, err := agent.ConfigSnapshot()
			if err != nil {
				return err
			}
			servers, err := snapshot.NumServers()
			if err != nil {
				return err
			}
			isKnown = isKnown && servers == count
		}
		if isKnown {
			return nil
		}
	}
	return fmt.Errorf("an agent has not heard that there are %d nodes", count)
}

// Every connection breaks: the streams go on where they were.
func dcpCut(c cluster, clients clients, f *follower, count int, all []string) error {
	before := f.rolledBack()
	if err := c.post("/_double/cut-dcp", nil); err != nil {
		return err
	}
	if err := f.reopen(clients, count, nil); err != nil {
		return err
	}
	if err := f.write(clients, all[:40], `"fourth"`); err != nil {
		return err
	}
	if err := f.compare(clients, all); err != nil {
		return fmt.Errorf("after the connections broke: %w", err)
	}
	return expect("the roll-backs of connections that broke", f.rolledBack()-before, 0)
}

// removed counts the deletions that were told and not rolled back. Under the lock.
func (f *follower) removed() int {
	count := 0
	for _, h := range f.vbuckets {
		for _, v := range h.versions {
			if v.value == nil {
				count++
			}
		}
	}
	return count
}

// branches are the newest ones that the servers told of, by vbucket.
func (f *follower) branches() map[uint16]gocbcore.VbUUID {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	all := map[uint16]gocbcore.VbUUID{}
	for vbucket, h := range f.vbuckets {
		all[vbucket] = h.uuid
	}
	return all
}

func (f *follower) rolledBack() int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	count := 0
	for _, h := range f.vbuckets {
		count += h.rollbacks
	}
	return count
}
