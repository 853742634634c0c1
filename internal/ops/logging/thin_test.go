package logging

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLinesThatAreAlikeAreThinnedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out recorder
		l := New(&out, JSON, slog.LevelInfo)
		log := l.Logger().With("a", 1)
		refuse := func(result string, n int) {
			for range n {
				log.Info("handshake refused", "result", result, "client", "192.0.2.1:1")
			}
		}
		count := func(part string) int {
			synctest.Wait()
			return strings.Count(strings.Join(out.writes(), ""), part)
		}
		refuse("address_rate", 1000)
		refuse("no_route", 3)
		for range 500 {
			log.Info("session moved", "result", "x")
			log.Warn("a backend doesn't answer a handshake", "pool", "p", "backend", "b")
		}
		time.Sleep(time.Second)
		for part, want := range map[string]int{
			`"msg":"handshake refused","a":1,"result":"address_rate"`: 100,
			`"result":"no_route"`:      3,
			`"msg":"session moved"`:    500,
			`"msg":"a backend doesn't`: 100,
			"left out":                 0,
		} {
			if got := count(part); got != want {
				t.Errorf("%d lines have %s, want %d", got, part, want)
			}
		}
		refuse("address_rate", 50) // a second has brought ten more
		time.Sleep(reportEvery)
		for _, want := range []string{
			`"level":"INFO","msg":"log lines left out: too many are alike","line":"handshake refused","result":"address_rate","count":940}`,
			`"level":"WARN","msg":"log lines left out: too many are alike","line":"a backend doesn't answer a handshake","backend":"b","count":400}`,
		} {
			if count(want) != 1 {
				t.Errorf("no line %s in %s", want, out.writes()[len(out.writes())-1])
			}
		}
		// What nobody has reported yet is reported at the end.
		refuse("no_route", 200)
		l.Close()
		if count(`"result":"no_route","count":`) != 1 {
			t.Error("the end of the log has no report")
		}
		if n := count("left out"); n != 3 {
			t.Errorf("%d reports, want 3", n)
		}
		time.Sleep(time.Hour)
	})
}

// The groups that are told apart are bounded.
func TestManyKindsOfLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(&recorder{}, JSON, slog.LevelInfo)
		defer l.Close()
		for i := range maxAlike + 100 {
			l.Logger().Info("plain HTTP request failed", "status", i)
		}
		if n := len(l.thin.groups); n != maxAlike {
			t.Errorf("%d groups, want %d", n, maxAlike)
		}
	})
}
