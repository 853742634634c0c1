package tlsrec

import "crypto/tls"

// TryOpen reports whether a record, with its header, was sealed with a traffic secret
// of TLS 1.3 under this sequence number. It is for a handshake that must find out
// from when on its own records had the secret of the application data. It allocates
// a cipher each time.
func TryOpen(version, suite uint16, trafficSecret []byte, seq uint64, record []byte) bool {
	if version != tls.VersionTLS13 {
		return false
	}
	s, err := New(Secrets{
		Version: version, Suite: suite, Read: seq,
		ClientTraffic: trafficSecret, ServerTraffic: trafficSecret,
	})
	if err != nil || len(record) < HeaderSize || s.checkHeader(record) != nil {
		return false
	}
	_, _, err = NewLayer(1).openRecord(&s, make([]byte, len(record)), record)
	return err == nil
}
