// Couchbase's own Go clients as judges of the double: `judge CHECK HOSTS MANAGEMENT` runs one check against a cluster and exits with 0 when
// everything was as these clients expect it of a real server.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	bucket   = "default"
	user     = "Administrator"
	password = "password"
	patience = 15 * time.Second
)

// cluster is where the double listens.
type cluster struct {
	// hosts are the key-value services, with commas between them.
	hosts string
	// management is the address of one node's REST service.
	management string
}

var checks = map[string]func(cluster) error{
	"dcp-streams":  dcpStreams,
	"dcp-filter":   dcpFilter,
	"dcp-rollback": dcpRollback,
	"dcp-resume":   dcpResume,
	"dcp-failover": dcpFailover,
	"sdk-values":   sdkValues,
	"sdk-xattrs":   sdkXattrs,
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: judge CHECK HOSTS MANAGEMENT")
		os.Exit(2)
	}
	check, is := checks[os.Args[1]]
	if !is {
		fmt.Fprintf(os.Stderr, "there is no check %s\n", os.Args[1])
		os.Exit(2)
	}
	if err := check(cluster{hosts: os.Args[2], management: os.Args[3]}); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// post sends a form to the management service.
func (c cluster) post(path string, form url.Values) error {
	request, err := http.NewRequest(http.MethodPost, c.management+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.SetBasicAuth(user, password)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("%s: %s: %s", path, answer.Status, text)
	}
	return nil
}

func expect[T comparable](what string, found, expected T) error {
	if found != expected {
		return fmt.Errorf("%s: %v instead of %v", what, found, expected)
	}
	return nil
}
