//go:build unix

package frameworks

import (
	"fmt"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// servers are those of a framework.
type servers struct {
	addresses, tcp map[string]string
	more           []string // environment of the clients
	kill           func(t *testing.T, name string)
}

func (s *servers) env(of []string) []string { return append(of, s.more...) }

// startServers starts the servers of a kind.
func startServers(t *testing.T, kind string) *servers {
	t.Helper()
	if kind == "nats" {
		return startNATS(t)
	}
	p := process.Start(t, kind+" servers", kit.Node(t, "frameworks.js", append([]string{"servers", kind}, names...)...))
	s := &servers{addresses: map[string]string{}, tcp: map[string]string{}}
	for _, name := range names {
		p.Stdout.Find(t, "the server "+name, 0, func(line string) bool {
			e := kit.ParseEvent(line)
			if e["name"] != name {
				return false
			}
			s.addresses[name], _ = e["address"].(string)
			s.tcp[name], _ = e["tcp"].(string)
			return true
		})
	}
	s.kill = func(t *testing.T, name string) {
		if _, err := fmt.Fprintf(p.Stdin, "kill %s\n", name); err != nil {
			t.Fatal(err)
		}
	}
	return s
}
