package formats

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
)

// TestDetectOnlyOwn: each format recognises its own files and no others, and no
// holdfast.yaml.
func TestDetectOnlyOwn(t *testing.T) {
	for _, f := range All {
		files, _ := filepath.Glob("../" + f.Name + "/testdata/*")
		deeper, _ := filepath.Glob("../" + f.Name + "/testdata/*/*")
		files = append(files, deeper...)
		found := 0
		for _, file := range files {
			if !strings.HasSuffix(file, ".conf") && !strings.HasSuffix(file, ".cfg") && !strings.HasSuffix(file, ".yaml") && !strings.HasSuffix(file, ".json") {
				continue
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range All {
				if f.Name != g.Name && g.Detect(file, data) && f.Detect(file, data) {
					t.Errorf("%s takes %s for its own", g.Name, file)
				}
			}
			if f.Detect(file, data) {
				found++
			}
		}
		if found == 0 {
			t.Errorf("%s recognises none of its %d files", f.Name, len(files))
		}
	}
	own, _ := filepath.Glob("../../yaml/testdata/*/*.yaml")
	if len(own) == 0 {
		t.Fatal("no files")
	}
	for _, file := range own {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range All {
			if f.Detect(file, data) {
				t.Errorf("%s takes %s for its own", f.Name, file)
			}
		}
	}
}

// TestOwnFirst: a text with a section of ours isn't anything else, however broken.
func TestOwnFirst(t *testing.T) {
	l := Loader{Formats: []Format{{Name: "any", Detect: func(string, []byte) bool { return true }}}}
	for text, own := range map[string]bool{
		"listeners: [": true, "# nginx\nserver {\nroutes:\n}": true, "\"pools\" : x": true, "{listeners: []": true, "\ufeff{ \"routes\": [": true, "a\n'pools':": true,
		"": false, "server { listen 80; }": false, "listner: x": false, " pools: x": false, "a {listeners: b": false, "frontend pools\n bind :80": false, `{"Listeners": []}`: false,
		"listeners 80": false,
	} {
		if _, other := l.Detect("f", []byte(text)); other == own {
			t.Errorf("%q is ours: %v", text, !other)
		}
	}
}

// TestDetectIsQuick: a large file takes little time, whatever is in it.
func TestDetectIsQuick(t *testing.T) {
	l := Loader{Formats: All}
	for _, line := range []string{"x\n", "server {\n", "{", "  a: b\n", "# listeners\n", "backend a\n", strings.Repeat(" ", 100), "kind: Ingres\n", "apiVersion: v1\n---\n"} {
		text := []byte(strings.Repeat(line, maxHead/4/len(line)))
		begun := time.Now()
		l.Detect("f", text)
		if took := time.Since(begun); took > 30*time.Second { // it takes some milliseconds
			t.Errorf("%q takes %v", line, took)
		}
	}
}

// TestGuards: the words of a format say what guards access.
func TestGuards(t *testing.T) {
	for directive, want := range map[string]bool{
		"nginx allow 10.0.0.0/8": true, "nginx auth_basic x": true, "nginx limit_req zone=a": true, "nginx gzip on": false, "nginx rewrite a b": false,
		"haproxy http-request deny if x": true, "haproxy http-request lua.x": false, "haproxy tcp-request connection reject if x": true, "haproxy bind :443 ssl verify required": true, "haproxy option httplog": false,
		"ingress whitelist-source-range: 10.0.0.0/8": true, "ingress auth-type: basic": true, "ingress configuration-snippet": false,
		"alb Action authenticate-oidc": true, "alb forward": false,
	} {
		name, directive, _ := strings.Cut(directive, " ")
		f, err := (&Loader{Formats: All}).Find(name)
		if err != nil {
			t.Fatal(err)
		}
		notes := []importer.Note{{Outcome: importer.Refused, Directive: directive, Text: "no"}, {Outcome: importer.Different, Directive: directive}}
		errs := config.Errors{{Msg: notes[0].Message()}}
		f.guard(notes, errs)
		if notes[0].Guards != want || notes[1].Guards || strings.Contains(errs[0].Msg, "guards access") != want {
			t.Errorf("%s %s: %+v, %v", name, directive, notes[0], errs)
		}
	}
}

// TestImportedReadsBack: what was imported is the same after it was written as a
// holdfast.yaml and read.
func TestImportedReadsBack(t *testing.T) {
	read := 0
	for _, f := range All {
		files, _ := filepath.Glob("../" + f.Name + "/testdata/*")
		folders, _ := filepath.Glob("../" + f.Name + "/testdata/*/*")
		l := Loader{Formats: All, Options: importer.Options{AcceptLoss: true, Env: func(name string) (string, bool) { return "10.0.0.1", true }}}
		for _, file := range append(files, folders...) {
			data, err := os.ReadFile(file)
			if err != nil || !f.Detect(file, data) {
				continue
			}
			res, err := l.Import(f, []string{file})
			if err != nil {
				continue // it is for other tests
			}
			read++
			var commented, text, again strings.Builder
			if err := errors.Join(Write(&commented, res, f, []string{file}), yaml.Write(&text, res.Config, nil)); err != nil {
				t.Fatal(err)
			}
			c, err := yaml.Parse("/again.yaml", []byte(commented.String()))
			if err != nil {
				t.Errorf("%s: %v\n%s", file, err, commented.String())
				continue
			}
			if err := yaml.Write(&again, c, nil); err != nil {
				t.Fatal(err)
			}
			if again.String() != text.String() {
				t.Errorf("%s:\n%s\nbecame\n%s", file, text.String(), again.String())
			}
		}
	}
	t.Logf("%d files", read)
	if read < 8 {
		t.Errorf("only %d files were read", read)
	}
}

// TestRefusal: the last line says what guards access.
func TestRefusal(t *testing.T) {
	for _, test := range []struct {
		notes []importer.Note
		want  string
	}{
		{nil, ""},
		{[]importer.Note{{Outcome: importer.Different, Directive: "a"}, {Outcome: importer.Refused, Lost: true, Directive: "b"}}, ""},
		{[]importer.Note{{Outcome: importer.Refused, Directive: "lua x"}}, "1 directive refused: change the file, or leave them out with --accept-loss"},
		{[]importer.Note{{Outcome: importer.Refused, Directive: "allow 1", Guards: true}, {Outcome: importer.Refused, Directive: "allow 2", Guards: true}, {Outcome: importer.Refused, Directive: "deny all", Guards: true}, {Outcome: importer.Refused, Directive: "lua"}},
			"4 directives refused, and without some of them more clients get in (allow, deny): change the file, or leave them all out with --accept-loss"},
	} {
		if got := refusal(test.notes); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// TestComments: a note is above the value that is written for it, or above what is around
// it; nothing is lost that isn't carried over as it was.
func TestComments(t *testing.T) {
	place := config.Place{File: "/etc/x/a.conf", Line: 3, Col: 1}
	notes := []importer.Note{
		{Place: place, Directive: "server a", Path: "pools.x.backends[0]"},
		{Place: place, Directive: "weight 1", Path: "pools.x.backends[0].weight"},
		{Place: place, Directive: "timeout 5s", Path: "timeouts.connect"},
		{Place: place, Directive: "gzip on", Outcome: importer.NotNeeded, Text: "no"},
		{Place: config.Place{File: "a.conf"}, Directive: "general", Outcome: importer.Different, Text: strings.Repeat("word ", 30)},
	}
	at := comments(&importer.Result{Notes: notes}, map[config.Path]bool{"": true, "pools": true, "pools.x": true, "pools.x.backends": true, "pools.x.backends[0]": true},
		Format{Name: "x", What: "x file"}, []string{"/etc/x/a.conf"})
	if got := strings.Join(at("pools.x.backends[0]"), "|"); got != "a.conf:3 server a|a.conf:3 weight 1" {
		t.Error(got)
	}
	want := "Made by holdfast import x of /etc/x/a.conf.|a.conf: x file: 3 directives carried over, 1 not needed, 1 different||What has no value of its own here:|a.conf:3 gzip on: not needed: no|general: different:"
	if got := strings.Join(at(""), "|"); !strings.HasPrefix(got, want) || strings.Count(got, "word") != 30 {
		t.Error(got)
	}
	for _, line := range at("") {
		if len(line) > 100 {
			t.Errorf("%q is long", line)
		}
	}
}
