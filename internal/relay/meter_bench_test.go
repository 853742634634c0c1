package relay

import "testing"

// BenchmarkMeters measures what counting by backend adds to each read, with one
// backend and with two alternating ones.
func BenchmarkMeters(b *testing.B) {
	for name, backends := range map[string]uint32{"one": 1, "turns": 2, "thousand": 1000} {
		b.Run(name, func(b *testing.B) {
			var m meters
			for i := range uint32(1000) {
				m.of(i)
			}
			i := uint32(0)
			for b.Loop() {
				t := &m.of(i % backends)[0]
				t.Bytes += 64
				t.Messages++
				i++
			}
		})
	}
}
