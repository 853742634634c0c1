package app

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOverloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		o := overloads{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))}
		expect := func(when, want string) {
			t.Helper()
			synctest.Wait()
			o.mu.Lock() // the log is written with it
			defer o.mu.Unlock()
			if got := out.String(); got != want {
				t.Errorf("%s, it says\n%swant\n%s", when, got, want)
			}
			out.Reset()
		}
		for _, other := range []string{"opened", "address_sessions", "no_route", "client_gone"} {
			o.note("chat", other)
		}
		expect("after other results", "")
		o.note("chat", "pool_full")
		o.note("", "too_many_sessions")
		expect("at the beginning", `level=WARN msg="clients are refused for want of room" result=pool_full pool=chat
level=WARN msg="clients are refused for want of room" result=too_many_sessions
`)
		for range 100 {
			time.Sleep(calm / 50)
			o.note("chat", "pool_full")
		}
		expect("after 20 s, of which the last without refusals of the balancer",
			"level=INFO msg=\"clients are no longer refused for want of room\" result=too_many_sessions refused=1 for=0s\n")
		time.Sleep(calm + time.Second)
		expect("after a while", "level=INFO msg=\"clients are no longer refused for want of room\" result=pool_full pool=chat refused=101 for=20s\n")
		time.Sleep(time.Hour)
		o.note("chat", "pool_full")
		expect("at the second time", "level=WARN msg=\"clients are refused for want of room\" result=pool_full pool=chat\n")
		time.Sleep(calm)
		expect("in the end", "level=INFO msg=\"clients are no longer refused for want of room\" result=pool_full pool=chat refused=1 for=0s\n")
		o.note("chat", "pool_full")
		o.close()
		o.note("x", "pool_full")
		time.Sleep(time.Hour)
		expect("after close", "level=WARN msg=\"clients are refused for want of room\" result=pool_full pool=chat\n")
	})
}
