package tlsrec

import (
	"crypto/tls"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestManyConnections lets connections share Layers whose caches are too small for
// them. Each must always get its own cipher, whatever happens to its State: it is
// copied, moved to another Layer, changes its keys, or another connection takes its
// place in memory.
func TestManyConnections(t *testing.T) {
	all := kinds()
	rapid.Check(t, func(rt *rapid.T) {
		layers := make([]*Layer, 3)
		for i := range layers {
			layers[i] = NewLayer(1 + i)
			layers[i].updateAfter = 5
		}
		// The States stand in an array, as in an engine, and so do those of the
		// peers, which have Layers of their own.
		var ours [5]State
		var peers [5]*end
		var on [5]int // which of layers
		connectOne := func(i, kind int) {
			mine, peer := ends(t, all[kind])
			ours[i], peers[i] = mine.state, peer
			peers[i].layer = NewLayer(2)
		}
		slot := rapid.IntRange(0, len(ours)-1)
		for i := range ours {
			connectOne(i, rapid.IntRange(0, len(all)-1).Draw(rt, "kind"))
		}
		sent := 0
		send := func(i int) {
			sent++
			want := fmt.Sprint("message ", sent)
			e := &end{layers[on[i]], ours[i]}
			record := e.layer.Seal(&ours[i], nil, []byte(want))
			if got, err := peers[i].open(record); got != want || err != nil {
				rt.Fatalf("the peer opened %q, %v; want %q", got, err, want)
			}
		}
		receive := func(i int) {
			sent++
			want := fmt.Sprint("message ", sent)
			src := peers[i].data(want)
			dst := make([]byte, len(src))
			n, _, err := layers[on[i]].Open(&ours[i], dst, src)
			if string(dst[:n]) != want || err != nil {
				rt.Fatalf("opened %q, %v; want %q", dst[:n], err, want)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"send":    func(rt *rapid.T) { send(slot.Draw(rt, "slot")) },
			"receive": func(rt *rapid.T) { receive(slot.Draw(rt, "slot")) },
			"peer's KeyUpdate": func(rt *rapid.T) {
				i := slot.Draw(rt, "slot")
				if ours[i].suiteInfo().tls13 {
					src := peers[i].keyUpdate(byte(rapid.IntRange(0, 1).Draw(rt, "request")))
					if _, _, err := layers[on[i]].Open(&ours[i], make([]byte, len(src)), src); err != nil {
						rt.Fatal(err)
					}
					receive(i)
				}
			},
			"forget": func(rt *rapid.T) {
				i := slot.Draw(rt, "slot")
				layers[on[i]].Forget(&ours[i])
			},
			"trim": func(rt *rapid.T) { layers[rapid.IntRange(0, 2).Draw(rt, "layer")].Trim() },
			"move": func(rt *rapid.T) {
				i := slot.Draw(rt, "slot")
				on[i] = rapid.IntRange(0, 2).Draw(rt, "layer")
			},
			"swap": func(rt *rapid.T) {
				i, j := slot.Draw(rt, "slot"), slot.Draw(rt, "other")
				ours[i], ours[j] = ours[j], ours[i]
				peers[i], peers[j] = peers[j], peers[i]
			},
			"another connection": func(rt *rapid.T) {
				i, place := slot.Draw(rt, "slot"), [2]uint16{}
				if rapid.Bool().Draw(rt, "its place remains") {
					place = ours[i].place
				}
				connectOne(i, rapid.IntRange(0, len(all)-1).Draw(rt, "kind"))
				ours[i].place = place
			},
			"": func(rt *rapid.T) {
				for _, l := range layers {
					if len(l.cache.entries) > l.cache.limit {
						rt.Fatalf("%d ciphers, the limit is %d", len(l.cache.entries), l.cache.limit)
					}
				}
			},
		})
	})
}

// TestCache: what was used last stays, what is forgotten or trimmed is gone, and the
// bounds of NewLayer hold.
func TestCache(t *testing.T) {
	k := kinds()[0]
	var s [8]*end
	for i := range s {
		s[i], _ = ends(t, k)
	}
	l := NewLayer(4)
	has := func(e *end) bool {
		i := int(e.state.place[out])
		return i < len(l.cache.entries) && l.cache.entries[i].is(&e.state, out)
	}
	seal := func(e *end) { l.Seal(&e.state, nil, []byte("x")) }
	for _, e := range s[:4] {
		seal(e)
	}
	seal(s[4]) // all are used, so that the hand goes round and takes the first
	if has(s[0]) || !has(s[1]) {
		t.Error("another cipher than the oldest has gone")
	}
	seal(s[1])
	seal(s[5])
	if !has(s[1]) || has(s[2]) || !has(s[3]) || !has(s[4]) || !has(s[5]) {
		t.Error("a cipher has gone that was used after another one")
	}

	for _, i := range []int{3, 4, 1, 5, 1, 4, 3, 5} {
		l.Forget(&s[i].state)
		if has(s[i]) {
			t.Error("after Forget")
		}
		seal(s[i]) // it gets its own place again
		if !has(s[3]) || !has(s[4]) || !has(s[5]) || !has(s[1]) {
			t.Error("a free place was not used")
		}
	}
	l.Forget(&s[0].state) // it has none
	if !has(s[3]) || !has(s[4]) || !has(s[5]) || !has(s[1]) {
		t.Error("Forget has dropped the cipher of another connection")
	}

	l.Trim()
	for _, e := range s {
		if has(e) {
			t.Error("after Trim")
		}
		seal(e)
	}
	// The same secret with another suite is another key.
	l = NewLayer(2)
	aes, aesPeer := ends(t, kind{tls.TLS_AES_128_GCM_SHA256, true})
	chacha, chachaPeer := *aes, *aesPeer
	chacha.state.suite = suiteIndex(tls.VersionTLS13, tls.TLS_CHACHA20_POLY1305_SHA256)
	chachaPeer.state.suite = chacha.state.suite
	chacha.layer, chachaPeer.layer = aes.layer, NewLayer(2)
	aes.data("the cipher is there now")
	if got, err := chachaPeer.open(chacha.data("x")); got != "x" || err != nil {
		t.Errorf("another suite with the same secret: %q, %v", got, err)
	}
	// An old key isn't kept.
	l = NewLayer(2)
	seal(aes)
	old := aes.state
	l.update(&aes.state, out)
	seal(aes)
	for i := range l.cache.entries {
		if l.cache.entries[i].secret == old.secrets[out] {
			t.Error("the key before a KeyUpdate is kept")
		}
	}

	for n, want := range map[int]int{-1: 1, 0: 1, 1: 1, 512: 512, 1 << 20: 1 << 16} {
		if got := NewLayer(n).cache.limit; got != want {
			t.Errorf("NewLayer(%d) keeps %d", n, got)
		}
	}
}
