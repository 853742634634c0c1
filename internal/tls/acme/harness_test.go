//go:build unix

package acme

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/nameserver"
	"github.com/holdfast-ws/holdfast/internal/testkit/pebble"
)

// node is what a balancer has of ACME: a Group, and listeners that ask it.
type node struct {
	*Group
	log      testkit.Log
	changes  atomic.Int32
	tls      net.Listener // also what TLS-ALPN-01 connects to
	http     net.Listener // for HTTP-01
	answered atomic.Int32 // challenges, of both kinds
}

func newNode(t *testing.T) *node {
	n := &node{}
	n.Group = NewGroup(n.log.Logger(), func() { n.changes.Add(1) })
	var err error
	config := &tls.Config{NextProtos: []string{"http/1.1", TLSALPNProtocol}, GetCertificate: n.certificate}
	if n.tls, err = tls.Listen("tcp", "127.0.0.1:0", config); err != nil {
		t.Fatal(err)
	}
	if n.http, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	quiet := log.New(io.Discard, "", 0)
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	overTLS := &http.Server{Handler: hello, ErrorLog: quiet}
	plain := &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		answer, ok := n.Answer(host, r.URL.Path)
		if !ok {
			http.NotFound(w, r)
			return
		}
		n.answered.Add(1)
		io.WriteString(w, answer)
	})}
	done := make(chan error, 2)
	go func() { done <- overTLS.Serve(n.tls) }()
	go func() { done <- plain.Serve(n.http) }()
	t.Cleanup(func() {
		overTLS.Close()
		plain.Close()
		<-done
		<-done
		n.Close()
		if t.Failed() {
			t.Logf("the log:\n%s", n.log.String())
		}
	})
	return n
}

// certificate is a tls.Config's GetCertificate.
func (n *node) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c, ok := n.ChallengeCertificate(hello); ok {
		if c == nil {
			return nil, errors.New("no such challenge")
		}
		n.answered.Add(1)
		return c, nil
	}
	if c := n.of(hello.ServerName); c != nil {
		return c, nil
	}
	return nil, errors.New("no such certificate")
}

// of returns the certificate for a name, nil if there is none.
func (n *node) of(name string) *tls.Certificate {
	for _, c := range n.Certificates() {
		if c.Leaf.VerifyHostname(name) == nil {
			return c
		}
	}
	return nil
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// use makes the node want certificates. http01 is whether it counts as having a
// listener for HTTP.
func (n *node) use(t *testing.T, p *pebble.Server, storage string, http01 bool, domains ...string) {
	t.Helper()
	n.useDirectory(t, p.Directory, p.CA, storage, http01, domains...)
}

func (n *node) useDirectory(t *testing.T, directory, ca, storage string, http01 bool, domains ...string) {
	t.Helper()
	plan, err := NewPlan([]Use{{Account{Directory: directory, CA: ca, Storage: storage, Email: "ops@example.com"}, domains}}, http01)
	if err != nil {
		t.Fatal(err)
	}
	n.Apply(plan)
}

// wait waits until there is a certificate for a name, and returns it.
func (n *node) wait(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	testkit.Eventually(t, "a certificate for "+name, func() bool { return n.of(name) != nil })
	return n.of(name)
}

// check makes a handshake with the node's listener.
func (n *node) check(t *testing.T, p *pebble.Server, name string) {
	t.Helper()
	c, err := tls.Dial("tcp", n.tls.Addr().String(), &tls.Config{ServerName: name, RootCAs: p.Root(t)})
	if err != nil {
		t.Errorf("a handshake with %s: %v", name, err)
		return
	}
	c.Close()
}

// names starts a name server with these names, all of 127.0.0.1.
func names(t *testing.T, all ...string) string {
	t.Helper()
	var records []string
	for _, name := range all {
		records = append(records, fmt.Sprintf("%s. 60 IN A 127.0.0.1", name))
	}
	return nameserver.StartTCP(t, records...).Address
}

// orders returns how many certificates p has issued.
func orders(p *pebble.Server) int {
	return strings.Count(p.Stdout.String(), "Issued certificate serial")
}
