package app

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config/yaml"
)

func TestHeadersFile(t *testing.T) {
	for text, want := range map[string]any{
		"": http.Header{},
		"# a comment\n\nauthorization: Bearer a:b\r\n X-Tenant:chat": http.Header{"Authorization": {"Bearer a:b"}, "X-Tenant": {"chat"}},
		"Authorization Bearer secret\n":                              "line 1 of the file isn't a header field: write NAME: VALUE",
		"\nX A: secret":                                              "line 2 of the file isn't a header field: write NAME: VALUE",
		"X-A: sec\x00ret":                                            "line 1 of the file: the value of X-A has a control character",
		"X-A: a\nx-a: b":                                             "line 2 of the file: X-A is there twice",
		strings.Repeat("#", maxHeadersFile+1):                        "the file is larger than 65536 bytes",
	} {
		got := http.Header{}
		if err := addHeaders(got, []byte(text)); err != nil {
			if err.Error() != want {
				t.Errorf("%.20q: %v, want %v", text, err, want)
			}
			if strings.Contains(err.Error(), "sec") {
				t.Errorf("an error shows a secret: %v", err)
			}
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%.20q: %v, want %v", text, got, want)
		}
	}
}

// A file of headers that is missing or wrong is an error of check, of a start and of a
// reload, with its place.
func TestHeadersFileOfTracing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "headers.txt")
	c, err := yaml.Parse("holdfast.yaml", fmt.Appendf(nil, "listeners: [{address: \":80\"}]\npools: {a: {backends: [{address: \"a:1\"}]}}\ntracing: {endpoint: \"http://127.0.0.1:4318\", headers: {X-A: \"1\", X-B: \"2\"}, headers_file: %q}\n", file))
	if err != nil {
		t.Fatal(err)
	}
	want := func(text string) {
		t.Helper()
		errs, _ := CheckFiles(c)
		_, err := loadTracing(c)
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), text) || err == nil || err.Error() != errs.Error() {
			t.Errorf("check says %v, a start %v, want %q", errs, err, text)
		}
	}
	want("holdfast.yaml:3:")
	want("no such file")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("nonsense")
	want("line 1 of the file")
	write("x-b: 3")
	if u, err := loadTracing(c); err != nil || u.headers.Get("X-A") != "1" || u.headers.Get("X-B") != "3" {
		t.Errorf("%+v, %v: want the file's value", u, err)
	}
}

func TestTracesURL(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://127.0.0.1:4318":         "http://127.0.0.1:4318/v1/traces",
		"https://otlp.example/":         "https://otlp.example/v1/traces",
		"https://otlp.example/api/otlp": "https://otlp.example/api/otlp",
	} {
		if got := tracesURL(endpoint); got != want {
			t.Errorf("%s: %s, want %s", endpoint, got, want)
		}
	}
}
