//go:build unix

package pebble

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// Options say how a Server validates and what it issues.
type Options struct {
	// HTTPPort and TLSPort are where it asks for challenges. 0 is a port on which
	// nobody listens.
	HTTPPort, TLSPort int
	// DNS is the address of the name server that it asks.
	DNS string
	// Validity is how long certificates are valid; 0 is 90 days. ARI suggests a
	// renewal after two thirds of it, give or take a day.
	Validity time.Duration
	// ShortLived adds the profile "shortlived", whose certificates are valid for 6
	// days. An order without a profile then gets any.
	ShortLived bool
}

// Server is a Pebble that ends with the test.
type Server struct {
	*process.Process
	Directory string // the URL
	CA        string // a file: what Directory's own certificate is verified by
	Address   string // host:port of Directory

	options   Options
	dir       string
	cert, key string // files
	manage    string // the address of the management interface
	client    *http.Client
}

// New prepares a Server, which doesn't run until Start is called.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	ca := testca.New(t) // for its own interfaces
	// It can't choose addresses itself and report them.
	s := &Server{options: o, dir: t.TempDir(), Address: testkit.FreeAddress(t), manage: testkit.FreeAddress(t), CA: ca.File()}
	s.Directory = "https://" + s.Address + "/dir"
	s.cert, s.key = ca.Issue("127.0.0.1").Files()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
	t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport}
	return s
}

// Start is New and Start.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := New(t, o)
	s.Start(t)
	return s
}

// Start starts the server and waits until it answers. It may be called again after
// Kill: then the server has forgotten its accounts and its root.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	unused := 1 // tcpmux
	port := func(p int) int {
		if p == 0 {
			return unused
		}
		return p
	}
	validity := s.options.Validity
	if validity == 0 {
		validity = 90 * 24 * time.Hour
	}
	profiles := map[string]any{"default": map[string]any{"description": "tests", "validityPeriod": int(validity / time.Second)}}
	if s.options.ShortLived {
		profiles["shortlived"] = map[string]any{"description": "six days", "validityPeriod": 6 * 24 * 3600}
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": s.Address, "managementListenAddress": s.manage,
		"certificate": s.cert, "privateKey": s.key,
		"httpPort": port(s.options.HTTPPort), "tlsPort": port(s.options.TLSPort),
		"keyAlgorithm": "ecdsa",
		"retryAfter":   map[string]int{"authz": 1, "order": 1},
		"profiles":     profiles,
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, "config.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary(t), "-config", file, "-dnsserver", s.options.DNS)
	// Nothing is left to chance: no pauses, no refused nonces, no reused authorizations.
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0")
	s.Process = process.Start(t, "pebble", cmd)
	testkit.Eventually(t, "Pebble answers", func() bool {
		resp, err := s.client.Get(s.Directory)
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
}

// Root returns what its certificates are verified by.
func (s *Server) Root(t testing.TB) *x509.CertPool {
	t.Helper()
	resp, err := s.client.Get("https://" + s.manage + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatalf("the root of Pebble: %q, %v", text, err)
	}
	return pool
}

// SuggestRenewal makes ARI say that a certificate should be renewed between two times.
func (s *Server) SuggestRenewal(t testing.TB, c *x509.Certificate, from, to time.Time) {
	t.Helper()
	answer, _ := json.Marshal(map[string]any{"suggestedWindow": map[string]time.Time{"start": from.UTC(), "end": to.UTC()}})
	body, _ := json.Marshal(map[string]string{
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})),
		"ariResponse": string(answer),
	})
	resp, err := s.client.Post("https://"+s.manage+"/set-renewal-info/", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("Pebble refuses to change its ARI: %s", resp.Status)
	}
}

// build builds the server, which stays in Go's build cache, and returns its path.
var build = sync.OnceValues(func() (string, error) {
	main, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "tool", "-n", "pebble")
	cmd.Dir = filepath.Join(string(bytes.TrimSpace(main)), "internal", "testkit", "pebble", "module")
	cmd.Stderr = os.Stderr
	path, err := cmd.Output()
	return string(bytes.TrimSpace(path)), err
})

func binary(t testing.TB) string {
	t.Helper()
	file, err := build()
	if err != nil {
		t.Fatalf("building Pebble: %v (does scripts/setup-tests.sh work?)", err)
	}
	return file
}
