package attempt

import (
	"crypto/tls"
	"testing"
)

// TestCipherNames: as OpenSSL has them, so that a backend sees the same from every proxy.
func TestCipherNames(t *testing.T) {
	for suite, want := range map[uint16]string{
		tls.TLS_AES_128_GCM_SHA256:                        "TLS_AES_128_GCM_SHA256",
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:         "ECDHE-RSA-AES128-GCM-SHA256",
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
	} {
		if got := cipherName(suite); got != want {
			t.Errorf("%#x: %q, want %q", suite, got, want)
		}
	}
}
