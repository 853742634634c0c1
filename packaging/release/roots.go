package main

import (
	"bytes"
	"encoding/pem"
	"os"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// writeRoots writes Mozilla's list of authorities: an image has no system with a list of
// its own, and the one of this machine would make each image another one.
func writeRoots(path string) error {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return err
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
