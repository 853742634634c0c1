//go:build unix

package kit

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// Names in the zone of the test's DNS server.
const (
	ChatName = "_ws._tcp.chat.test."
	// ChatHost is known only to the DNS server that answers for ChatName, as
	// hosts of Consul are.
	ChatHost = "here.node.chat.test"
)

// SRVRecords returns SRV records of ChatName for the backends.
func SRVRecords(ttl int, backends ...*Backend) []string {
	records := []string{fmt.Sprintf("%s. %d IN A 127.0.0.1", ChatHost, ttl)}
	for _, b := range backends {
		_, port, _ := net.SplitHostPort(b.Address)
		records = append(records, fmt.Sprintf("%s %d IN SRV 0 1 %s %s.", ChatName, ttl, port, ChatHost))
	}
	return records
}

// AwaitList waits for the log line, from position on, that says that the list of
// the pool "main" changed: how many backends it has, and how many left.
func (b *Balancer) AwaitList(t testing.TB, backends, left, position int) map[string]any {
	t.Helper()
	return b.FindLog(t, "the backends of a pool changed", position, "pool=main",
		fmt.Sprintf("backends=%d", backends), fmt.Sprintf("backends_left=%d", left))
}

// BackendFile is a watched file with a list of backends.
type BackendFile struct{ Path string }

// BackendFileText returns the JSON of a BackendFile.
func BackendFileText(backends ...*Backend) string {
	var entries []string
	for _, b := range backends {
		name := strings.TrimPrefix(b.Name, "backend ")
		entries = append(entries, fmt.Sprintf("  {\"name\": %q, \"address\": %q}", name, b.Address))
	}
	return "[\n" + strings.Join(entries, ",\n") + "\n]\n"
}

// Replace renames a new file to its path, so that no reader sees half of it.
func (l BackendFile) Replace(t testing.TB, text string) {
	t.Helper()
	next := l.Path + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, l.Path); err != nil {
		t.Fatal(err)
	}
}

// Overwrite writes into the existing file.
func (l BackendFile) Overwrite(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(l.Path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
