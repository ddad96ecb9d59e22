// Another application by Couchbase's Go client, beside the tests of the browser: `application HOSTS USER PASSWORD BUCKET SCOPE`.
//
// Each line of the input is a command in JSON, each line of the output its answer: `{"ok": …}`, or `{"error": KIND, "message": …}`.
// `packages/tidelock/test/couchbase/application.ts` lists the commands; one more is of this program alone, as the double has no query
// service: `query` with a statement of SQL++ in the scope, whose answer are the rows. It ends with its input.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/couchbase/gocb/v2"
)

const patience = 15 * time.Second

// command has the members of all commands.
type command struct {
	Do         string              `json:"do"`
	Collection string              `json:"collection"`
	Key        string              `json:"key"`
	Document   json.RawMessage     `json:"document"`
	Cas        string              `json:"cas"`
	ExpiryS    int                 `json:"expiry_s"`
	Specs      [][]json.RawMessage `json:"specs"`
	Delta      uint64              `json:"delta"`
	Initial    int64               `json:"initial"`
	Members    []string            `json:"members"`
	Times      int                 `json:"times"`
	Statement  string              `json:"statement"`
}

type answer struct {
	Ok      any    `json:"ok"`
	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`
}

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: application HOSTS USER PASSWORD BUCKET SCOPE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(hosts, user, password, bucket, scope string) error {
	options := gocb.ClusterOptions{Authenticator: gocb.PasswordAuthenticator{Username: user, Password: password}}
	cluster, err := gocb.Connect(hosts, options)
	if err != nil {
		return err
	}
	b := cluster.Bucket(bucket)
	ready := &gocb.WaitUntilReadyOptions{ServiceTypes: []gocb.ServiceType{gocb.ServiceTypeKeyValue}}
	if err := b.WaitUntilReady(patience, ready); err != nil {
		return fmt.Errorf("the bucket is not ready: %w", err)
	}
	collections := b.Scope(scope)
	input, output := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var c command
		if err := input.Decode(&c); errors.Is(err, io.EOF) {
			return cluster.Close(nil)
		} else if err != nil {
			return err
		}
		var ok any
		if c.Do == "query" {
			ok, err = query(b, scope, c.Statement)
		} else {
			ok, err = c.carryOut(collections.Collection(c.Collection))
		}
		told := answer{Ok: ok}
		if err != nil {
			told = answer{Error: kind(err), Message: err.Error()}
		}
		if err := output.Encode(told); err != nil {
			return err
		}
	}
}

// query sees everything that was written before it.
func query(b *gocb.Bucket, scope, statement string) ([]json.RawMessage, error) {
	ready := &gocb.WaitUntilReadyOptions{ServiceTypes: []gocb.ServiceType{gocb.ServiceTypeQuery}}
	if err := b.WaitUntilReady(patience, ready); err != nil {
		return nil, fmt.Errorf("no query service is ready: %w", err)
	}
	consistent := &gocb.QueryOptions{ScanConsistency: gocb.QueryScanConsistencyRequestPlus}
	result, err := b.Scope(scope).Query(statement, consistent)
	if err != nil {
		return nil, err
	}
	rows := []json.RawMessage{}
	for result.Next() {
		var row json.RawMessage
		if err := result.Row(&row); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, result.Err()
}

func kind(err error) string {
	switch {
	case errors.Is(err, gocb.ErrDocumentNotFound):
		return "not-found"
	case errors.Is(err, gocb.ErrDocumentExists):
		return "exists"
	case errors.Is(err, gocb.ErrCasMismatch):
		return "cas-mismatch"
	default:
		return "other"
	}
}

func (c command) carryOut(collection *gocb.Collection) (any, error) {
	expiry := time.Duration(c.ExpiryS) * time.Second
	var err error
	switch c.Do {
	case "get":
		return c.get(collection)
	case "insert":
		_, err = collection.Insert(c.Key, c.Document, nil)
	case "upsert":
		_, err = collection.Upsert(c.Key, c.Document, &gocb.UpsertOptions{Expiry: expiry})
	case "replace":
		var cas gocb.Cas
		if c.Cas != "" {
			if cas, err = parsed(c.Cas); err != nil {
				return nil, err
			}
		}
		_, err = collection.Replace(c.Key, c.Document, &gocb.ReplaceOptions{Cas: cas})
	case "remove":
		_, err = collection.Remove(c.Key, nil)
	case "touch":
		_, err = collection.Touch(c.Key, expiry, nil)
	case "edit":
		return nil, c.edit(collection)
	case "count":
		options := &gocb.IncrementOptions{Delta: c.Delta, Initial: c.Initial}
		result, err := collection.Binary().Increment(c.Key, options)
		if err != nil {
			return nil, err
		}
		return result.Content(), nil
	case "add":
		return c.add(collection)
	default:
		err = fmt.Errorf("there is no command %q", c.Do)
	}
	return nil, err
}

func parsed(cas string) (gocb.Cas, error) {
	number, err := strconv.ParseUint(cas, 10, 64)
	return gocb.Cas(number), err
}

func (c command) get(collection *gocb.Collection) (any, error) {
	found, err := collection.Get(c.Key, nil)
	if err != nil {
		return nil, err
	}
	var document json.RawMessage
	if err := found.Content(&document); err != nil {
		return nil, err
	}
	return map[string]any{"document": document, "cas": strconv.FormatUint(uint64(found.Cas()), 10)}, nil
}

func (c command) edit(collection *gocb.Collection) error {
	var specs []gocb.MutateInSpec
	for _, parts := range c.Specs {
		var name, path string
		if len(parts) < 2 {
			return errors.New("a specification lacks its path")
		}
		if err := errors.Join(json.Unmarshal(parts[0], &name), json.Unmarshal(parts[1], &path)); err != nil {
			return err
		}
		switch {
		case name == "remove":
			specs = append(specs, gocb.RemoveSpec(path, nil))
		case name == "upsert" && len(parts) == 3:
			specs = append(specs, gocb.UpsertSpec(path, parts[2], nil))
		case name == "append" && len(parts) == 3:
			specs = append(specs, gocb.ArrayAppendSpec(path, parts[2], nil))
		case name == "increment" && len(parts) == 3:
			var delta int64
			if err := json.Unmarshal(parts[2], &delta); err != nil {
				return err
			}
			specs = append(specs, gocb.IncrementSpec(path, delta, nil))
		default:
			return fmt.Errorf("there is no specification %q of %d parts", name, len(parts))
		}
	}
	_, err := collection.MutateIn(c.Key, specs, nil)
	return err
}

// add adds one to members, so often; what it tells is how often somebody else was faster.
func (c command) add(collection *gocb.Collection) (int, error) {
	late := 0
	for left := c.Times; left > 0; {
		found, err := collection.Get(c.Key, nil)
		if err != nil {
			return late, err
		}
		var document map[string]any
		if err := found.Content(&document); err != nil {
			return late, err
		}
		for _, member := range c.Members {
			number, is := document[member].(float64)
			if !is {
				return late, fmt.Errorf("%s is no number", member)
			}
			document[member] = number + 1
		}
		_, err = collection.Replace(c.Key, document, &gocb.ReplaceOptions{Cas: found.Cas()})
		switch {
		case err == nil:
			left--
		case errors.Is(err, gocb.ErrCasMismatch):
			late++
		default:
			return late, err
		}
	}
	return late, nil
}
