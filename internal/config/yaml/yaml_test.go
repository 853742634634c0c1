package yaml

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
)

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const minimal = "listeners: [{address: ':80'}]\npools: {a: {backends: [{address: 'a:1'}]}}\n"
	comment := "#" + strings.Repeat("x", maxSize-1-len("\n"+minimal)) + "\n"

	tests := []struct {
		name, path, want string // the error, without the path before it
	}{
		{"good", write("good.yaml", minimal), ""},
		{"missing", filepath.Join(dir, "missing.yaml"), ": no such file"},
		{"directory", dir, ": cannot read it: is a directory"},
		{"largest", write("largest.yaml", comment+minimal), ""},
		{"too large", write("large.yaml", "#"+comment+minimal), ": larger than 1 MiB, this cannot be a configuration"},
		{"bad", write("bad.yaml", minimal+"engine: x\n"), `:3:9: expected auto, epoll or portable, got "x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(tt.path)
			if tt.want == "" {
				if err != nil || len(c.Pools) != 1 {
					t.Fatalf("got %+v and the error %v", c, err)
				}
				return
			}
			if c != nil || err == nil || err.Error() != tt.path+tt.want {
				t.Fatalf("got the error %v, want %s%s", err, tt.path, tt.want)
			}
			if _, ok := errors.AsType[config.Errors](err); !ok {
				t.Errorf("the error is a %T, want Errors", err)
			}
		})
	}
}

// maxErrors is how many errors are reported at once.
const maxErrors = 200

func TestManyErrorsAreCutOff(t *testing.T) {
	_, err := Parse("f", []byte("routes:\n"+strings.Repeat("- a\n", maxErrors+1)))
	errs := err.(config.Errors)
	if n := len(errs); n != maxErrors+1 {
		t.Fatalf("%d errors, want %d", n, maxErrors+1)
	}
	if last := errs[maxErrors].Msg; !strings.Contains(last, "there may be others") {
		t.Errorf("the last error doesn't say that there may be more: %s", last)
	}
}

// TestErrorBelowManyAliases: an error that is found many times leaves room for
// others.
func TestErrorBelowManyAliases(t *testing.T) {
	_, err := Parse("f", []byte("pools: {a: &a {blance: x}}\nroutes: [&r {pol: a}"+strings.Repeat(", *r", 2*maxErrors)+"]\nengine: x\n"))
	want := `f: no listeners: give at least one address to listen on
f:1:9: the pool has no backends: list them under backends, or find them by dns, aws or file
f:1:16: unknown key "blance" (did you mean "balance"?)
f:2:14: unknown key "pol" (did you mean "pool"?)
f:3:9: expected auto, epoll or portable, got "x"`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestQuick(t *testing.T) {
	tests := []struct {
		name             string
		listen, backends []string
		want             string
	}{
		{"good", []string{":8080", "[::1]:8081"}, []string{"127.0.0.1:3001", "ws.internal:3002"}, `listener :8080 at :8080 (0:0)
  origins [any] required=false
listener [::1]:8081 at [::1]:8081 (0:0)
  origins [any] required=false
pool default by least_conn (0:0)
  health every 10s in 2s fall 3 rise 2, max_fails 3 in 30s, min_healthy 0 0%, slow_start 0s
  backend 127.0.0.1:3001 at 127.0.0.1:3001 weight 1
  backend ws.internal:3002 at ws.internal:3002 weight 1
`},
		{"nothing", nil, nil, `--listen: give at least one address to listen on, such as --listen :8080
--backend: give at least one address, such as --backend 127.0.0.1:3000`},
		{"bad", []string{"8080"}, []string{":1", "a:1"}, `--listen 8080: bad address "8080": want host:port, such as :8080 or 127.0.0.1:8080
--backend :1: bad address ":1": the host is missing, write for example 127.0.0.1:1`},
		{"twice", []string{":80", ":80", "127.0.0.1:80"}, []string{"a:1", "A:1"}, `--listen :80: duplicate listener address ":80" (first given before)
--listen 127.0.0.1:80: listener address "127.0.0.1:80" overlaps with the one given before: both take port 80
--backend A:1: duplicate backend address "a:1" (first given before)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.Quick(config.Flags{Listen: tt.listen, Backend: tt.backends})
			if err != nil {
				if c != nil || err.Error() != tt.want {
					t.Errorf("got the error\n%v\nwant\n%s", err, tt.want)
				}
				return
			}
			d := config.Defaults()
			if got, want := dump(c, nil), tt.want+dump(&d, nil); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestQuickTLS: the flags of TLS, and where their errors are.
func TestQuickTLS(t *testing.T) {
	tests := []struct {
		name string
		f    config.Flags
		want string // how the dump begins, without indentation, or the error
	}{
		{"certificate", config.Flags{TLSCert: "cert.pem", TLSKey: "/etc/key.pem"}, `listener :1 at :1 (0:0)
tls from 1.2 strict_sni false http2 true ticket_secret ""
certificate ./cert.pem key "/etc/key.pem"
origins [any] required=false
pool default`},
		{"one file", config.Flags{TLSCert: "both.pem"}, `listener :1 at :1 (0:0)
tls from 1.2 strict_sni false http2 true ticket_secret ""
certificate ./both.pem key ""
origins [any] required=false
pool default`},
		{"backends", config.Flags{Backend: []string{"wss://a", "https://b:8443"}, BackendCA: "ca.pem", BackendServerName: "C.internal"}, `listener :1 at :1 (0:0)
origins [any] required=false
pool default by least_conn (0:0)
health every 10s in 2s fall 3 rise 2, max_fails 3 in 30s, min_healthy 0 0%, slow_start 0s
tls ca "./ca.pem" server_name "c.internal" cert "" key "" insecure_skip_verify false
backend a:443 at a:443 weight 1
backend b:8443 at b:8443 weight 1`},
		{"scheme", config.Flags{Backend: []string{"wss://a"}}, `listener :1 at :1 (0:0)
origins [any] required=false
pool default by least_conn (0:0)
health every 10s in 2s fall 3 rise 2, max_fails 3 in 30s, min_healthy 0 0%, slow_start 0s
tls ca "" server_name "" cert "" key "" insecure_skip_verify false`},

		{"key alone", config.Flags{TLSKey: "key.pem"}, "--tls-key key.pem: the certificate of this key is missing: add --tls-cert with its file"},
		{"both", config.Flags{TLSSelfSigned: true, TLSCert: "cert.pem"}, "--tls-self-signed: this makes a certificate: leave it out, or --tls-cert and --tls-key"},
		{"paths", config.Flags{TLSCert: "certs/", TLSKey: "https://a/b"}, `--tls-cert certs/: bad path "certs/": that is a directory, name the file in it
--tls-key https://a/b: bad path "https://a/b": it is a file of this machine, write its path`},
		{"mixed", config.Flags{Backend: []string{"wss://a", "b:1"}}, "--backend b:1: this backend is without TLS, and another one of the pool has it (given before): write wss:// or https:// here, too, or put it into another pool"},
		{"no TLS", config.Flags{BackendInsecure: true}, `--backend a:1: --backend-insecure is for backends with TLS: write "wss://a:1", or leave it out`},
		{"no TLS for one", config.Flags{Backend: []string{"wss://a", "ws://b"}, BackendCA: "ca.pem"}, `--backend ws://b: --backend-ca is for backends with TLS: write "wss://b:80", or leave it out`},
		{"name", config.Flags{Backend: []string{"wss://a"}, BackendServerName: "a:443"}, `--backend-server-name a:443: bad name "a:443": write it without a port: "a"`},
		{"insecure CA", config.Flags{Backend: []string{"wss://a"}, BackendCA: "ca.pem", BackendInsecure: true}, "--backend-ca ca.pem: this does nothing with --backend-insecure: leave one of them out"},
		{"scheme of a listener", config.Flags{Listen: []string{"wss://:1"}}, `--listen wss://:1: bad address "wss://:1": leave out "wss://" and any path, write just host:port: ":1"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.f.Listen == nil {
				tt.f.Listen = []string{":1"}
			}
			if tt.f.Backend == nil {
				tt.f.Backend = []string{"a:1"}
			}
			c, err := config.Quick(tt.f)
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = strings.ReplaceAll(dump(c, nil), "\n  ", "\n")
				got = strings.ReplaceAll(got, "\n  ", "\n")
			}
			if err != nil && got != tt.want || !strings.HasPrefix(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
	c, err := config.Quick(config.Flags{Listen: []string{":1"}, TLSSelfSigned: true, Backend: []string{"wss://a"}, BackendInsecure: true})
	if err != nil || !c.Listeners[0].TLS.SelfSigned {
		t.Errorf("self-signed: %v", err)
	} else if len(c.Warnings) != 1 || !strings.HasPrefix(c.Warnings[0].Error(), "--backend-insecure: any server ") {
		t.Errorf("warnings %v", c.Warnings)
	}
}

// TestLocate: what is found wrong later has the place of its value, or of the section
// around it.
func TestLocate(t *testing.T) {
	c, err := Parse("holdfast.yaml", []byte("listeners:\n- address: \":1\"\n  tls:\n    certificates:\n    - {cert: a.pem}\npools: {a: {backends: [{address: \"a:1\"}]}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	errs := []config.Error{{Path: "listeners[0].tls.certificates[0].cert", Msg: "x"}, {Path: "listeners[0].tls.certificates[0].key", Msg: "y"}}
	c.Locate(errs)
	if got := config.Errors(errs).Error(); got != "holdfast.yaml:5:14: x\nholdfast.yaml:5:7: y" {
		t.Error(got)
	}
	c, err = config.Quick(config.Flags{Listen: []string{":1"}, Backend: []string{"a:1"}, TLSCert: "a.pem"})
	if err != nil {
		t.Fatal(err)
	}
	c.Locate(errs)
	if got := errs[0].Error(); got != "--tls-cert a.pem: x" {
		t.Error(got)
	}
	errs = errs[:1]
	new(config.Config).Locate(errs)
	if got := errs[0].Error(); got != "listeners[0].tls.certificates[0].cert: x" {
		t.Error(got)
	}
}
