package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// PEM is what a program has in memory where others name files. No file can set it, and
// a Config that has some can't be written as a file.
type PEM struct {
	// Name says where it is from, such as "Secret default/tls": errors, the log and the
	// status name it so.
	Name string
	Cert []byte // certificates in PEM, in the same order as in a file
	Key  []byte // the private key in PEM; empty if it is in Cert, too, or there is none
}

// pem checks what a program has in memory. Whether it can be used is known when it is.
func (v *Validator) pem(p Path, data *PEM, file bool) {
	switch {
	case !v.OK(p):
	case data.Name == "":
		v.Fail(p, "what is in memory needs a name that says where it is from")
	case file:
		v.Fail(p, "%s is in memory, and a file is named, too: leave one of them out", hint.Quote(data.Name))
	}
}

// certificateNames checks Certificate.Names, and brings them into lower case.
func (v *Validator) certificateNames(p Path, names []string) {
	for i, name := range names {
		if normal := strings.ToLower(strings.TrimSuffix(name, ".")); normal != name {
			names[i] = normal
		}
		if name == "*" {
			continue
		}
		if err := hostport.CheckName(strings.TrimPrefix(names[i], "*.")); err != nil && v.OK(p) {
			v.Fail(p, "bad name %s of a certificate: %v", hint.Quote(name), err)
		}
	}
}

// checkSAN checks a name that a certificate must have: a URI, an IP address, or the name of
// a host, which may be a wildcard, as in a certificate.
func checkSAN(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	if strings.Contains(s, ":") {
		if u, err := url.Parse(s); err != nil || !u.IsAbs() {
			return fmt.Errorf("bad name %s of a certificate: write a URI such as spiffe://cluster.local/ns/default, or the name of a host", hint.Quote(s))
		}
		return nil
	}
	if err := hostport.CheckName(strings.TrimPrefix(s, "*.")); err != nil {
		return fmt.Errorf("bad name %s of a certificate: %v", hint.Quote(s), err)
	}
	return nil
}
