package tlsrec

import (
	"crypto/tls"
	"fmt"
	"testing"
)

// synthetic returns both ends of a connection that had no handshake.
func synthetic(t testing.TB, k kind) (ours, peer State) {
	t.Helper()
	sec := Secrets{
		Version: k.version(), Suite: k.suite, IsClient: k.isClient,
		Master: random(48), ClientRandom: random(32), ServerRandom: random(32),
	}
	size := suites[suiteIndex(k.version(), k.suite)].hash.size()
	sec.ClientTraffic, sec.ServerTraffic = random(size), random(size)
	ours, err := New(sec)
	if err != nil {
		t.Fatal(err)
	}
	sec.IsClient = !sec.IsClient
	if peer, err = New(sec); err != nil {
		t.Fatal(err)
	}
	return ours, peer
}

// BenchmarkRecord measures Seal and Open of one record; "made" with a cipher that is
// made for each.
func BenchmarkRecord(b *testing.B) {
	for _, suite := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256} {
		for _, size := range []int{64, 1 << 10, 16 << 10} {
			for _, cached := range []bool{true, false} {
				name := fmt.Sprintf("%s/%d/cached=%t", tls.CipherSuiteName(suite), size, cached)
				k := kind{suite, false}
				b.Run("seal/"+name, func(b *testing.B) {
					s, _ := synthetic(b, k)
					l, p, dst := NewLayer(2), random(size), make([]byte, 0, size+MaxOverhead)
					b.ReportAllocs()
					for b.Loop() {
						if !cached {
							l.Forget(&s)
						}
						l.Seal(&s, dst, p)
					}
				})
				b.Run("open/"+name, func(b *testing.B) {
					s, peer := synthetic(b, k)
					l := NewLayer(2)
					record := l.Seal(&peer, nil, random(size))
					dst := make([]byte, len(record))
					b.ReportAllocs()
					for b.Loop() {
						if !cached {
							l.Forget(&s)
						}
						s.seq[in] = 0
						if n, _, err := l.Open(&s, dst, record); n != size || err != nil {
							b.Fatal(n, err)
						}
					}
				})
			}
		}
	}
}

// BenchmarkKeys measures what a cipher costs that isn't in the cache.
func BenchmarkKeys(b *testing.B) {
	for _, i := range []int{1, 2, 3} {
		suite := &suites[i]
		s := secret(random(len(secret{})))
		var key [maxKeySize]byte
		var iv [ivSize]byte
		b.Run("derive/"+tls.CipherSuiteName(suite.id), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				suite.keys(&s, &key, &iv)
			}
		})
		b.Run("aead/"+tls.CipherSuiteName(suite.id), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := suite.aead(key[:suite.keySize]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
