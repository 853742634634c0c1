package haproxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
)

func TestDetect(t *testing.T) {
	for text, want := range map[string]bool{
		"# x\n\nglobal\n  daemon\n": true, "defaults\n": true, "defaults web # x\n": true, "frontend web\n": true, "\ufeffglobal\n": true, ".if defined(X)\n": true, "listen a\n bind :80\n": true, "backend a from b\n": true,
		"listeners:\n  - address: \":80\"\n": false, "global:\n": false, "http {\n": false, "frontend\n": false, "backend: x\n": false, "events { }\n": false, "worker_processes 1;\n": false,
		"apiVersion: networking.k8s.io/v1\n": false, "{\"LoadBalancers\": []}": false, "": false, "# only\n": false, "user nginx;\nglobal\n": false,
	} {
		if got := Detect("x", []byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// write puts a text into a file, and returns its name.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func env(name string) (string, bool) {
	v, ok := map[string]string{"APP": "10.0.0.1:3000", "SECRET": "s3cr3t-of-the-test"}[name]
	return v, ok
}

func run(t *testing.T, text string, accept bool) (*importer.Result, error) {
	t.Helper()
	return Import([]string{write(t, text)}, importer.Options{Env: env, AcceptLoss: accept})
}

// What HAProxy refuses to start with is an error with its line, and says what was meant.
func TestErrors(t *testing.T) {
	const frame = "frontend web\n mode http\n bind :80\n default_backend app\n%\nbackend app\n mode http\n server a 10.0.0.1:80\n"
	for line, want := range map[string]string{
		" timeout clientt 5s":                     `:5:2: unknown timeout "clientt" (did you mean "client"?)`,
		" option httplgo":                         `unknown option "httplgo" (did you mean "httplog"?)`,
		" use_backnd x":                           `unknown keyword "use_backnd" (did you mean "use_backend"?)`,
		" http-request set-heade A b":             `unknown action "set-heade" (did you mean "set-header"?)`,
		" use_backend ap if { path /x }":          `there is no backend "ap" (did you mean "app"?)`,
		" use_backend app if wss":                 `there is no ACL "wss"`,
		" use_backend app if { path /x":           `a brace isn't closed`,
		" use_backend app when x":                 `use_backend wants the name`,
		" timeout client 5x":                      `"5x" isn't a time such as 5s`,
		" bind":                                   `bind wants an address`,
		" bind :81 sssl":                          `unknown word "sssl" (did you mean "ssl"?)`,
		" bind :81 ssl":                           `ssl wants a certificate`,
		" bind :81 ssl crt a.pem verify required": `verify wants ca-file`,
		" acl x":                                                  `acl wants a name and a test`,
		" redirect scheme https code 300":                         `the code of a redirect`,
		" acl a path -m bog /x":                                   `-m wants a method`,
		" http-request track-sc0 src table nope":                  `there is no stick-table "nope"`,
		"backend app\n mode http\n":                               `there is another backend "app", in line 5`,
		"backend b from nope":                                     `there is no defaults section "nope"`,
		"backend b\n server x 10.0.0.1:80 chek":                   `unknown word "chek" (did you mean "check"?)`,
		"backend b\n server x 10.0.0.1:80\n server x 10.0.0.2:80": `there is another server "x", in line 6`,
		"backend": `the section has no name`,
		"globl":   `unknown keyword "globl"`,
	} {
		_, err := run(t, strings.Replace(frame, "%", line, 1), false)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", line, err, want)
		}
	}
}

// TestGuardsSeeTheQuery: rules that would deny other requests here are refused.
func TestGuardsSeeTheQuery(t *testing.T) {
	for _, condition := range []string{"url_sub debug", "url_reg debug", "url_reg ^/a.*debug", "pathq -m sub debug", "url_end .php", "url_dir private", "req.hdr_cnt(x) gt 2"} {
		text := "frontend f\n  mode http\n  bind 127.0.0.1:80\n  http-request deny if { " + condition + " }\n  default_backend b\nbackend b\n  mode http\n  server s 127.0.0.1:81\n"
		file := filepath.Join(t.TempDir(), "haproxy.cfg")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Import([]string{file}, importer.Options{}); err == nil || !strings.Contains(err.Error(), "guards access") {
			t.Errorf("%s: %v", condition, err)
		}
	}
}

// TestSecretFields: reports, which may go to a log, don't have values of fields such as
// Authorization.
func TestSecretFields(t *testing.T) {
	for _, c := range [][2]string{
		{`http-request set-header Authorization "Basic abc"`, "http-request set-header Authorization …"},
		{`http-check send hdr X-Api-Key abc`, "http-check send hdr X-Api-Key …"},
		{`option httpchk GET /h HTTP/1.1\r\nAuthorization:\ abc`, `option httpchk GET /h HTTP/1.1\r\nAuthorization:\ …`},
		{"http-request set-header X-Token %[src]", "http-request set-header X-Token %[src]"},
		{"http-request set-header X-Who me", "http-request set-header X-Who me"},
	} {
		if got := directive(&syntax.Line{Raw: c[0], Words: []syntax.Word{{Text: strings.Fields(c[0])[0]}}}); got != c[1] {
			t.Errorf("%s is shown as %s, want %s", c[0], got, c[1])
		}
	}
}
