//go:build linux

package lab

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
)

// auditPolicy writes a line for each request of a service account when it is answered, or
// at the beginning of a watch's answer.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, userGroups: ["system:serviceaccounts"]}
  - {level: None}
`

// Use is what a request does. Subresource is "" for the object itself, and Resource for
// requests that aren't about objects, such as /version.
type Use struct {
	Verb, Group, Resource, Subresource, Namespace, Name string
	Allowed                                             bool // its role allows it
}

// beginAudit makes Audit ignore what was asked before now by accounts of a namespace, which
// is about to be made: pods of an earlier test run on for a moment after their roles are gone.
func (c *Cluster) beginAudit(t testing.TB, namespace string) {
	t.Helper()
	log, err := os.Stat(c.file("audit.log"))
	if errors.Is(err, os.ErrNotExist) { // nothing is in it
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.audited[namespace] = log.Size()
}

// Audit returns what a service account has asked the API server for since its namespace
// was applied, each use once, in the order of their fields. It answers the question which
// rights a role needs. Only what is answered counts, so a test waits for the effects of
// what it looks for.
func (c *Cluster) Audit(t testing.TB, namespace, account string) []Use {
	t.Helper()
	file, err := os.Open(c.file("audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c.mu.Lock()
	from := c.audited[namespace]
	c.mu.Unlock()
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	user := "system:serviceaccount:" + namespace + ":" + account
	seen := map[Use]bool{}
	var all []Use
	for r := bufio.NewReader(file); ; {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // a line without its end is still being written
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var event struct {
			Verb      string
			User      struct{ Username string }
			ObjectRef struct {
				Resource, Namespace, Name, APIGroup, Subresource string
			}
			Annotations map[string]string
		}
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatalf("a line of the audit log: %v: %s", err, line)
		}
		o := event.ObjectRef
		use := Use{
			event.Verb, o.APIGroup, o.Resource, o.Subresource, o.Namespace, o.Name,
			event.Annotations["authorization.k8s.io/decision"] == "allow",
		}
		if event.User.Username == user && !seen[use] {
			seen[use] = true
			all = append(all, use)
		}
	}
	slices.SortFunc(all, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Subresource, b.Subresource),
			cmp.Compare(a.Verb, b.Verb), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all
}
