//go:build unix

package tlsconn

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
)

func openssl(t *testing.T, args ...string) *process.Process {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal(err)
	}
	return process.Start(t, "openssl "+args[0], exec.Command(program, args...))
}

// rsaCertificate is one that nobody has signed.
func rsaCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"test.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// say sends a line to s_client, and waits for its echo. OpenSSL may print that in the
// middle of another line.
func say(t *testing.T, p *process.Process, line string) {
	t.Helper()
	from := p.Stdout.Position()
	fmt.Fprintln(p.Stdin, line)
	p.Stdout.Find(t, "the echo of "+line, from, func(got string) bool { return strings.HasSuffix(got, line) })
}

// TestOpenSSLClient: all suites, a HelloRetryRequest, client certificates, changes of
// keys, and sessions that are resumed.
func TestOpenSSLClient(t *testing.T) {
	p := newPKI(t)
	cert, key := p.client.Files()
	rsa := rsaCertificate(t)
	for _, test := range []struct {
		name  string
		args  string
		suite uint16
		set   func(*tls.Config)
	}{
		{"aes128", "-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256", tls.TLS_AES_128_GCM_SHA256, nothingElse},
		{"aes256", "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384", tls.TLS_AES_256_GCM_SHA384, nothingElse},
		{"chacha", "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", tls.TLS_CHACHA20_POLY1305_SHA256, nothingElse},
		{"hello retry", "-tls1_3 -groups X448:X25519", 0, nothingElse},
		{"client certificate", "-tls1_3 -cert " + cert + " -key " + key, 0, p.demands},
		{"without tickets", "-tls1_3", 0, func(c *tls.Config) { c.SessionTicketsDisabled = true }},
		{"1.2 aes128", "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, nothingElse},
		{"1.2 aes256", "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, nothingElse},
		{"1.2 chacha", "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, nothingElse},
		{"1.2 client certificate", "-tls1_2 -cert " + cert + " -key " + key, 0, p.demands},
		{"1.2 rsa aes128", "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, nothingElse},
		{"1.2 rsa aes256", "-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384", tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, nothingElse},
		{"1.2 rsa chacha", "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305", tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, nothingElse},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachNetwork(t, func(t *testing.T, n transport.Network) {
				base := p.serverConfig()
				base.Certificates = append(base.Certificates, rsa)
				test.set(base)
				facts := make(chan *transport.TLS, 1)
				to := listenTLS(t, n, base, func(c *Conn) {
					facts <- c.Facts()
					if !c.Facts().Resumed {
						echo(t)(c)
						return
					}
					// In the second connection keys change in a NetConn.
					nc, err := c.Detach()
					if err != nil {
						t.Error(err)
						return
					}
					defer nc.Close()
					if _, err := io.Copy(struct{ io.Writer }{nc}, nc); err != nil {
						t.Error(err)
					}
				})
				session := filepath.Join(t.TempDir(), "session")
				args := append([]string{"s_client", "-connect", to.String(), "-servername", "test.example", "-sess_out", session}, strings.Fields(test.args)...)
				for i := range 2 {
					c := openssl(t, args...)
					f := testkit.Receive(t, "the handshake is done", facts)
					if test.suite != 0 && f.Suite != test.suite {
						t.Errorf("suite %s", tls.CipherSuiteName(f.Suite))
					}
					if want := i == 1 && !base.SessionTicketsDisabled; f.Resumed != want {
						t.Errorf("connection %d: resumed is %v", i, f.Resumed)
					}
					say(t, c, "hello")
					if f.Version == tls.VersionTLS13 {
						for _, command := range []string{"k", "K"} { // KeyUpdate, and one that asks for ours
							from := c.Stderr.Position()
							fmt.Fprintln(c.Stdin, command)
							c.Stderr.Find(t, "KEYUPDATE", from, func(line string) bool { return line == "KEYUPDATE" })
							say(t, c, "after "+command)
							say(t, c, "more after "+command)
						}
					}
					fmt.Fprintln(c.Stdin, "Q")
					if code := c.Wait(t, testkit.Patience); code != 0 {
						t.Errorf("openssl ended with %d", code)
					}
					if base.SessionTicketsDisabled {
						break
					}
					args = append(args, "-sess_in", session)
				}
			})
		})
	}
}

// TestOpenSSLServer: we are the client. OpenSSL reverses each line. A ticket with a
// client's certificate may be longer than a record.
func TestOpenSSLServer(t *testing.T) {
	p := newPKI(t)
	cert, key := p.server.Files()
	for _, test := range []struct {
		name string
		args string
		set  func(*tls.Config)
	}{
		{"1.3", "-tls1_3", nothingElse},
		{"1.3 many tickets", "-tls1_3 -num_tickets 10", nothingElse},
		{"1.3 no tickets", "-tls1_3 -num_tickets 0", nothingElse},
		{"1.3 chacha", "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", nothingElse},
		{"1.3 hello retry", "-tls1_3 -groups P-384", nothingElse},
		{"1.3 client certificate", "-tls1_3 -Verify 1 -verify_return_error -CAfile " + p.ca.File(), p.shows},
		{"1.3 large client certificate", "-tls1_3 -Verify 1 -verify_return_error -CAfile " + p.ca.File(), p.showsLarge},
		{"1.2", "-tls1_2", nothingElse},
		{"1.2 chacha", "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", nothingElse},
		{"1.2 client certificate", "-tls1_2 -Verify 1 -verify_return_error -CAfile " + p.ca.File(), p.shows},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"s_server", "-accept", "127.0.0.1:0", "-cert", cert, "-key", key, "-rev"}
			s := openssl(t, append(args, strings.Fields(test.args)...)...)
			line := s.Stdout.Find(t, "its address", 0, func(line string) bool { return strings.HasPrefix(line, "ACCEPT ") })
			to := netip.MustParseAddrPort(strings.Fields(line)[1])
			eachNetwork(t, func(t *testing.T, n transport.Network) {
				base := p.clientConfig()
				test.set(base)
				base.ClientSessionCache = tls.NewLRUClientSessionCache(10)
				config := NewConfig(base)
				for i := range 3 {
					secured(t, n, to, config, func(c *Conn) {
						f := c.Facts()
						if want := i > 0 && test.name != "1.3 no tickets"; f.Resumed != want {
							t.Errorf("connection %d: resumed is %v", i, f.Resumed)
						}
						got := make([]byte, 6)
						for range 2 {
							io.WriteString(c, "hello\n")
							if _, err := io.ReadFull(c, got); err != nil || string(got) != "olleh\n" {
								t.Errorf("read %q, %v", got, err)
							}
						}
						if c.link.tickets != nil {
							t.Error("after the first data it still waits for tickets")
						}
					})
				}
			})
		})
	}
}
