package ingress

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// addFiles makes the files of testdata the first inputs, with true and with false.
func addFiles(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(string(text), false)
			f.Add(string(text), true)
		}
	}
}

func saved(t *testing.T, text string) (path string) {
	path = filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// FuzzImport: whatever the file, there is no panic; an error has a place, and a
// configuration is valid.
func FuzzImport(f *testing.F) {
	addFiles(f)
	f.Fuzz(func(t *testing.T, text string, accept bool) {
		result, err := Import([]string{saved(t, text)}, importer.Options{AcceptLoss: accept})
		if err == nil {
			if again := result.Config.Validate(); again != nil {
				t.Errorf("the configuration isn't valid: %v", again)
			}
			for _, n := range result.Notes {
				if strings.ContainsAny(n.String(), "\n\r") || n.Line == 0 {
					t.Errorf("a note with several lines or without a place: %q", n)
				}
				if n.Outcome == importer.Refused && !n.Lost {
					t.Errorf("refused, but no error: %v", n)
				}
			}
			return
		}
		for _, e := range err.(config.Errors) {
			if strings.ContainsAny(e.Msg, "\n\r") || e.File == "" {
				t.Errorf("an error with several lines or without a file: %q", e)
			}
		}
	})
}

// FuzzCluster: whatever the objects of a cluster are, the program that watches it doesn't
// panic. Each route is for one listener, and is said to be from an Ingress if it leads to a
// pool.
func FuzzCluster(f *testing.F) {
	addFiles(f)
	f.Fuzz(func(t *testing.T, text string, usable bool) {
		var objects Objects
		var report importer.Report
		var errs config.Errors
		read(saved(t, text), &objects, &report, &errs)
		tls := &config.ListenerTLS{}
		tls.SetDefaults()
		tls.Certificates = []config.Certificate{{Data: &config.PEM{}, Names: []string{"*"}}}
		problem := errors.New("can't be used")
		if usable {
			problem = nil
		}
		built := Build(&objects, Options{Cluster: &Cluster{
			HTTP:  config.Listener{Name: "in", Address: hostport.MustParse(":80")},
			HTTPS: config.Listener{Name: "secure", Address: hostport.MustParse(":443"), TLS: tls},
			CheckCertificate: func(p *config.PEM) ([]string, error) {
				return strings.Fields(string(p.Cert)), problem
			},
			CheckAuthorities: func(*config.PEM) error { return problem },
			ExternalNames:    usable,
		}}, &report)
		if len(built.Routes) != len(built.Config.Routes) || len(built.Pools) != len(built.Config.Pools) {
			t.Fatalf("%d routes with %d origins, %d pools with %d", len(built.Config.Routes), len(built.Routes), len(built.Config.Pools), len(built.Pools))
		}
		for i, r := range built.Config.Routes {
			if r.Match.Listener != "in" && r.Match.Listener != "secure" || r.Pool != "" && built.Routes[i].Ingress == nil {
				t.Errorf("a route for the listener %q and the pool %q of %v", r.Match.Listener, r.Pool, built.Routes[i].Ingress)
			}
		}
		for _, n := range report.Notes {
			if strings.ContainsAny(n.String(), "\n\r") {
				t.Errorf("a note with several lines: %q", n)
			}
		}
	})
}
