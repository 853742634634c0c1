package reattach

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"math/big"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/proxy/attempt"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
)

// usualHandshake is a handshake with a head of 500 bytes.
func usualHandshake() *savedHandshake {
	return &savedHandshake{
		head: make([]byte, 500), pool: "chat",
		peer: netip.MustParseAddrPort("192.0.2.1:1234"), local: netip.MustParseAddrPort("192.0.2.2:80"),
	}
}

// scattered are IDs as random ones are spread, the same each time.
func scattered(i int) (id session.ID) {
	binary.LittleEndian.PutUint64(id[:], uint64(i)*0x9e3779b97f4a7c15)
	return id
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestSavedMemory bounds what a kept session costs, and what is left of it.
func TestSavedMemory(t *testing.T) {
	const n = 100_000
	var table savedHandshakes
	before := heap()
	for i := range n {
		table.put(scattered(i), usualHandshake())
	}
	each := (heap() - before) / n
	if table.len() != n {
		t.Fatalf("%d are kept", table.len())
	}
	for i := range n {
		table.remove(scattered(i))
	}
	left := int64(heap()-before) / n
	t.Logf("a head of 500 bytes kept costs %d bytes; forgotten, %d", each, left)
	if each > 720 {
		t.Errorf("a head of 500 bytes kept costs %d bytes", each)
	}
	if left > 2 || table.len() != 0 {
		t.Errorf("forgotten, %d bytes are left of each; %d entries", left, table.len())
	}
}

func TestSavedHandshakes(t *testing.T) {
	var table savedHandshakes
	var all sync.WaitGroup
	const workers, each = 8, 2000
	for w := range workers {
		all.Go(func() {
			mine := map[session.ID]*savedHandshake{}
			for i := range each {
				id := scattered(w*each + i)
				mine[id] = usualHandshake()
				table.put(id, mine[id])
			}
			for id, k := range mine {
				if table.find(id) != k {
					t.Error("not what was put")
				}
				table.remove(id)
				if table.find(id) != nil {
					t.Error("still there")
				}
				table.remove(id)
			}
		})
	}
	all.Wait()
	if n := table.len(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func BenchmarkSaved(b *testing.B) {
	var table savedHandshakes
	for i := range 100_000 {
		table.put(scattered(i), usualHandshake())
	}
	k := usualHandshake()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := scattered(100_000 + i)
		table.put(id, k)
		table.remove(id)
	}
}

// TestSavedMeta: another backend is told the same about a client's connection as the
// first one was. Where backends are told nothing of it, nothing is kept.
func TestSavedMeta(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	tells := clientcert.New(map[string][]clientcert.Field{"public": {{Name: "Client-Serial", Fact: clientcert.Serial}, {Name: "Client-Verified", Fact: clientcert.Verified}}})
	public, inner := &transport.ListenerSpec{Name: "public"}, &transport.ListenerSpec{Name: "inner"}
	for _, tt := range []struct {
		name   string
		meta   transport.Meta
		policy *clientcert.Policy
		fields string // of the route
		want   string // about the certificate, and in the field
		saved  bool   // more than that there is TLS
	}{
		{"no TLS", transport.Meta{Listener: public}, tells, "", "", false},
		{"no TLS, and the listener", transport.Meta{Listener: inner}, tells, "${listener}", "X: inner\r\n", true},
		{"no TLS, and its name", transport.Meta{Listener: inner}, tells, "${sni}${tls_version}", "", false},
		{"its name", transport.Meta{Listener: inner, TLS: &transport.TLS{ServerName: "a.example", Version: tls.VersionTLS13}}, tells, "${sni} ${tls_version}", "X: a.example 1.3\r\n", true},
		{"its name and a certificate", transport.Meta{Listener: public, TLS: &transport.TLS{ServerName: "a.example", Certificate: cert}}, tells, "${sni}", "Client-Serial: 7\r\nClient-Verified: true\r\nX: a.example\r\n", true},
		{"a certificate", transport.Meta{Listener: public, TLS: &transport.TLS{Certificate: cert}}, tells, "", "Client-Serial: 7\r\nClient-Verified: true\r\n", true},
		{"no certificate", transport.Meta{Listener: public, TLS: &transport.TLS{}}, tells, "", "Client-Verified: false\r\n", true},
		{"another listener", transport.Meta{Listener: inner, TLS: &transport.TLS{Certificate: cert}}, tells, "", "", false},
		{"no fields", transport.Meta{Listener: public, TLS: &transport.TLS{Certificate: cert}}, nil, "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := new(generation.Forward)
			if tt.fields != "" {
				if f.Request, err = headeredit.New(headeredit.Spec{Set: [][2]string{{"X", tt.fields}}}); err != nil {
					t.Fatal(err)
				}
			}
			h := savedHandshake{more: saveMeta(&tt.meta, tt.policy, f, new(generation.Pool))}
			m, err := h.meta()
			if err != nil || m.Scheme() != tt.meta.Scheme() {
				t.Fatalf("%s, %v", m.Scheme(), err)
			}
			var got []byte
			if m.TLS != nil {
				got = tells.AppendHeaders(nil, m.ListenerName(), m.ClientCertificate())
			}
			if got := string(f.Request.Append(got, &attempt.Facts{Meta: &m})); got != tt.want {
				t.Errorf("a backend is told %q, want %q", got, tt.want)
			}
			if saved := h.more != nil && h.more != justTLS; saved != tt.saved {
				t.Errorf("saved: %t", saved)
			}
		})
	}
}
