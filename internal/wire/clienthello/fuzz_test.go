package clienthello

import (
	"bytes"
	"crypto/tls"
	"errors"
	"testing"
)

// FuzzParse checks that a hello that comes in two pieces, or byte by byte, is read like
// one that comes at once.
func FuzzParse(f *testing.F) {
	for _, hello := range hellos(f) {
		f.Add(hello.wire, uint16(7))
		f.Add(records(message(hello.wire), 1, 50), uint16(60))
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(1))
	f.Fuzz(func(t *testing.T, wire []byte, cut uint16) {
		want, wantErr := Parse(wire)
		// An error stays, whatever follows; so does a result.
		var p Parser
		early, err := p.Parse(wire[:min(int(cut), len(wire))])
		if err == ErrMore {
			early, err = p.Parse(wire)
		}
		if err != wantErr || err == nil && !factsOf(early).equal(factsOf(want)) {
			t.Errorf("cut at %d: %+v, %v; want %+v, %v", cut, factsOf(early), err, factsOf(want), wantErr)
		}
		p = Parser{}
		for n := range len(wire) + 1 {
			if early, err = p.Parse(wire[:n]); err != ErrMore {
				break
			}
		}
		if err != wantErr || err == nil && !factsOf(early).equal(factsOf(want)) {
			t.Errorf("byte by byte: %+v, %v; want %+v, %v", factsOf(early), err, factsOf(want), wantErr)
		}
	})
}

// FuzzAgainstCryptoTLS compares with the parser of crypto/tls. What that accepts must
// be accepted with the same name, protocols and versions, but for names that can't be
// host names.
func FuzzAgainstCryptoTLS(f *testing.F) {
	for _, hello := range hellos(f) {
		f.Add(message(hello.wire), uint16(0), uint16(0))
		f.Add(message(hello.wire), uint16(3), uint16(50))
	}
	for _, m := range [][]byte{
		hello(), hello(""), hello(names(name("a"), "\x01"+vector16("b"))), hello(names(name("a."))),
		hello(names(name("a")), extension(extProtocols, vector16("\x01a\x02bc")), extension(extVersions, vector8("\x03\x04\x0a\x0a"))),
		hello(names(name("a")), names(name("a"))),
	} {
		f.Add(m, uint16(1), uint16(0))
	}
	f.Fuzz(func(t *testing.T, m []byte, first, second uint16) {
		wire := records(m, max(int(first), 1), max(int(second), 1))
		if len(wire) > MaxSize {
			return
		}
		theirs, ok := cryptoTLS(wire)
		if !ok {
			return
		}
		ours, err := Parse(wire)
		switch {
		case errors.Is(err, errNameByte) || errors.Is(err, errNameLength):
			if theirs.name != "" && checkName([]byte(theirs.name)) == nil {
				t.Errorf("rejected the good name %q: %v", theirs.name, err)
			}
		case err != nil:
			t.Errorf("%v; crypto/tls accepts it: %+v", err, theirs)
		default:
			got := factsOf(ours)
			got.legacy, theirs.legacy = 0, 0
			if len(ours.versions) == 0 { // crypto/tls makes a list of the legacy version
				theirs.versions = nil
			}
			if !got.equal(theirs) {
				t.Errorf("%+v; crypto/tls has %+v", got, theirs)
			}
		}
	})
}

// cryptoTLS is what a server of crypto/tls reads, if it accepts the hello.
func cryptoTLS(wire []byte) (f facts, ok bool) {
	enough := errors.New("enough")
	server := tls.Server(&script{input: bytes.NewReader(wire)}, &tls.Config{
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			ok = true
			f.name, f.protocols = info.ServerName, info.SupportedProtos
			for _, v := range info.SupportedVersions {
				if v&0x0f0f != 0x0a0a {
					f.versions = append(f.versions, v)
				}
			}
			return nil, enough
		},
	})
	server.Handshake()
	return f, ok
}
