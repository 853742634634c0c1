package haproxy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
)

// wordsOf counts the lines of a text that have words.
func wordsOf(t *testing.T, name string, data []byte) int {
	t.Helper()
	p := &syntax.Parser{Options: syntax.Options{Env: env, Version: version, Features: features}}
	p.Parse(name, data)
	return len(p.Config.Lines)
}

// Every line has one note, and nothing that may keep clients out is left out silently.
func TestEveryLineHasOneNote(t *testing.T) {
	files, err := filepath.Glob("testdata/*.cfg")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		res, _ := Import([]string{file}, importer.Options{Env: env})
		checkNotes(t, file, res, wordsOf(t, file, data))
	}
}

func checkNotes(t *testing.T, file string, res *importer.Result, lines int) {
	t.Helper()
	n, last := 0, 0
	for _, note := range res.Notes {
		if note.Line == 0 {
			continue
		}
		if n++; note.Line <= last {
			t.Errorf("%s:%d: noted after line %d", file, note.Line, last)
		}
		last = note.Line
		if strings.ContainsAny(note.String(), "\n\r") {
			t.Errorf("%s:%d: the note has several lines", file, note.Line)
		}
		if note.Outcome != importer.Carried && note.Text == "" {
			t.Errorf("%s:%d: %s without a reason", file, note.Line, note.Outcome)
		}
	}
	if n != lines {
		t.Errorf("%s: %d notes for %d lines", file, n, lines)
	}
}

// Each of these guards access. Without it the file would let in whom it keeps out, so that
// it is carried over or refused, and never dropped.
func TestGuards(t *testing.T) {
	const frame = `userlist u
 user a password x
defaults
 mode http
 timeout connect 5s
 timeout client 5s
 timeout server 5s
frontend web
 bind :80
 %s
 use_backend app
backend app
 %s
 server a 10.0.0.1:80
`
	for _, guard := range []string{
		"http-request deny if { path /x }", "http-request deny", "http-request deny unless { src 10.0.0.0/8 }", "http-request auth unless { http_auth(u) }", "http-request deny if { rand(2) 1 }",
		"http-request deny if { req.hdr(Connection) -m reg x }", "http-request deny if { req.body -m sub x }", "http-request tarpit if { path /x }", "http-request reject if { path_len gt 100 }", "http-request silent-drop if { src -f /nonexistent }",
		"http-request deny if { sc_http_req_rate(0) gt 5 }", "http-request deny if { src_get_gpc0 gt 0 }", "http-request deny if { hdr_cnt(host) gt 5 }", "http-request deny if { fc_http_major 1 }", "http-request use-service lua.x", "http-request lua.x",
		"tcp-request connection reject if { src 1.2.3.4 }", "tcp-request content reject if { req.ssl_sni x }", "tcp-request connection reject unless { src -f /nonexistent }", "tcp-request session reject if { ssl_c_used 0 }", "block if { path /x }", "reqideny ^x", "reqdeny ^x", "http-response deny if { status 500 }",
		"http-request deny if { url_param(x) -m len gt 5 }", "http-request deny if { var(txn.x) 1 }", "http-request deny if { req.hdr_ip(X-Forwarded-For) 1.2.3.4 }", "http-request return status 403 if { path_beg /x }", "http-request deny if { path_beg /a } { path_beg /ab }",
	} {
		for _, where := range [][]any{{guard, ""}, {"", guard}} {
			if strings.HasPrefix(guard, "tcp-request connection") && where[0] == "" || strings.HasPrefix(guard, "tcp-request session") && where[0] == "" {
				continue
			}
			res, err := run(t, fmt.Sprintf(frame, where...), false)
			i := slices.IndexFunc(res.Notes, func(n importer.Note) bool { return n.Directive == guard })
			if i < 0 {
				t.Errorf("%s: no note", guard)
				continue
			}
			switch note := res.Notes[i]; {
			case note.Outcome == importer.Refused:
				if err == nil {
					t.Errorf("%s: refused without an error", guard)
				}
			case note.Outcome == importer.NotNeeded && !strings.Contains(note.Text, neverHolds):
				t.Errorf("%s is dropped: %s", guard, note)
			case err != nil:
				t.Errorf("%s: %v", guard, err)
			default:
				r := res.Config.Routes[0]
				limited := r.Limits.NewRequestsPerAddress != nil || r.Limits.MaxRequestsPerAddress != nil
				if r.Respond == nil && !limited && note.Outcome != importer.NotNeeded {
					t.Errorf("%s: carried over, and the first route is %+v", guard, r)
				}
			}
		}
	}
}

// No secret of the file or the environment is in what is reported.
func TestSecrets(t *testing.T) {
	res, err := run(t, `userlist u
 user ada insecure-password hunter2
global
 setenv PW hunter2
defaults
 mode http
 stats auth ada:hunter2
frontend web
 bind :80
 http-request set-header X-Key "${SECRET}" when x
backend app
 cookie S insert dynamic
 dynamic-cookie-key hunter2
 server a "${SECRET}" chek
`, false)
	text := fmt.Sprint(err)
	for _, n := range res.Notes {
		text += n.String() + "\n"
	}
	for _, secret := range []string{"hunter2", "s3cr3t"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is reported:\n%s", secret, text)
		}
	}
}

// Several files are read as one, and those of a directory in their order.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"1-front.cfg": "frontend web\n mode http\n bind :80\n default_backend app\n", "2-back.cfg": "backend app\n mode http\n server a 10.0.0.1:80\n", "3-other.txt": "not read\n", ".4.cfg": "nor this\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, paths := range [][]string{{dir}, {filepath.Join(dir, "1-front.cfg"), filepath.Join(dir, "2-back.cfg")}} {
		res, err := Import(paths, importer.Options{})
		if err != nil || len(res.Config.Pools) != 1 || len(res.Config.Listeners) != 1 {
			t.Errorf("%v: %v", paths, err)
		}
	}
	_, err := Import([]string{filepath.Join(dir, "none"), t.TempDir()}, importer.Options{})
	var errs config.Errors
	if !errors.As(err, &errs) || len(errs) != 2 {
		t.Errorf("files that can't be read gave %v", err)
	}
}

// lines makes a file of about n lines, in the way of those that programs write: an ACL, a
// rule, a backend with servers for each site.
func lines(n int) string {
	var front, back strings.Builder
	front.WriteString("defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\nfrontend web\n bind :80\n option forwardfor\n")
	for i := range n / 10 {
		fmt.Fprintf(&front, " acl host_%d hdr(host) -i site%d.example.com\n acl path_%d path_beg /s%d\n use_backend be_%d if host_%d path_%d\n", i, i, i, i, i, i, i)
		fmt.Fprintf(&back, "backend be_%d\n balance leastconn\n option httpchk GET /health\n http-check expect status 200\n cookie S insert\n server a 10.%d.%d.1:80 check cookie a\n server b 10.%d.%d.2:80 check cookie b\n", i, i/250, i%250, i/250, i%250)
	}
	return front.String() + " default_backend be_0\n" + back.String()
}

// Ten thousand lines take well under a second; the benchmark says how long.
func TestLargeFile(t *testing.T) {
	name := write(t, lines(10_000))
	begin := time.Now()
	res, err := Import([]string{name}, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d notes in %v", len(res.Notes), time.Since(begin))
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(res.Config.Routes) != 1001 || len(res.Config.Pools) != 1000 {
		t.Errorf("%d routes, %d pools", len(res.Config.Routes), len(res.Config.Pools))
	}
}

func BenchmarkImport(b *testing.B) {
	name := filepath.Join(b.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(name, []byte(lines(10_000)), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Import([]string{name}, importer.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// Rules whose combinations grow without end are refused in a short time.
func TestTooManyCombinations(t *testing.T) {
	var b strings.Builder
	b.WriteString("frontend web\n mode http\n bind :80\n")
	for i := range 40 {
		fmt.Fprintf(&b, " http-request set-header X-%d 1 if { path_sub %d }\n", i, i)
	}
	b.WriteString(" use_backend app\nbackend app\n mode http\n server a 10.0.0.1:80\n")
	begin := time.Now()
	_, err := run(t, b.String(), false)
	if err == nil || !strings.Contains(err.Error(), tooMany) || time.Since(begin) > 20*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

// FuzzImport: whatever the file is, the importer returns a Config that is valid, or
// errors; and each line has a note unless the text itself can't be read.
func FuzzImport(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.cfg")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(string(data))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "/dev/") || len(text) > 16<<10 {
			return // reading some of these never ends
		}
		name := filepath.Join(t.TempDir(), "haproxy.cfg")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, accept := range []bool{false, true} {
			res, err := Import([]string{name}, importer.Options{Env: env, AcceptLoss: accept})
			if err != nil {
				var errs config.Errors
				if !errors.As(err, &errs) || len(errs) == 0 {
					t.Fatalf("the error is %T %v", err, err)
				}
				continue
			}
			if err := res.Config.Validate(); err != nil {
				t.Errorf("the Config isn't valid: %v", err)
			}
			checkNotes(t, "haproxy.cfg", res, wordsOf(t, name, []byte(text)))
		}
	})
}
