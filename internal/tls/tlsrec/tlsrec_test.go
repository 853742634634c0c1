package tlsrec

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"
)

// TestAgainstCryptoTLS sends data both ways with crypto/tls as the peer, and closes.
func TestAgainstCryptoTLS(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		for _, tickets := range []bool{false, true} {
			peer, raw, sec := connect(t, k, tickets)
			c := newConn(t, raw, sec)
			exchange(t, c, peer)
			go peer.CloseWrite()
			if p, err := c.read(); len(p) > 0 || err != ErrClosed {
				t.Fatalf("after close_notify: %d bytes, %v", len(p), err)
			}
			c.Conn.Write(c.layer.SealAlert(&c.state, nil, AlertCloseNotify))
			if n, err := peer.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Fatalf("the peer got %d, %v", n, err)
			}
			if got := c.layer.Seal(&c.state, nil, []byte("x")); len(got) > 0 {
				t.Error("data was sealed after close_notify")
			}
			if got := c.layer.SealAlert(&c.state, nil, AlertInternalError); len(got) > 0 {
				t.Error("a second alert was sealed")
			}
		}
	})
}

// exchange sends data of some lengths both ways.
func exchange(t *testing.T, c *conn, peer *tls.Conn) {
	t.Helper()
	for _, size := range []int{1, 5, 1000, MaxPlaintext - 1, MaxPlaintext, MaxPlaintext + 1, 100_000} {
		sent := random(size)
		go peer.Write(sent)
		if got := c.readFull(t, size); !bytes.Equal(got, sent) {
			t.Fatalf("of %d bytes from the peer others came", size)
		}
		go c.Conn.Write(c.layer.Seal(&c.state, nil, sent))
		if got := readFull(t, peer, size); !bytes.Equal(got, sent) {
			t.Fatalf("of %d bytes to the peer others came", size)
		}
	}
}

// TestTryOpen: a server of crypto/tls has sent its ticket with the secret of the
// application data, and only that.
func TestTryOpen(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		for _, tickets := range []bool{false, true} {
			_, _, sec := connect(t, k, tickets)
			want := uint64(0)
			switch {
			case sec.Version == tls.VersionTLS12:
				want = 1 // the Finished
			case tickets && !k.isClient:
				want = 1
			}
			if sec.Written != want {
				t.Errorf("tickets %t: %d records were counted, want %d", tickets, sec.Written, want)
			}
		}
	})
	for _, record := range [][]byte{nil, {23}, {23, 3, 3, 0, 0}, {22, 3, 3, 0, 1, 1}, append([]byte{23, 3, 3, 0, 20}, random(20)...)} {
		for _, suite := range []uint16{0, tls.TLS_AES_128_GCM_SHA256} {
			if TryOpen(tls.VersionTLS13, suite, random(32), 0, record) {
				t.Errorf("% x can be opened", record)
			}
		}
	}
}

// TestKeyUpdateAgainstCryptoTLS changes keys in both directions. crypto/tls changes
// its own only if it is asked to.
func TestKeyUpdateAgainstCryptoTLS(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		if k.version() == tls.VersionTLS12 {
			return
		}
		peer, raw, sec := connect(t, k, true)
		c := newConn(t, raw, sec)
		for range 3 {
			before := c.state.secrets
			content := [...]byte{messageKeyUpdate, 0, 0, 1, 1}
			c.Conn.Write(c.layer.sealRecord(&c.state, nil, typeHandshake, content[:]))
			c.layer.update(&c.state, out)
			c.write(t, []byte("x"))
			readFull(t, peer, 1) // it answers before that
			exchange(t, c, peer)
			if c.state.secrets[in] == before[in] || c.state.secrets[out] == before[out] {
				t.Fatal("a key has not changed")
			}
			if c.state.OwesKeyUpdate() {
				t.Fatal("an answer was asked for")
			}
		}
	})
}

// TestUpdateBeforeLimit: a key is not used for more records than it may be.
func TestUpdateBeforeLimit(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		peer, raw, sec := connect(t, k, false)
		c := newConn(t, raw, sec)
		c.layer.updateAfter = 3
		for range 2 {
			exchange(t, c, peer)
			if got := c.state.seq[out]; k.version() == tls.VersionTLS13 && got > 4 {
				t.Fatalf("%d records have the same key", got)
			}
		}
	})
}

// TestAnswersKeyUpdate: however often the peer has asked, it gets one answer, before
// the next data or when the caller wants.
func TestAnswersKeyUpdate(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		if k.version() == tls.VersionTLS12 {
			return
		}
		for _, data := range []string{"", "data"} {
			ours, peer := ends(t, k)
			if got := ours.layer.Seal(&ours.state, nil, nil); len(got) > 0 || ours.state.OwesKeyUpdate() {
				t.Fatal("an answer before the question")
			}
			for range 5 {
				if _, err := ours.open(peer.keyUpdate(1)); err != nil || !ours.state.OwesKeyUpdate() {
					t.Fatal(err)
				}
			}
			before := ours.state.secrets[out]
			sealed := ours.data(data)
			if ours.state.OwesKeyUpdate() || ours.state.secrets[out] != nextSecret(ours.state.suiteInfo().hash, &before) {
				t.Error("the key was not changed once")
			}
			got, err := peer.open(sealed)
			if got != data || err != nil || peer.state.OwesKeyUpdate() {
				t.Errorf("the peer got %q, %v", got, err)
			}
			if got, err := peer.open(ours.data("more")); got != "more" || err != nil {
				t.Errorf("the peer got %q, %v", got, err)
			}

			// After an alert there is no answer.
			ours.open(peer.keyUpdate(1))
			alert := ours.layer.SealAlert(&ours.state, nil, AlertCloseNotify)
			if ours.state.OwesKeyUpdate() || len(ours.data("x")) > 0 {
				t.Error("an answer after an alert")
			}
			if _, err := peer.open(alert); err != ErrClosed {
				t.Error(err)
			}
		}
	})
}

// TestSealAppends: what dst has stays, and an alert has its level.
func TestSealAppends(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		ours, peer := ends(t, k)
		first := ours.data("one")
		both := ours.layer.Seal(&ours.state, first[:len(first):len(first)], []byte("two"))
		if !bytes.HasPrefix(both, first) {
			t.Error("the beginning has changed")
		}
		if got, err := peer.open(both); got != "onetwo" || err != nil {
			t.Errorf("opened %q, %v", got, err)
		}
		if len(first)-3 > MaxOverhead {
			t.Errorf("the overhead is %d", len(first)-3)
		}
		for description, level := range map[uint8]byte{0: 1, 10: 2, 20: 2, 80: 2, 90: 1, 100: 1} {
			ours, peer := ends(t, k)
			record := ours.layer.SealAlert(&ours.state, nil, description)
			content, kind, err := peer.layer.openRecord(&peer.state, make([]byte, 100), record)
			if err != nil || kind != typeAlert || !bytes.Equal(content, []byte{level, description}) {
				t.Errorf("the alert %d is %v, of type %d, %v", description, content, kind, err)
			}
		}
	})
}

// TestAlertTexts: errors say what happened in the words of the RFCs.
func TestAlertTexts(t *testing.T) {
	for _, test := range []struct {
		err  Error
		want string
	}{
		{Error{Alert: 20, Reason: "a record can't be decrypted"}, "tls: a record can't be decrypted (bad_record_mac)"},
		{Error{Alert: 48, FromPeer: true, Reason: "unknown_ca"}, "tls: the peer has sent the alert unknown_ca"},
		{Error{Alert: 255, FromPeer: true}, "tls: the peer has sent the alert 255"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// TestWithFIPS runs the tests with crypto/tls again in a process with Go's FIPS 140-3
// module in its mode, and sees that a cipher that is refused there is an error.
func TestWithFIPS(t *testing.T) {
	if os.Getenv("TLSREC_FIPS") != "" {
		return
	}
	for _, mode := range []string{"on", "only"} {
		cmd := exec.Command(os.Args[0], "-test.run=^(TestAgainstCryptoTLS|TestRefusedByFIPS)$")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140="+mode, "TLSREC_FIPS="+mode)
		if mode == "only" {
			cmd.Args[1] = "-test.run=^TestRefusedByFIPS$"
		}
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("fips140=%s: %v\n%s", mode, err, output)
		}
	}
}

// TestRefusedByFIPS is for the process of TestWithFIPS.
func TestRefusedByFIPS(t *testing.T) {
	_, err := New(Secrets{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, ClientTraffic: random(32), ServerTraffic: random(32)})
	if refused := err != nil; refused != (os.Getenv("TLSREC_FIPS") == "only") {
		t.Error(err)
	}
}
