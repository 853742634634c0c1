//go:build unix

package acme

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestAdvice(t *testing.T) {
	m := &manager{}
	prob := func(kind string) error {
		return fmt.Errorf("a: %w", acme.Problem{Type: acme.ProblemTypeNamespace + kind, Detail: "the\ndetail",
			Subproblems: []acme.Subproblem{{Problem: acme.Problem{Detail: "sub"}, Identifier: acme.Identifier{Value: "a.b"}}}})
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{prob("connection"), "port 443 of the domain must lead"},
		{prob("dns"), "does not find the domain in DNS"},
		{prob("unauthorized"), "has not found this balancer"},
		{prob("caa"), "CAA record"},
		{prob("rateLimited"), "wait"},
		{prob("rejectedIdentifier"), "acme.domains"},
		{prob("externalAccountRequired"), "another acme.directory"},
		{prob("invalidContact"), "acme.email"},
		{prob("userActionRequired"), "a person"},
		{prob("somethingNew"), "documentation"},
		{acme.Problem{Type: acme.ProblemTypeNamespace + "somethingNew", Resource: acme.Authorization{}}, "has not found this balancer"},
		{fmt.Errorf("a: %w", &url.Error{Op: "Get", URL: "https://x", Err: x509.UnknownAuthorityError{}}), "acme.ca"},
		{fmt.Errorf("a: %w", &url.Error{Op: "Get", URL: "https://x", Err: errors.New("refused")}), "check acme.directory"},
		{errors.New("failed storage check: mkdir /x: permission denied - storage is probably misconfigured"), "acme.storage"},
		{errors.New("another"), "debug"},
	} {
		if got := m.advice(c.err); !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q in it", c.err, got, c.want)
		}
	}
	if got, want := reason(prob("dns")), "dns: the\ndetail; a.b: sub"; got != want {
		t.Errorf("the reason is %q, want %q", got, want)
	}
}

// TestPauses checks that few failed validations are made in an hour, and that what
// costs the authority nothing is tried soon.
func TestPauses(t *testing.T) {
	refused, away := acme.Problem{Type: acme.ProblemTypeConnection}, errors.New("away")
	for range 100 {
		var total time.Duration
		for failed := 1; failed <= 3; failed++ {
			total += retryAfter(refused, failed)
		}
		if total < 28*time.Minute {
			t.Errorf("three failures within %v", total)
		}
		for failed := 1; failed < 100; failed++ {
			if p := retryAfter(refused, failed); p < 4*time.Minute || p > 3*time.Hour {
				t.Errorf("a pause of %v", p)
			}
			if p := retryAfter(away, failed); p < 4*time.Second || p > 10*time.Minute {
				t.Errorf("a pause of %v", p)
			}
			if p := retryAfter(acme.Problem{Type: problemRateLimited}, failed); p < 48*time.Minute {
				t.Errorf("a pause of %v", p)
			}
		}
	}
}
