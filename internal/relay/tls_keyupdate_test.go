package relay_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// crypto/tls never changes its keys by itself, so peers that do have records of their own
// here, with what RFC 8446 says and nothing of the balancer's.

// keys are those of one direction.
type keys struct {
	secret  []byte
	seq     uint64
	chacha  bool
	aead    cipher.AEAD
	iv      []byte
	updates int
}

// expandLabel is HKDF-Expand-Label, RFC 8446 §7.1.
func expandLabel(secret []byte, label string, size int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(size))
	info = append(info, byte(len("tls13 "+label)))
	info = append(append(info, "tls13 "+label...), 0)
	b, err := hkdf.Expand(sha256.New, secret, string(info), size)
	if err != nil {
		panic(err)
	}
	return b
}

func (k *keys) set(secret []byte) {
	k.secret, k.seq, k.iv = secret, 0, expandLabel(secret, "iv", 12)
	var err error
	if k.chacha {
		k.aead, err = chacha20poly1305.New(expandLabel(secret, "key", 32))
	} else {
		var block cipher.Block
		if block, err = aes.NewCipher(expandLabel(secret, "key", 16)); err == nil {
			k.aead, err = cipher.NewGCM(block)
		}
	}
	if err != nil {
		panic(err)
	}
}

// update goes on to the next key, RFC 8446 §7.2.
func (k *keys) update() {
	k.set(expandLabel(k.secret, "traffic upd", sha256.Size))
	k.updates++
}

func (k *keys) nonce() []byte {
	n := append([]byte(nil), k.iv...)
	for i := range 8 {
		n[11-i] ^= byte(k.seq >> (8 * i))
	}
	k.seq++
	return n
}

func (k *keys) seal(kind byte, p []byte) []byte {
	size := len(p) + 1 + k.aead.Overhead()
	header := []byte{23, 3, 3, byte(size >> 8), byte(size)}
	return k.aead.Seal(header, k.nonce(), append(append([]byte(nil), p...), kind), header)
}

// keyed is the end of a connection that changes keys.
type keyed struct {
	conn    *net.TCPConn
	mu      sync.Mutex // guards out
	in, out keys
	plain   []byte
	told    bool // a close_notify has come
}

// keyLog takes the secrets of a handshake.
type keyLog map[string][]byte

func (k keyLog) Write(line []byte) (int, error) {
	words := strings.Fields(string(line))
	secret, err := hex.DecodeString(words[2])
	k[words[0]] = secret
	return len(line), err
}

// keyedPeer makes the handshake of p with crypto/tls. After it p has records of its own.
func keyedPeer(r *fixture, p *peer) {
	r.t.Helper()
	log := keyLog{}
	config := tlsFor(r.t).peerClient.Clone()
	if p.side == session.Backend {
		config = tlsFor(r.t).peerServer.Clone()
	}
	config.KeyLogWriter, config.SessionTicketsDisabled = log, true
	below := &exact{TCPConn: p.TCPConn}
	c := tls.Client(below, config)
	if p.side == session.Backend {
		c = tls.Server(below, config)
	}
	if err := c.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	suite := c.ConnectionState().CipherSuite
	k := &keyed{conn: p.TCPConn}
	k.in.chacha = suite == tls.TLS_CHACHA20_POLY1305_SHA256
	k.out.chacha = k.in.chacha
	in, out := log["SERVER_TRAFFIC_SECRET_0"], log["CLIENT_TRAFFIC_SECRET_0"]
	if p.side == session.Backend {
		in, out = out, in
	}
	if k.in.set(in); suite == tls.TLS_AES_256_GCM_SHA384 {
		r.t.Fatal("a suite that the test doesn't know")
	}
	k.out.set(out)
	p.keyed = k
}

// exact reads nothing beyond a record, so that nothing is left in crypto/tls.
type exact struct {
	*net.TCPConn
	header []byte
	left   int // of a record whose header was read
}

func (e *exact) Read(p []byte) (int, error) {
	if e.left > 0 {
		n, err := e.TCPConn.Read(p[:min(len(p), e.left)])
		e.left -= n
		return n, err
	}
	n, err := e.TCPConn.Read(p[:min(len(p), 5-len(e.header))])
	if e.header = append(e.header, p[:n]...); len(e.header) == 5 {
		e.left, e.header = int(binary.BigEndian.Uint16(e.header[3:])), nil
	}
	return n, err
}

// Write seals p as data.
func (k *keyed) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, err := k.conn.Write(k.out.seal(23, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// update sends a KeyUpdate. ask asks the other end for one, too (RFC 8446 §4.6.3).
func (k *keyed) update(ask bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	message := []byte{24, 0, 0, 1, 0}
	if ask {
		message[4] = 1
	}
	k.conn.Write(k.out.seal(22, message))
	k.out.update()
}

// Read opens records.
func (k *keyed) Read(p []byte) (int, error) {
	for len(k.plain) == 0 {
		record := make([]byte, 5)
		if _, err := io.ReadFull(k.conn, record); err != nil {
			return 0, err
		}
		record = append(record, make([]byte, binary.BigEndian.Uint16(record[3:]))...)
		if _, err := io.ReadFull(k.conn, record[5:]); err != nil {
			return 0, err
		}
		content, err := k.in.aead.Open(nil, k.in.nonce(), record[5:], record[:5])
		if err != nil {
			return 0, fmt.Errorf("after %d changes of the key: %w", k.in.updates, err)
		}
		switch kind := content[len(content)-1]; {
		case kind == 23:
			k.plain = content[:len(content)-1]
		case kind == 22 && content[0] == 24: // KeyUpdate
			k.in.update()
		case kind == 21: // an alert; close_notify is 0
			if content[1] != 0 {
				return 0, tls.AlertError(content[1])
			}
			k.told = true
			return 0, io.EOF
		}
	}
	n := copy(p, k.plain)
	k.plain = k.plain[n:]
	return n, nil
}

// TestTLSKeyUpdate: both sides of a session change their keys, also in the middle of a
// message and of a frame, and make the balancer change its own.
func TestTLSKeyUpdate(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			e := e
			e.tls = speaksTLS{true, true}
			r := newFixture(t, e, quick, relay.Limits{})
			r.keyed = true
			c, b := r.open()
			for round := range 8 {
				for _, pair := range [][2]*peer{{c, b}, {b, c}} {
					source, sink := pair[0], pair[1]
					text := fmt.Sprintf("round %d", round)
					source.keyed.update(round%2 == 0)
					source.text(text)
					source.send(source.frame(opText, "begins"))
					source.keyed.update(round%3 == 0)
					f := source.frame(fin, strings.Repeat("x", 40_000))
					source.send(f[:round])
					source.keyed.update(false)
					source.send(f[round:16_000])
					source.keyed.update(true)
					source.send(f[16_000:32_000])
					source.send(f[32_000:])
					sink.wantText(text)
					sink.want(opText, "begins")
					sink.want(fin, strings.Repeat("x", 40_000))
				}
			}
			for _, p := range []*peer{c, b} {
				// Questions are answered before the next data, several by one answer.
				if in, out := p.keyed.in.updates, p.keyed.out.updates; out != 32 || in < 7 || in > 16 {
					t.Errorf("the %s has changed its key %d times, and the balancer %d times", p.side, out, in)
				}
			}
			r.finish(c, b)
		})
	}
}
