package ratelimit

import (
	"testing"
	"time"
)

// What a handshake costs in a pool with a rate: a look at each backend, and a
// token.
func BenchmarkPass(b *testing.B) {
	p := New(Hooks{})
	p.Configure(Options{Rate: 1e12, Burst: 1e6, Ramp: time.Second})
	bucket := p.Bucket(1, nil)
	for b.Loop() {
		if !bucket.CanTake(false) || !bucket.TryTake(false) {
			b.Fatal("no token")
		}
	}
}

// Joining a queue of 5,000 and leaving it.
func BenchmarkQueue(b *testing.B) {
	s := newStage(Options{Rate: 1e-9, Burst: 1, Queue: 1e6, QueueTimeout: time.Hour}, 1)
	s.newHandshake(-1, 0).try(false)
	for i := range 5000 {
		s.Enqueue(EntryOptions{Client: address(i)}, s.newHandshake(i, 0))
	}
	h := s.newHandshake(-1, 0)
	b.ReportAllocs()
	for b.Loop() {
		w, err := s.Enqueue(EntryOptions{Client: address(7000)}, h)
		if err != nil || !w.Leave() {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	s.Close()
}
