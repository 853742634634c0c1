package health

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logBook collects messages, of pool and health alike.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.MessageKey {
				return a
			}
			return slog.Attr{}
		},
	}))
}

// take returns the messages since, one a line, and forgets them.
func (l *logBook) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.buf.Reset()
	var lines []string
	for line := range strings.Lines(l.buf.String()) {
		line, err := strconv.Unquote(strings.TrimPrefix(strings.TrimSpace(line), "msg="))
		if err != nil {
			panic(err)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// registry makes a pool.Registry that is closed with the test.
func registry(t testing.TB, log *slog.Logger) *pool.Registry {
	r := pool.New(pool.Options{Logger: log})
	t.Cleanup(r.Close)
	return r
}

// chat is a pool with checks and backends at the addresses, which are their
// names too.
func chat(addresses ...string) []pool.Spec {
	s := pool.Spec{Name: "chat", Checked: true}
	for _, a := range addresses {
		s.Backends = append(s.Backends, pool.BackendSpec{Address: a})
	}
	return []pool.Spec{s}
}

// apply has both follow the addresses, and returns the backends.
func apply(r *pool.Registry, c *Checker, s Spec, addresses ...string) []*pool.Backend {
	pools, _ := r.Apply(chat(addresses...))
	c.Apply(pools, map[string]Spec{"chat": s})
	var backends []*pool.Backend
	for _, m := range pools["chat"].Members {
		backends = append(backends, m.Backend)
	}
	return backends
}

// fakeProbe answers what it was set to.
type fakeProbe func(ctx context.Context) answer

func (f fakeProbe) ask(ctx context.Context, _ netip.AddrPort) answer { return f(ctx) }
