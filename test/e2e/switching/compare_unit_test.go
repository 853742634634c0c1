//go:build linux

package switching

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each thing in which results may differ is found, and counted as silent unless its kind
// is in the report.
func TestCompare(t *testing.T) {
	f := read("nginx", "upstream u { server 10.0.0.1:80; server 10.0.0.2:80; server 10.0.0.3:80 backup; }\nserver { listen 80; location / { proxy_pass http://u; } location /v { proxy_pass http://10.0.0.4:80; } }\n")
	same := func() result {
		return result{Status: 200, Cookies: []string{"a"}, Sticks: true, Seen: []seen{{
			Backend: "10.0.0.1:80", Method: "GET", Path: "/x", Host: "h", Header: map[string][]string{"accept": {"*/*"}, "connection": {"close"}}, Body: "b",
		}}}
	}
	for what, change := range map[string]func(r *result){
		"":              func(r *result) { r.Seen[0].Backend, r.Seen[0].Header["connection"] = "10.0.0.2:80", nil },
		"status":        func(r *result) { r.Status = 201 },
		"location":      func(r *result) { r.Location = "/y" },
		"cookies":       func(r *result) { r.Cookies = nil },
		"challenge":     func(r *result) { r.Challenge = "Basic" },
		"echo":          func(r *result) { r.Echo = true },
		"stickiness":    func(r *result) { r.Sticks = false },
		"requests":      func(r *result) { r.Seen = nil },
		"backend":       func(r *result) { r.Seen[0].Backend = "10.0.0.4:80" },
		"backend of u ": func(r *result) { r.Seen[0].Backend = "10.0.0.3:80" },
		"method":        func(r *result) { r.Seen[0].Method = "PUT" },
		"path":          func(r *result) { r.Seen[0].Path = "/y" },
		"host":          func(r *result) { r.Seen[0].Host = "i" },
		"body":          func(r *result) { r.Seen[0].Body = "" },
		"TLS":           func(r *result) { r.Seen[0].TLS = true },
		"server name":   func(r *result) { r.Seen[0].ServerName = "n" },
		"PROXY":         func(r *result) { r.Seen[0].Source = "10.9.9.9" },
		"header accept": func(r *result) { delete(r.Seen[0].Header, "accept") },
		"header x-new":  func(r *result) { r.Seen[0].Header["x-new"] = []string{""} },
	} {
		ours := same()
		change(&ours)
		var got []string
		for _, d := range compare(f, same(), ours) {
			got = append(got, d.What)
		}
		if want := strings.Fields(what); what == "header accept" || what == "header x-new" || what == "server name" {
			if !slices.Equal(got, []string{what}) {
				t.Errorf("%s: found %q", what, got)
			}
		} else if len(want) > 0 && !slices.Equal(got, want[:1]) || len(want) == 0 && len(got) > 0 {
			t.Errorf("%q: found %q", what, got)
		}
		counted := &tally{}
		counted.check(f, "nothing of interest", request{}, same(), ours)
		if (len(counted.Silent) == 1) != (what != "") || counted.Agreed != 1-len(counted.Silent) {
			t.Errorf("%q: counted as %+v", what, counted)
		}
	}
}

// A kind explains what it is for, and nothing without its note.
func TestKinds(t *testing.T) {
	const note = "nginx.conf: sessions: different: backends get the field Holdfast-Session with each WebSocket handshake"
	f := read("nginx", "server { listen 80; location / { proxy_pass http://10.0.0.1:80; } }\n")
	theirs := result{Status: 101, Echo: true, Seen: []seen{{Backend: "10.0.0.1:80"}}}
	ours := result{Status: 101, Echo: true, Seen: []seen{{Backend: "10.0.0.1:80", Header: map[string][]string{"holdfast-session": {"1"}}}}}
	for report, silent := range map[string]int{note: 0, "": 1} {
		counted := &tally{}
		counted.check(f, report, request{WebSocket: true}, theirs, ours)
		if len(counted.Silent) != silent || counted.Noted != 1-silent || len(counted.Kinds) != 1-silent {
			t.Errorf("with the report %q: %+v", report, counted)
		}
	}
	for _, k := range kinds {
		if k.note.MatchString("") || k.note.MatchString("carried over") || regexp.MustCompile(`^\w*$`).MatchString(k.note.String()) && k.name != "session id" {
			t.Errorf("the note of %q matches too much: %v", k.name, k.note)
		}
		if k.explains(contrast{difference: difference{"backend", "10.0.0.1:80", "10.0.0.4:80"}, request: request{Host: "h", Path: "/"}, theirs: theirs, ours: theirs}) {
			t.Errorf("%q explains another backend", k.name)
		}
	}
}
