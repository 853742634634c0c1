package app_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// linesOf returns the lines of a log file with a message.
func linesOf(t *testing.T, file, msg string) (lines []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["msg"] == msg {
			lines = append(lines, fields)
		}
	}
	return lines
}

// awaitLine waits for a line in a log file.
func awaitLine(t *testing.T, file, msg string) (fields map[string]any) {
	t.Helper()
	testkit.Eventually(t, msg+" in "+filepath.Base(file), func() bool {
		lines := linesOf(t, file, msg)
		if len(lines) > 0 {
			fields = lines[0]
		}
		return len(lines) > 0
	})
	return fields
}

func TestLogFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "balancer.log")
	text := func(log string) string {
		return `listeners: [{address: "127.0.0.1:0"}]
engine: portable
log: ` + log + `
pools: {chat: {backends: [{name: one, address: "` + "127.0.0.1:9" + `"}]}}
`
	}
	r := start(t, text("{file: "+file+"}"))
	awaitLine(t, file, "started")
	if len(r.log.Lines(0)) != 0 {
		t.Errorf("on standard error: %q", r.log.Lines(0))
	}
	rename := func(to string) string {
		t.Helper()
		to = filepath.Join(dir, to)
		if err := os.Rename(file, to); err != nil {
			t.Fatal(err)
		}
		return to
	}
	first := rename("balancer.log.1")
	r.ReopenLog()
	awaitLine(t, file, "the log file is opened again")
	rename("balancer.log.2")
	r.mustReload(text("{file: " + file + "}"))
	awaitLine(t, file, "reloaded")
	if len(linesOf(t, first, "reloaded")) != 0 {
		t.Error("the renamed file is still written")
	}
	if _, err := r.reload(text("{file: " + filepath.Join(dir, "no", "such", "folder") + "}")); err == nil || !strings.Contains(err.Error(), ":3:13: the log can't be written to "+dir) {
		t.Errorf("a folder that doesn't exist: %v", err)
	}
	awaitLine(t, file, "reload refused; nothing has changed")
	r.write(text("{}"))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	r.ReopenLog() // fails
	r.mustReload(text("{}"))
	r.wantLog(`"reloaded"`)
	r.stop()
	r.wantLog(`"stopped"`)
	if _, err := app.Start(app.Options{LogTo: r.log, Load: func() (*config.Config, error) {
		return yaml.Parse("x.yaml", []byte(text("{file: "+dir+"}")))
	}}); err == nil || !strings.Contains(err.Error(), "x.yaml:3:13: the log can't be written to") {
		t.Errorf("it starts although its log is a folder: %v", err)
	}
}

func TestCheckLogFile(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ file, want string }{
		{"", ""},
		{filepath.Join(dir, "new.log"), ""},
		{dir, "it is a folder"},
		{filepath.Join(dir, "no", "x.log"), "its folder can't be used"},
	} {
		c := &config.Config{Log: config.Log{File: test.file}}
		errs, _ := app.CheckFiles(c)
		if (len(errs) == 0) != (test.want == "") || len(errs) > 0 && !strings.Contains(errs[0].Msg, test.want) {
			t.Errorf("%q: %v, want %q", test.file, errs, test.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new.log")); err == nil {
		t.Error("the check makes the file")
	}
}

// Plain HTTP requests have the lines that log.http asks for, without their queries.
func TestLogHTTP(t *testing.T) {
	address := backend(t, "one")
	text := func(http string) string {
		return `listeners: [{address: "127.0.0.1:0"}]
engine: portable
log: {http: ` + http + `}
forwarded: {request_id: true}
routes:
- {match: {path: /teapot}, respond: {status: 418, body: no}}
- {match: {path: /app}, pool: chat}
pools: {chat: {backends: [{name: one, address: ` + address + `}]}}
`
	}
	r := start(t, text("all"))
	ask := func() {
		for _, path := range []string{"/app/x%20y?token=secret", "/teapot?token=secret", "/nowhere?token=secret"} {
			get("http://" + r.Addresses()[0] + path)
		}
	}
	lines := func(after int) (all []map[string]any) {
		r.log.Find(t, "a request for nowhere", after, func(line string) bool {
			return strings.Contains(line, `"status":404`) && strings.Contains(line, "plain HTTP request\"")
		})
		for _, line := range r.log.Lines(after) {
			var fields map[string]any
			if json.Unmarshal([]byte(line), &fields) == nil && fields["msg"] == "plain HTTP request" {
				all = append(all, fields)
			}
			if strings.Contains(line, "secret") {
				t.Errorf("the log has a secret: %s", line)
			}
		}
		return all
	}
	ask()
	all := lines(0)
	if len(all) != 3 {
		t.Fatalf("%d lines: %v", len(all), all)
	}
	for name, want := range map[string]any{"status": 200.0, "method": "GET", "host": r.Addresses()[0], "path": "/app/x%20y", "route": "/app", "pool": "chat",
		"backend": "one", "bytes": 3.0} {
		if all[0][name] != want {
			t.Errorf("%s is %v, want %v", name, all[0][name], want)
		}
	}
	if all[0]["request_id"] == nil || all[0]["duration"].(float64) <= 0 || !strings.HasPrefix(all[0]["client"].(string), "127.0.0.1:") {
		t.Errorf("a line: %v", all[0])
	}
	if all[1]["status"] != 418.0 || all[1]["path"] != "/teapot" {
		t.Errorf("of a route that answers: %v", all[1])
	}
	r.mustReload(text("errors"))
	after := len(r.log.Lines(0))
	ask()
	if all := lines(after); len(all) != 2 || all[0]["status"] != 418.0 {
		t.Errorf("with errors only: %v", all)
	}
}

// A session has a line in each interval, with what it has sent so far.
func TestLogInterval(t *testing.T) {
	address := backend(t, "one")
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		r := &running{t: t, log: &testkit.Log{}}
		interval := 200 * time.Millisecond // shorter than a file may say
		load := func() (*config.Config, error) {
			c, err := yaml.Parse("x.yaml", []byte(pools(engine, "pools: {chat: {backends: [{name: one, address: "+address+"}]}}")))
			if err == nil {
				c.Log.Interval = interval
			}
			return c, err
		}
		var err error
		if r.App, err = app.Start(app.Options{Load: load, Program: true, LogTo: r.log}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Shutdown(t.Context()) })
		c := r.open("/")
		c.echo("a", "one: a")
		for range 2 {
			r.log.Find(t, "session goes on", len(r.log.Lines(0)), func(line string) bool {
				return strings.Contains(line, `"session goes on"`) && strings.Contains(line, `"messages_from_client":1`) && strings.Contains(line, `"idle":`) &&
					strings.Contains(line, `"backend":"one"`)
			})
		}
	})
}
