// Follows one collection by gocbcore's DCP agent until it has so many documents, and prints what it took: the measure of our own client for
// DCP (`cargo xtask bench couchbase`). `follow HOSTS USER PASSWORD BUCKET COLLECTION-ID COUNT`.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/couchbase/gocbcore/v10"
	"github.com/couchbase/gocbcore/v10/memd"
)

const (
	patience = time.Minute
	// What each node may send before some is acknowledged, as our client has it.
	buffer = 10 << 20
	// So many streams are asked for before the first answer is waited for.
	opening = 64
)

// counter counts documents, and tells when there are enough.
type counter struct {
	wanted, found, bytes int64
	done                 chan struct{}
	failed               chan error
}

func (c *counter) Mutation(m gocbcore.DcpMutation) {
	atomic.AddInt64(&c.bytes, int64(len(m.Key)+len(m.Value)))
	if atomic.AddInt64(&c.found, 1) == c.wanted {
		close(c.done)
	}
}
func (c *counter) End(e gocbcore.DcpStreamEnd, err error) {
	c.failed <- fmt.Errorf("the stream of vbucket %d ended: %v", e.VbID, err)
}
func (c *counter) SnapshotMarker(gocbcore.DcpSnapshotMarker)           {}
func (c *counter) Deletion(gocbcore.DcpDeletion)                       {}
func (c *counter) Expiration(gocbcore.DcpExpiration)                   {}
func (c *counter) CreateCollection(gocbcore.DcpCollectionCreation)     {}
func (c *counter) DeleteCollection(gocbcore.DcpCollectionDeletion)     {}
func (c *counter) FlushCollection(gocbcore.DcpCollectionFlush)         {}
func (c *counter) CreateScope(gocbcore.DcpScopeCreation)               {}
func (c *counter) DeleteScope(gocbcore.DcpScopeDeletion)               {}
func (c *counter) ModifyCollection(gocbcore.DcpCollectionModification) {}
func (c *counter) OSOSnapshot(gocbcore.DcpOSOSnapshot)                 {}
func (c *counter) SeqNoAdvanced(gocbcore.DcpSeqNoAdvanced)             {}

func main() {
	if len(os.Args) != 7 {
		fmt.Fprintln(os.Stderr, "usage: follow HOSTS USER PASSWORD BUCKET COLLECTION-ID COUNT")
		os.Exit(2)
	}
	id, notID := strconv.ParseUint(os.Args[5], 10, 32)
	wanted, notCount := strconv.ParseInt(os.Args[6], 10, 64)
	if err := errors.Join(notID, notCount); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	begin := time.Now()
	c := &counter{wanted: wanted, done: make(chan struct{}), failed: make(chan error, 1024)}
	if err := follow(os.Args[1], os.Args[2], os.Args[3], os.Args[4], uint32(id), c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	seconds := time.Since(begin).Seconds()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
	took, _ := json.Marshal(map[string]any{"seconds": seconds, "cpu_seconds": cpu, "bytes": c.bytes})
	fmt.Println(string(took))
}

func follow(hosts, user, password, bucket string, collection uint32, c *counter) error {
	var config gocbcore.DCPAgentConfig
	if err := config.FromConnStr("couchbase://" + hosts); err != nil {
		return err
	}
	config.BucketName = bucket
	config.SecurityConfig.Auth = gocbcore.PasswordAuthProvider{Username: user, Password: password}
	config.IoConfig.UseCollections = true
	config.DCPConfig.UseExpiryOpcode = true
	config.DCPConfig.BufferSize = buffer
	flags := memd.DcpOpenFlagProducer | memd.DcpOpenFlagIncludeXattrs | memd.DcpOpenFlagIncludeDeleteTimes
	agent, err := gocbcore.CreateDcpAgent(&config, fmt.Sprintf("follow-%d", os.Getpid()), flags)
	if err != nil {
		return err
	}
	ready := make(chan error, 1)
	if _, err := agent.WaitUntilReady(time.Now().Add(patience), gocbcore.WaitUntilReadyOptions{},
		func(_ *gocbcore.WaitUntilReadyResult, err error) { ready <- err }); err != nil {
		return err
	}
	if err := <-ready; err != nil {
		return err
	}
	snapshot, err := agent.ConfigSnapshot()
	if err != nil {
		return err
	}
	count, err := snapshot.NumVbuckets()
	if err != nil {
		return err
	}
	if err := open(agent, count, collection, c); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case err := <-c.failed:
		return err
	case <-time.After(patience):
		return errors.New("not all documents came")
	}
}

func open(agent *gocbcore.DCPAgent, vbuckets int, collection uint32, c *counter) error {
	filter := gocbcore.OpenStreamOptions{FilterOptions: &gocbcore.OpenStreamFilterOptions{CollectionIDs: []uint32{collection}}}
	opened := make(chan error, vbuckets)
	places := make(chan struct{}, opening)
	for vbucket := range vbuckets {
		places <- struct{}{}
		_, err := agent.OpenStream(uint16(vbucket), memd.DcpStreamAddFlagActiveOnly, 0, 0, gocbcore.SeqNo(^uint64(0)), 0, 0, c, filter,
			func(_ []gocbcore.FailoverEntry, err error) { <-places; opened <- err })
		if err != nil {
			return err
		}
	}
	for range vbuckets {
		if err := <-opened; err != nil {
			return err
		}
	}
	return nil
}
