package tlsrec

import (
	"bytes"
	"crypto/hkdf"
	cryptohmac "crypto/hmac"
	cryptosha256 "crypto/sha256"
	cryptosha512 "crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	stdhash "hash"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

// TestStateIsPlain: an idle connection costs just this, and it can be copied to
// another process byte by byte.
func TestStateIsPlain(t *testing.T) {
	if size := unsafe.Sizeof(State{}); size > 128 {
		t.Errorf("a State has %d bytes", size)
	}
	var plain func(reflect.Type) bool
	plain = func(typ reflect.Type) bool {
		switch typ.Kind() {
		case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			return true
		case reflect.Array:
			return plain(typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				if !plain(typ.Field(i).Type) {
					t.Errorf("the field %s isn't plain data", typ.Field(i).Name)
				}
			}
			return true
		}
		return false
	}
	plain(reflect.TypeFor[State]())
}

func TestNewRefuses(t *testing.T) {
	good13 := Secrets{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, ClientTraffic: random(32), ServerTraffic: random(32)}
	good12 := Secrets{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		Master: random(48), ClientRandom: random(32), ServerRandom: random(32)}
	for _, test := range []struct {
		name string
		from Secrets
		edit func(*Secrets)
		want string
	}{
		{"nothing", Secrets{}, func(*Secrets) {}, "not supported"},
		{"a version", good13, func(s *Secrets) { s.Version = tls.VersionTLS11 }, "not supported"},
		{"a suite of the other version", good13, func(s *Secrets) { s.Version = tls.VersionTLS12 }, "not supported"},
		{"a suite of TLS 1.3 in 1.2", good12, func(s *Secrets) { s.Version = tls.VersionTLS13 }, "not supported"},
		{"a suite with CBC", good12, func(s *Secrets) { s.Suite = tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA }, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA of TLS 1.2 is not supported"},
		{"a suite without ECDHE", good12, func(s *Secrets) { s.Suite = tls.TLS_RSA_WITH_AES_128_GCM_SHA256 }, "not supported"},
		{"no secret", good13, func(s *Secrets) { s.ServerTraffic = nil }, "32 and 0 bytes"},
		{"a secret of the other hash", good13, func(s *Secrets) { s.Suite = tls.TLS_AES_256_GCM_SHA384 }, "must be 48"},
		{"a master secret", good12, func(s *Secrets) { s.Master = s.Master[:47] }, "47"},
		{"no random", good12, func(s *Secrets) { s.ServerRandom = nil }, "48, 32 and 0"},
		{"a sequence number", good12, func(s *Secrets) { s.Read = 1 << 60 }, "records read"},
	} {
		if _, err := New(test.from); err != nil && !reflect.DeepEqual(test.from, Secrets{}) {
			t.Fatal(err)
		}
		test.edit(&test.from)
		s, err := New(test.from)
		if err == nil || !strings.Contains(err.Error(), test.want) || !s.IsZero() {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestZeroState: nothing is opened or sealed for a connection that is none.
func TestZeroState(t *testing.T) {
	var s State
	l := NewLayer(2)
	if !s.IsZero() || s.OwesKeyUpdate() {
		t.Error("the zero State is a connection")
	}
	if got := l.Seal(&s, []byte("x"), []byte("data")); string(got) != "x" {
		t.Errorf("sealed %q", got)
	}
	if got := l.SealAlert(&s, []byte("x"), AlertCloseNotify); string(got) != "x" {
		t.Errorf("sealed %q", got)
	}
	if n, used, err := l.Open(&s, make([]byte, 100), make([]byte, 100)); n != 0 || used != 0 || err == nil {
		t.Errorf("opened %d, %d, %v", n, used, err)
	}
	l.Forget(&s)
}

func fromHex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// TestRFC8448 has the end of the connection in RFC 8448 §3, from both sides.
func TestRFC8448(t *testing.T) {
	sec := Secrets{
		Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256,
		ClientTraffic: fromHex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"),
		ServerTraffic: fromHex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"),
	}
	var key [maxKeySize]byte
	var iv [ivSize]byte
	for _, test := range []struct {
		traffic []byte
		key, iv string
	}{
		{sec.ClientTraffic, "17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9"},
		{sec.ServerTraffic, "9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984"},
	} {
		var s secret
		copy(s[:], test.traffic)
		suites[1].keys(&s, &key, &iv)
		if got := hex.EncodeToString(key[:16]); got != test.key {
			t.Errorf("the key is %s, want %s", got, test.key)
		}
		if got := hex.EncodeToString(iv[:]); got != test.iv {
			t.Errorf("the IV is %s, want %s", got, test.iv)
		}
	}

	data := make([]byte, 50)
	for i := range data {
		data[i] = byte(i)
	}
	fromClient := fromHex(`17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef
		ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62
		97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4`)
	fromServer := fromHex(`17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad 36 00 5f c4 a4 69
		32 fc 32 25 d0 5f 82 aa 1b 36 e3 0e fa f9 7d 90 e6 df fc 60 2d cb 50 1a 59 a8 fc
		c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54 0d d0 32 e1 67 c2 95 5d`)
	clientAlert := fromHex("17 03 03 00 13 c9 87 27 60 65 56 66 b7 4d 7f f1 15 3e fd 6d b6 d0 b0 e3")
	serverAlert := fromHex("17 03 03 00 13 b5 8f d6 71 66 eb f5 99 d2 47 20 cf be 7e fa 7a 88 64 a9")

	l := NewLayer(4)
	for _, isClient := range []bool{true, false} {
		sec.IsClient = isClient
		// The server's first record was a ticket.
		send, receive, sendAlert, receiveAlert := fromClient, fromServer, clientAlert, serverAlert
		sec.Read, sec.Written = 1, 0
		if !isClient {
			send, receive, sendAlert, receiveAlert = receive, send, receiveAlert, sendAlert
			sec.Read, sec.Written = 0, 1
		}
		s, err := New(sec)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Seal(&s, nil, data); !bytes.Equal(got, send) {
			t.Errorf("sealed\n%x, want\n%x", got, send)
		}
		plain := make([]byte, 1000)
		n, used, err := l.Open(&s, plain, receive)
		if err != nil || used != len(receive) || !bytes.Equal(plain[:n], data) {
			t.Errorf("opened %x, %d, %v", plain[:n], used, err)
		}
		if got := l.SealAlert(&s, nil, AlertCloseNotify); !bytes.Equal(got, sendAlert) {
			t.Errorf("sealed\n%x, want\n%x", got, sendAlert)
		}
		if _, _, err := l.Open(&s, plain, receiveAlert); err != ErrClosed {
			t.Errorf("the alert: %v", err)
		}
	}
}

// TestDerivations compares them with those of the standard library.
func TestDerivations(t *testing.T) {
	for h, std := range map[hash]func() stdhash.Hash{sha256: cryptosha256.New, sha384: cryptosha512.New384} {
		for range 50 {
			var s secret
			copy(s[:h.size()], random(h.size()))
			message := random(int(s[0]) % maxMessage)
			m := cryptohmac.New(std, s[:h.size()])
			m.Write(message)
			if got := hmac(h, s[:h.size()], message); !bytes.Equal(got[:h.size()], m.Sum(nil)) {
				t.Fatal("HMAC differs")
			}
			for _, label := range []string{"key", "iv", "traffic upd"} {
				for _, n := range []int{12, 16, 32, h.size()} {
					info := append([]byte{0, byte(n), byte(6 + len(label))}, "tls13 "+label+"\x00"...)
					want, err := hkdf.Expand(std, s[:h.size()], string(info), n)
					if err != nil {
						t.Fatal(err)
					}
					got := make([]byte, n)
					if expandLabel(h, &s, label, got); !bytes.Equal(got, want) {
						t.Fatalf("HKDF-Expand-Label of %q to %d bytes differs", label, n)
					}
				}
			}
		}
	}
}

// TestAllocations: a record allocates nothing if its cipher is there, and otherwise
// only what the cipher itself needs.
func TestAllocations(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s, peer := synthetic(t, k)
		l, peerLayer := NewLayer(2), NewLayer(2)
		data, sealed := random(3*MaxPlaintext), make([]byte, 0, 5*MaxPlaintext)
		dst := make([]byte, cap(sealed))
		echo := func() {
			sealed = peerLayer.Seal(&peer, sealed[:0], data)
			n, _, err := l.Open(&s, dst, sealed)
			if err != nil || n != len(data) {
				t.Fatal(n, err)
			}
			sealed = l.Seal(&s, sealed[:0], dst[:n])
			if n, _, err := peerLayer.Open(&peer, dst, sealed); err != nil || n != len(data) {
				t.Fatal(n, err)
			}
		}
		if n := testing.AllocsPerRun(20, echo); n != 0 {
			t.Errorf("%v allocations", n)
		}
		suite := s.suiteInfo()
		key := random(suite.keySize)
		want := testing.AllocsPerRun(20, func() { suite.aead(key) })
		got := testing.AllocsPerRun(20, func() {
			l.Forget(&s)
			l.cache.get(&s, in)
			if suite.tls13 {
				l.update(&s, in)
			}
		})
		if got != want {
			t.Errorf("%v allocations for a cipher, %v are its own", got, want)
		}
	})
}
