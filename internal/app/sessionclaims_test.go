package app

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/session/claims"
)

func TestSessionClaims(t *testing.T) {
	var table sessionClaims
	of := func(user string) claims.Claims { return claims.Claims(claims.Append(nil, "sub", user)) }
	var ids []session.ID
	for i := range 1000 {
		ids = append(ids, session.NewID())
		table.put(ids[i], of(fmt.Sprint("user", i%10)))
	}
	table.put(session.NewID(), "") // costs nothing
	if found := table.find("sub", "user3"); len(found) != 100 || !found[ids[3]] || found[ids[4]] {
		t.Errorf("found %d", len(found))
	}
	if found := table.find("tenant", "user3"); len(found) != 0 {
		t.Errorf("by another claim: %d", len(found))
	}
	for _, id := range ids[10:] {
		table.remove(id)
	}
	if found := table.find("sub", "user3"); len(found) != 1 || table.get(ids[3]) != of("user3") || table.get(ids[13]) != "" {
		t.Errorf("after the others have ended: %v", found)
	}
	for i := range table.shards {
		if s := &table.shards[i]; s.largest > 64 {
			t.Errorf("room for %d entries is kept", s.largest)
		}
	}
}

func TestCloseReasons(t *testing.T) {
	var r closeReasons
	for i := range maxCloseReasons {
		if !r.add(fmt.Sprint(i)) {
			t.Fatal("refused: ", i)
		}
	}
	if !r.add("7") || !r.add("") || r.add("another") {
		t.Error("a reason that was there is refused, or one too many isn't")
	}
}

// BenchmarkSessionClaims reports what a session with a claim costs in memory.
func BenchmarkSessionClaims(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		table := new(sessionClaims)
		for i := range n {
			table.put(session.NewID(), claims.Claims(claims.Append(nil, "sub", fmt.Sprintf("auth0|%024x", i))))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/session")
		if len(table.find("sub", strings.Repeat("x", 9))) != 0 {
			b.Fatal("found one")
		}
	}
}
