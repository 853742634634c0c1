//go:build unix

package docs

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// example is a configuration in a document.
type example struct {
	where string // file:line
	yaml  string
	// errors are what the document says of it: the text block that follows it,
	// where that has messages in it. "" is an example to be followed.
	errors string
}

// examples are the whole configurations of a document, as opposed to pieces
// of them.
func examples(t testing.TB, file string) (list []example) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(kit.ModulePath("docs"), file))
	if err != nil {
		t.Fatal(err)
	}
	blocks := kit.CodeBlock.FindAllSubmatchIndex(text, -1)
	part := func(i, group int) string { return string(text[blocks[i][2*group]:blocks[i][2*group+1]]) }
	for i := range blocks {
		body := part(i, 2)
		if part(i, 1) != "yaml" || !strings.Contains("\n"+body, "\nlisteners:") || !strings.Contains("\n"+body, "\npools:") {
			continue
		}
		e := example{where: fmt.Sprintf("%s:%d", file, 1+strings.Count(string(text[:blocks[i][0]]), "\n")), yaml: body}
		if i+1 < len(blocks) && part(i+1, 1) == "text" && strings.HasPrefix(part(i+1, 2), "holdfast.yaml:") {
			e.errors = part(i+1, 2)
		}
		list = append(list, e)
	}
	if len(list) == 0 {
		t.Fatalf("%s has no example that is a whole configuration", file)
	}
	return list
}

// Configurations in documents pass the check without a warning. Those that are
// shown as wrong have the errors that are shown.
func TestDocumentedConfigurations(t *testing.T) {
	pair := testca.New(t).Issue("example.com")
	pem := slices.Concat(pair.Cert, pair.Key)
	for _, file := range []string{"config.md", "balancing.md", "reattach.md", "storms.md", "backends.md", "chat.md", "tls.md", "layer4.md", "access.md", "auth.md", "limits.md", "security.md", "aws.md", "recipes.md", "frameworks.md", "graphql-ws.md"} {
		for _, e := range examples(t, file) {
			t.Run(e.where, func(t *testing.T) {
				dir := t.TempDir()
				// Files of TLS all have the same: a certificate, which serves as an
				// authority, too, and its key.
				text := strings.ReplaceAll(e.yaml, "/etc/holdfast/", "")
				for _, m := range pemFile.FindAllStringSubmatch(text, -1) {
					if err := os.WriteFile(filepath.Join(dir, m[1]), pem, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.WriteFile(filepath.Join(dir, "holdfast.yaml"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				for name, content := range identityFiles(pair.Cert) {
					if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				for _, m := range backendFile.FindAllStringSubmatch(e.yaml, -1) {
					if err := os.WriteFile(filepath.Join(dir, m[1]), []byte(`[{"address": "10.0.0.1:3000"}]`), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				got := kit.RunIn(t, dir, "check", "-c", "holdfast.yaml")
				status := 0
				if e.errors != "" {
					status = 2
				}
				if got.Status != status || unsigned(got.Stderr) != e.errors {
					t.Errorf("status %d, want %d; said:\n%swant:\n%s", got.Status, status, got.Stderr, e.errors)
				}
			})
		}
	}
}

// identityFiles are the files of auth that examples name.
func identityFiles(cert []byte) map[string][]byte {
	return map[string][]byte{
		"issuer.pem":       cert,
		"tokens":           []byte(strings.Repeat("token", 8) + "\n"),
		"otlp-headers.txt": []byte("X-Tenant: example\n"),
		"rooms.secret":     []byte(strings.Repeat("secret", 8)),
		// RFC 7517 appendix A.1.
		"jwks.json": []byte(`{"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "kid": "1",
			"x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`),
	}
}

// backendFile is a file of backends that an example names.
var backendFile = regexp.MustCompile(`(?m)^\s+file: ([\w.-]+)`)

// pemFile is a file of TLS that an example names.
var pemFile = regexp.MustCompile(`\b(?:cert|key|ca|client_ca): ([\w.-]+\.(?:pem|key|crt))`)

// unsigned leaves out the warnings about a secret that is missing, as the text
// of some examples says, or that is as good as none because all have read it.
func unsigned(said string) (rest string) {
	for line := range strings.Lines(said) {
		if !strings.Contains(line, "secret") || !strings.HasSuffix(line, "(warning)\n") {
			rest += line
		}
	}
	return rest
}

// The examples of docs/balancing.md run, with addresses that are there, and
// serve sessions.
func TestBalancingExamplesServe(t *testing.T) {
	for _, e := range examples(t, "balancing.md") {
		t.Run(e.where, func(t *testing.T) {
			var file map[string]any
			if err := yaml.Unmarshal([]byte(e.yaml), &file); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			s := &stage{t: t, dir: dir, servers: map[string]*kit.NamedBackend{}}
			s.set(file)
			text, err := yaml.Marshal(file)
			if err != nil {
				t.Fatal(err)
			}
			b := &kit.Balancer{File: filepath.Join(dir, "holdfast.yaml")}
			b.WriteConfig(t, string(text))
			b.Process = kit.StartHoldfast(t, "run", "-c", b.File)
			b.AwaitReady(t)
			for _, r := range routesOf(file) {
				s.tryRoute(b, r)
			}
			b.Stop(t)
		})
	}
}

// stage has the addresses, names and files that an example refers to.
type stage struct {
	t       *testing.T
	dir     string
	servers map[string]*kit.NamedBackend // by pool and the address in the example
}

// set replaces the example's addresses by those of the stage.
func (s *stage) set(file map[string]any) {
	for _, listener := range file["listeners"].([]any) {
		listener.(map[string]any)["address"] = "127.0.0.1:0"
	}
	file["admin"] = map[string]any{"address": "127.0.0.1:0"}
	for name, p := range file["pools"].(map[string]any) {
		p := p.(map[string]any)
		backends, _ := p["backends"].([]any)
		for _, backend := range backends {
			backend := backend.(map[string]any)
			backend["address"] = s.server(name, backend["address"].(string)).Address
		}
		if d, ok := p["dns"].(map[string]any); ok {
			s.setDNS(name, d)
		}
		if file, ok := p["file"].(string); ok {
			list, err := json.Marshal([]any{
				map[string]any{"name": "found", "address": s.server(name, "found").Address, "weight": 2},
				map[string]any{"address": s.server(name, "found too").Address},
			})
			if err == nil {
				err = os.WriteFile(filepath.Join(s.dir, file), list, 0o600)
			}
			if err != nil {
				s.t.Fatal(err)
			}
		}
		if h, ok := p["health"].(map[string]any); ok {
			s.setHealth(name, h)
		}
	}
}

func (s *stage) server(pool, address string) *kit.NamedBackend {
	key := pool + " " + address
	if s.servers[key] == nil {
		s.servers[key] = kit.StartNamed(s.t, pool)
	}
	return s.servers[key]
}

// setDNS answers for the name with two servers, or one where all have to
// share a port.
func (s *stage) setDNS(pool string, d map[string]any) {
	name := dns.Fqdn(d["name"].(string))
	first := s.server(pool, "resolved")
	ports := []string{port(first.Address)}
	if d["type"] == "srv" {
		ports = append(ports, port(s.server(pool, "resolved too").Address))
	} else {
		d["port"] = yamlNumber(s.t, ports[0])
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	d["server"] = conn.LocalAddr().String()
	answer := func(w dns.ResponseWriter, q *dns.Msg) {
		reply := new(dns.Msg).SetReply(q)
		if asked := q.Question[0]; asked.Name == name && asked.Qtype == dns.TypeSRV {
			for _, p := range ports {
				record, _ := dns.NewRR(name + " 60 IN SRV 0 1 " + p + " node.test.")
				reply.Answer = append(reply.Answer, record)
			}
		} else if (asked.Name == name || asked.Name == "node.test.") && asked.Qtype == dns.TypeA {
			record, _ := dns.NewRR(asked.Name + " 60 IN A 127.0.0.1")
			reply.Answer = append(reply.Answer, record)
		}
		w.WriteMsg(reply)
	}
	started, ended := make(chan struct{}), make(chan struct{})
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answer), NotifyStartedFunc: func() { close(started) }}
	go func() {
		defer close(ended)
		server.ActivateAndServe()
	}()
	<-started
	s.t.Cleanup(func() {
		server.Shutdown()
		<-ended
	})
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

func yamlNumber(t testing.TB, text string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// setHealth has the servers answer the checks as the example expects.
func (s *stage) setHealth(pool string, h map[string]any) {
	if ws, ok := h["websocket"].(map[string]any); ok && ws["expect"] != nil && ws["expect"] != "pong" {
		for key, server := range s.servers {
			if strings.HasPrefix(key, pool+" ") {
				server.Reply = ws["expect"].(string)
			}
		}
	}
	if agent, ok := h["agent"].(map[string]any); ok {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.t.Fatal(err)
		}
		agent["port"] = yamlNumber(s.t, port(ln.Addr().String()))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				fmt.Fprintf(conn, "up 80%%\n")
				conn.Close()
			}
		}()
		s.t.Cleanup(func() {
			ln.Close()
			<-ended
		})
	}
}

type documentedRoute struct {
	host, path, pool string // pool is "" where it is the only one
	plain            bool
}

func routesOf(file map[string]any) (list []documentedRoute) {
	routes, _ := file["routes"].([]any)
	for _, r := range routes {
		r := r.(map[string]any)
		to := documentedRoute{host: "example.com", path: "/"}
		to.pool = r["pool"].(string)
		match, _ := r["match"].(map[string]any)
		if host, ok := match["host"].(string); ok {
			to.host = strings.Replace(host, "*", "any", 1)
		}
		if path, ok := match["path"].(string); ok {
			to.path = path
		}
		to.plain = match["websocket"] == false
		list = append(list, to)
	}
	if list == nil {
		list = []documentedRoute{{host: "example.com", path: "/"}}
	}
	return list
}

// tryRoute checks that a request is served by the pool of the route.
func (s *stage) tryRoute(b *kit.Balancer, r documentedRoute) {
	s.t.Helper()
	conn, err := net.DialTimeout("tcp", b.Address, testkit.Patience)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	var res *http.Response
	if r.plain {
		res, err = askPlain(conn, r)
	} else {
		w := &wspeer.Conn{Conn: conn, In: bufio.NewReader(conn), Masks: true}
		if res, err = w.Handshake(r.host, r.path, nil); err == nil {
			err = w.RoundTrip("hello")
		}
	}
	if err != nil {
		s.t.Fatalf("%+v: %v", r, err)
	}
	if got := res.Header.Get("X-Backend"); got == "" || r.pool != "" && got != r.pool {
		s.t.Errorf("%+v: served by a server of the pool %q", r, got)
	}
}

func askPlain(conn net.Conn, r documentedRoute) (*http.Response, error) {
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", r.path, r.host); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", res.Status)
	}
	return res, err
}
