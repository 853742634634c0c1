package tlsrec

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// end is one end of a connection without sockets.
type end struct {
	layer *Layer
	state State
}

// ends returns both ends of a connection that had no handshake.
func ends(t testing.TB, k kind) (ours, peer *end) {
	s, p := synthetic(t, k)
	return &end{NewLayer(2), s}, &end{NewLayer(2), p}
}

// record seals a record with any content, and in TLS 1.3 with padding.
func (e *end) record(kind uint8, content []byte, padding int) []byte {
	if padding > 0 && e.state.suiteInfo().tls13 {
		// sealRecord appends the last zero of the padding as a type.
		content = append(append(slices.Clone(content), kind), make([]byte, padding-1)...)
		kind = 0
	}
	return e.layer.sealRecord(&e.state, nil, kind, content)
}

func (e *end) data(p string) []byte { return e.layer.Seal(&e.state, nil, []byte(p)) }

func (e *end) handshake(content ...byte) []byte { return e.record(typeHandshake, content, 0) }

// keyUpdate seals a KeyUpdate that asks for one or not.
func (e *end) keyUpdate(request byte) []byte {
	r := e.handshake(messageKeyUpdate, 0, 0, 1, request)
	e.layer.update(&e.state, out)
	return r
}

// open opens all of src, which consists of whole records.
func (e *end) open(src []byte) (string, error) {
	dst := make([]byte, len(src))
	n, _, err := e.layer.Open(&e.state, dst, src)
	return string(dst[:n]), err
}

// alertOf is the alert that an error wants sent, as a text.
func alertOf(err error) string {
	var e *Error
	switch {
	case err == nil:
		return "none"
	case err == ErrClosed:
		return "closed"
	case !errors.As(err, &e):
		return err.Error()
	case e.FromPeer:
		return "from the peer: " + AlertName(e.Alert)
	}
	return AlertName(e.Alert)
}

func times(n int, record func() []byte) (all []byte) {
	for range n {
		all = append(all, record()...)
	}
	return all
}

// ticket is a NewSessionTicket with so many bytes in its body.
func ticket(n int) []byte {
	return append([]byte{messageTicket, byte(n >> 16), byte(n >> 8), byte(n)}, random(n)...)
}

func TestOpen(t *testing.T) {
	const (
		both = iota
		client13
		server13
		client12
		server12
	)
	tests := []struct {
		name string
		role int // we are
		send func(p *end) []byte
		want string // plaintext
		end  string // none, closed or the name of an alert
	}{
		{"data", both, func(p *end) []byte { return append(p.data("hello "), p.data("world")...) }, "hello world", "none"},
		{"no data", both, func(p *end) []byte { return p.record(typeData, nil, 0) }, "", "none"},
		{"as many records without data as are allowed, twice", both, func(p *end) []byte {
			few := func() []byte {
				return append(times(maxQuiet, func() []byte { return p.record(typeData, nil, 0) }), p.data("x")...)
			}
			return append(few(), few()...)
		}, "xx", "none"},
		{"too many records without data", both, func(p *end) []byte {
			return append(p.data("x"), times(maxQuiet+1, func() []byte { return p.record(typeData, nil, 0) })...)
		}, "x", "unexpected_message"},
		{"the longest record", both, func(p *end) []byte { return p.record(typeData, bytes.Repeat([]byte("x"), MaxPlaintext), 0) },
			string(bytes.Repeat([]byte("x"), MaxPlaintext)), "none"},
		{"too much plaintext", both, func(p *end) []byte {
			return append(p.data("x"), p.record(typeData, make([]byte, MaxPlaintext+1), 0)...)
		}, "x", "record_overflow"},

		{"close_notify", both, func(p *end) []byte {
			return append(p.data("x"), append(p.record(typeAlert, []byte{1, AlertCloseNotify}, 0), p.data("never seen")...)...)
		}, "x", "closed"},
		{"a fatal close_notify", both, func(p *end) []byte { return p.record(typeAlert, []byte{2, AlertCloseNotify}, 0) }, "", "closed"},
		{"a fatal alert", both, func(p *end) []byte {
			return append(p.data("x"), append(p.record(typeAlert, []byte{2, 49}, 0), p.data("never seen")...)...)
		}, "x", "from the peer: access_denied"},
		{"an unknown alert", both, func(p *end) []byte { return p.record(typeAlert, []byte{2, 200}, 0) }, "", "from the peer: alert 200"},
		{"a short alert", both, func(p *end) []byte { return p.record(typeAlert, []byte{2}, 0) }, "", "decode_error"},
		{"an empty alert", both, func(p *end) []byte { return p.record(typeAlert, nil, 0) }, "", "decode_error"},
		{"two alerts in a record", both, func(p *end) []byte { return p.record(typeAlert, []byte{1, 90, 1, 0}, 0) }, "", "decode_error"},
		{"an empty handshake record", both, func(p *end) []byte { return p.handshake() }, "", "unexpected_message"},

		{"a warning", server13, func(p *end) []byte { return p.record(typeAlert, []byte{1, 112}, 0) }, "", "from the peer: unrecognized_name"},
		{"user_canceled", server13, func(p *end) []byte {
			return append(p.record(typeAlert, []byte{1, AlertUserCanceled}, 0), p.record(typeAlert, []byte{1, 0}, 0)...)
		}, "", "closed"},
		{"user_canceled too often", server13, func(p *end) []byte {
			return times(maxQuiet+1, func() []byte { return p.record(typeAlert, []byte{1, AlertUserCanceled}, 0) })
		}, "", "unexpected_message"},
		{"padding", server13, func(p *end) []byte {
			return append(append(p.record(typeData, []byte("a"), 1), p.record(typeData, []byte("b\x00"), 5000)...), p.record(typeData, []byte("c"), MaxPlaintext-1)...)
		}, "ab\x00c", "none"},
		{"padding of an alert", server13, func(p *end) []byte { return p.record(typeAlert, []byte{1, 0}, 100) }, "", "closed"},
		{"nothing but padding", server13, func(p *end) []byte { return p.record(0, make([]byte, 10), 0) }, "", "unexpected_message"},
		{"nothing at all", server13, func(p *end) []byte { return p.record(0, nil, 0) }, "", "unexpected_message"},
		{"too much padding", server13, func(p *end) []byte { return p.record(typeData, []byte("x"), MaxPlaintext) }, "", "record_overflow"},
		{"change_cipher_spec in a record", server13, func(p *end) []byte { return p.record(typeChangeCipherSpec, []byte{1}, 0) }, "", "unexpected_message"},
		{"an unknown type", server13, func(p *end) []byte { return p.record(99, []byte{1}, 0) }, "", "unexpected_message"},

		{"KeyUpdates", server13, func(p *end) []byte {
			return slices.Concat(p.keyUpdate(0), p.data("a"), p.keyUpdate(0), p.keyUpdate(1), p.data("b"))
		}, "ab", "none"},
		{"too many KeyUpdates", client13, func(p *end) []byte {
			return times(maxQuiet+1, func() []byte { return p.keyUpdate(1) })
		}, "", "unexpected_message"},
		{"a KeyUpdate in two records", server13, func(p *end) []byte {
			b := append(p.handshake(messageKeyUpdate, 0), p.handshake(0, 1, 0)...)
			p.layer.update(&p.state, out)
			return append(b, p.data("a")...)
		}, "a", "none"},
		{"a KeyUpdate with a ticket behind it", client13, func(p *end) []byte {
			return p.handshake(append([]byte{messageKeyUpdate, 0, 0, 1, 0}, ticket(20)...)...)
		}, "", "unexpected_message"},
		{"two KeyUpdates in a record", server13, func(p *end) []byte {
			return p.handshake(messageKeyUpdate, 0, 0, 1, 0, messageKeyUpdate, 0, 0, 1, 0)
		}, "", "unexpected_message"},
		{"a KeyUpdate behind a ticket", client13, func(p *end) []byte {
			b := p.handshake(append(ticket(20), messageKeyUpdate, 0, 0, 1, 0)...)
			p.layer.update(&p.state, out)
			return append(b, p.data("a")...)
		}, "a", "none"},
		{"a KeyUpdate that asks for 2", server13, func(p *end) []byte { return p.keyUpdate(2) }, "", "illegal_parameter"},
		{"an empty KeyUpdate", server13, func(p *end) []byte { return p.handshake(messageKeyUpdate, 0, 0, 0) }, "", "decode_error"},
		{"a long KeyUpdate", server13, func(p *end) []byte { return p.handshake(messageKeyUpdate, 0, 0, 2, 0, 0) }, "", "decode_error"},
		{"data with the old key", server13, func(p *end) []byte {
			old := p.state
			b := p.keyUpdate(0)
			p.state = old
			p.state.seq[out]++
			return append(b, p.data("x")...)
		}, "", "bad_record_mac"},
		{"data in the middle of a message", client13, func(p *end) []byte {
			return append(p.handshake(messageTicket, 0, 0), p.data("x")...)
		}, "", "unexpected_message"},
		{"an alert in the middle of a message", client13, func(p *end) []byte {
			return append(p.handshake(messageTicket, 0, 0, 30, 1), p.record(typeAlert, []byte{1, 0}, 0)...)
		}, "", "unexpected_message"},

		{"tickets", client13, func(p *end) []byte {
			return slices.Concat(p.handshake(ticket(200)...), p.data("a"), p.handshake(append(ticket(100), ticket(0)...)...), p.data("b"))
		}, "ab", "none"},
		{"a ticket in a record for each byte", client13, func(p *end) (b []byte) {
			for _, c := range ticket(20) {
				b = append(b, p.handshake(c)...)
			}
			return append(b, p.data("a")...)
		}, "a", "none"},
		{"the longest ticket", client13, func(p *end) (b []byte) {
			for part := range slices.Chunk(ticket(maxTicket), MaxPlaintext) {
				b = append(b, p.handshake(part...)...)
			}
			return append(b, p.data("a")...)
		}, "a", "none"},
		{"a longer ticket", client13, func(p *end) []byte {
			return p.handshake(ticket(maxTicket + 1)[:100]...)
		}, "", "decode_error"},
		{"too many tickets", client13, func(p *end) []byte {
			return times(maxQuiet+1, func() []byte { return p.handshake(ticket(20)...) })
		}, "", "unexpected_message"},
		{"a ticket from a client", server13, func(p *end) []byte { return p.handshake(ticket(20)...) }, "", "unexpected_message"},
		{"a CertificateRequest", client13, func(p *end) []byte { return p.handshake(13, 0, 0, 3, 0, 0, 0) }, "", "unexpected_message"},
		{"a ClientHello", server13, func(p *end) []byte { return p.handshake(1, 0, 0, 3, 0, 0, 0) }, "", "unexpected_message"},
		{"a HelloRequest in TLS 1.3", client13, func(p *end) []byte { return p.handshake(0, 0, 0, 0) }, "", "unexpected_message"},

		{"a warning in TLS 1.2", server12, func(p *end) []byte {
			return append(p.record(typeAlert, []byte{1, 112}, 0), p.data("a")...)
		}, "a", "none"},
		{"too many warnings in TLS 1.2", server12, func(p *end) []byte {
			return times(maxQuiet+1, func() []byte { return p.record(typeAlert, []byte{1, 112}, 0) })
		}, "", "unexpected_message"},
		{"an alert of an unknown level", server12, func(p *end) []byte { return p.record(typeAlert, []byte{3, 112}, 0) }, "", "illegal_parameter"},
		{"a HelloRequest", client12, func(p *end) []byte {
			return append(p.data("a"), p.handshake(0, 0, 0, 0)...)
		}, "a", "no_renegotiation"},
		{"a renegotiation", server12, func(p *end) []byte { return p.handshake(1, 0, 0, 3, 0, 0, 0) }, "", "no_renegotiation"},
		{"a HelloRequest from a client", server12, func(p *end) []byte { return p.handshake(0, 0, 0, 0) }, "", "unexpected_message"},
		{"a ticket in TLS 1.2", client12, func(p *end) []byte { return p.handshake(ticket(20)...) }, "", "unexpected_message"},
	}
	for _, k := range kinds() {
		role := client12
		if suites[suiteIndex(k.version(), k.suite)].tls13 {
			role = client13
		}
		if !k.isClient {
			role++
		}
		t.Run(k.String(), func(t *testing.T) {
			for _, test := range tests {
				if test.role != both && test.role != role {
					continue
				}
				t.Run(test.name, func(t *testing.T) {
					ours, peer := ends(t, k)
					src := test.send(peer)
					got, err := ours.open(src)
					if got != test.want || alertOf(err) != test.end {
						t.Fatalf("opened %q, the alert is %s; want %q, %s", got, alertOf(err), test.want, test.end)
					}
					again, err := ours.open(peer.data("never seen"))
					if test.end != "none" && (again != "" || err == nil || (err == ErrClosed) != (test.end == "closed")) {
						t.Errorf("opened after the end: %q, %v", again, err)
					}
				})
			}
		})
	}
}

// TestQuietPeer: a peer that only receives may change its keys as often as it gets data.
func TestQuietPeer(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		ours, peer := ends(t, k)
		for range 3 * maxQuiet {
			if _, err := ours.open(peer.record(typeData, nil, 0)); err != nil {
				t.Fatal(err)
			}
			ours.data("x")
		}
	})
}

// TestHeaders has what can't be a record. It is refused as soon as its header is
// there.
func TestHeaders(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		most := 16384 + 2048
		if suites[suiteIndex(k.version(), k.suite)].tls13 {
			most = 16384 + 256
		}
		for _, test := range []struct {
			header []byte
			want   string
		}{
			{[]byte("GET /"), "unexpected_message"},
			{[]byte{typeChangeCipherSpec, 3, 3, 0, 1}, "unexpected_message"},
			{[]byte{0, 3, 3, 0, 20}, "unexpected_message"},
			{[]byte{24, 3, 3, 0, 20}, "unexpected_message"},
			{[]byte{typeData, 3, 1, 0, 20}, "protocol_version"},
			{[]byte{typeData, 3, 4, 0, 20}, "protocol_version"},
			{[]byte{typeData, 3, 3, byte(most >> 8), byte(most)}, "none"},
			{[]byte{typeData, 3, 3, byte((most + 1) >> 8), byte(most + 1)}, "record_overflow"},
			{[]byte{typeData, 3, 3, 0xff, 0xff}, "record_overflow"},
			{[]byte{typeData, 3, 3, 0, 0}, "bad_record_mac"},
			{append([]byte{typeData, 3, 3, 0, 16}, random(16)...), "bad_record_mac"},
			{append([]byte{typeData, 3, 3, 0, 30}, random(30)...), "bad_record_mac"},
		} {
			ours, peer := ends(t, k)
			got, err := ours.open(append(peer.data("x"), test.header...))
			if got != "x" || alertOf(err) != test.want {
				t.Errorf("% x: opened %q, the alert is %s, want %s", test.header, got, alertOf(err), test.want)
			}
			ours, _ = ends(t, k)
			if _, err := ours.open(test.header[:4]); err != nil {
				t.Errorf("% x: %v", test.header[:4], err)
			}
		}
		// Without encryption, an alert isn't one.
		ours, _ := ends(t, k)
		want := "bad_record_mac"
		if ours.state.suiteInfo().tls13 {
			want = "unexpected_message"
		}
		if _, err := ours.open([]byte{typeAlert, 3, 3, 0, 2, 2, 40}); alertOf(err) != want {
			t.Errorf("a bare alert: %v, want %s", err, want)
		}
	})
}

// stream is records of all sorts, and their plaintext.
func stream(k kind, peer *end) (records []byte, plain string) {
	add := func(r []byte, p string) {
		records = append(records, r...)
		plain += p
	}
	add(peer.data("first"), "first")
	add(peer.record(typeData, nil, 0), "")
	if peer.state.suiteInfo().tls13 {
		add(peer.record(typeData, []byte("second"), 7), "second")
		if k.isClient {
			two := append(ticket(30), ticket(2)...)
			add(peer.handshake(two[:2]...), "")
			add(peer.handshake(two[2:36]...), "")
			add(peer.handshake(two[36:]...), "")
		}
		add(peer.keyUpdate(1), "")
		add(peer.data("third"), "third")
		add(peer.keyUpdate(0), "")
	} else {
		add(peer.record(typeAlert, []byte{1, 90}, 0), "")
	}
	add(peer.data("fourth"), "fourth")
	add(peer.record(typeAlert, []byte{1, 0}, 0), "")
	return records, plain
}

// TestCutAnywhere: it makes no difference where the bytes of records are divided, nor
// whether the State has been copied to another Layer in between.
func TestCutAnywhere(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		first, peer := ends(t, k)
		src, want := stream(k, peer)
		check := func(step func(i int) int) error {
			e := &end{NewLayer(2), first.state}
			var got, rest []byte
			for i := 0; i < len(src); {
				n := min(step(i), len(src)-i)
				rest = append(rest, src[i:i+n]...)
				i += n
				dst := make([]byte, len(rest))
				plain, used, err := e.layer.Open(&e.state, dst, rest)
				got = append(got, dst[:plain]...)
				rest = rest[used:]
				if len(rest) > MaxRecord {
					return fmt.Errorf("%d bytes are left", len(rest))
				}
				if i == len(src) != (err == ErrClosed) || err != nil && err != ErrClosed {
					return fmt.Errorf("after %d bytes: %v", i, err)
				}
				e = &end{NewLayer(1), e.state}
			}
			if string(got) != want || len(rest) > 0 {
				return fmt.Errorf("opened %q, %d bytes are left", got, len(rest))
			}
			return nil
		}
		for n := 1; n < len(src); n++ {
			if err := check(func(i int) int {
				if i == 0 {
					return n
				}
				return len(src)
			}); err != nil {
				t.Fatalf("cut after %d bytes: %v", n, err)
			}
		}
		for n := 1; n < 80; n++ {
			if err := check(func(int) int { return n }); err != nil {
				t.Fatalf("pieces of %d bytes: %v", n, err)
			}
		}
	})
}
