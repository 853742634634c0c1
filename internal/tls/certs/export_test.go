package certs

import "crypto/tls"

// Parse parses the contents of the files of p.
func Parse(p Pair, cert, key []byte) (*tls.Certificate, error) {
	c, bad := parse(p, cert, key)
	if bad != nil {
		return nil, bad
	}
	return c, nil
}

var IsHostName = isHostName
