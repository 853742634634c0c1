package alb

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/testkit/golden"
)

// TestGolden compares what the files of each folder in testdata become with a golden file:
// the report, and then the configuration or the errors.
func TestGolden(t *testing.T) {
	for _, name := range []string{"chat", "nlb", "bad"} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join("testdata", name)
			files, err := filepath.Glob(filepath.Join(folder, "*.json"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no files: %v", err)
			}
			result, err := Import(files, importer.Options{})
			got := report(result, err)
			abs, err := filepath.Abs(folder)
			if err != nil {
				t.Fatal(err)
			}
			got = strings.ReplaceAll(strings.ReplaceAll(got, abs+"/", "FOLDER/"), folder+"/", "")
			if strings.Contains(got, "do-not-print") {
				t.Error("the report has a secret in it")
			}
			if result.Config != nil && written(t, result.Config) != dumped(result.Config) {
				t.Errorf("written and read again, it is\n%s\nwant\n%s", written(t, result.Config), dumped(result.Config))
			}
			file := folder + ".golden"
			golden.Compare(t, file, got)
			// The order of the files makes no difference to the configuration.
			for i, j := 0, len(files)-1; i < j; i, j = i+1, j-1 {
				files[i], files[j] = files[j], files[i]
			}
			again, err := Import(files, importer.Options{})
			if (err == nil) != (result.Config != nil) {
				t.Fatalf("in another order: %v", err)
			}
			if err == nil && dumped(again.Config) != dumped(result.Config) {
				t.Errorf("in another order, the files become\n%s", dumped(again.Config))
			}
		})
	}
}

func report(r *importer.Result, err error) string {
	var b strings.Builder
	for _, n := range r.Notes {
		b.WriteString(n.String())
		if n.Path != "" {
			fmt.Fprintf(&b, " [%s]", n.Path)
		}
		b.WriteString("\n")
	}
	if err != nil {
		fmt.Fprintf(&b, "\nerrors:\n%v\n", err)
		return b.String()
	}
	b.WriteString("\nwarnings:\n")
	for _, w := range r.Config.Warnings {
		b.WriteString(w.Error() + "\n")
	}
	return b.String() + "\n" + dumped(r.Config)
}

func dumped(c *config.Config) string {
	var b strings.Builder
	dump(&b, "", reflect.ValueOf(*c), reflect.ValueOf(config.Defaults()))
	return b.String()
}

// written returns what c is after it was written to a file and read again.
func written(t *testing.T, c *config.Config) string {
	t.Helper()
	var b bytes.Buffer
	if err := yaml.Write(&b, c, func(config.Path) []string { return nil }); err != nil {
		t.Fatal(err)
	}
	again, err := yaml.Parse("holdfast.yaml", b.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	return dumped(again)
}

// dump writes what differs from the defaults.
func dump(b *strings.Builder, at config.Path, v, defaults reflect.Value) {
	if reflect.DeepEqual(v.Interface(), defaults.Interface()) {
		return
	}
	if v.Kind() == reflect.Pointer {
		fresh := reflect.New(v.Type().Elem())
		config.SetDefaults(fresh.Interface())
		if !config.IsSection(v.Type().Elem()) || reflect.DeepEqual(v.Elem().Interface(), fresh.Elem().Interface()) {
			fmt.Fprintf(b, "%s: %v\n", at, v.Elem())
			return
		}
		dump(b, at, v.Elem(), fresh.Elem())
		return
	}
	if v.Kind() == reflect.Slice && v.Len() > 0 && config.IsSection(v.Type().Elem()) {
		for i := range v.Len() {
			item, name := v.Index(i), at.Index(i)
			fresh := reflect.New(item.Type())
			config.SetDefaults(fresh.Interface())
			if config.IsNamed(item.Type()) {
				name = at.Named(item.FieldByName("Name").String())
			}
			dump(b, name, item, fresh.Elem())
		}
		return
	}
	if !config.IsSection(v.Type()) {
		fmt.Fprintf(b, "%s: %v\n", at, v)
		return
	}
	for _, k := range config.KeysOf(v.Type()) {
		if f := k.Field(v); f.IsValid() {
			dump(b, at.Key(k.Name), f, k.Field(defaults))
		}
	}
}

func TestDetect(t *testing.T) {
	for text, want := range map[string]bool{
		"{\n    \"LoadBalancers\": [\n":                true,
		"{\"Rules\":[{}]}":                             true,
		"{\"TargetHealthDescriptions\": [\n":           true,
		"listeners:\n  - address: \":80\"\n":           false,
		"{\"listeners\": [], \"pools\": {}}":           false,
		"{\"apiVersion\":\"v1\",\"kind\":\"Ingress\"}": false,
		"http {}": false,
		"":        false,
	} {
		if got := Detect("x", []byte(text)); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

// TestDocs: the tables of the documentation have every attribute.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/migrate-alb.md")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for key := range balancerAttributes {
		keys = append(keys, key)
	}
	for key := range groupAttributes {
		keys = append(keys, key)
	}
	for _, key := range keys {
		if !strings.Contains(string(text), "| `"+key+"` |") {
			t.Errorf("docs/migrate-alb.md has no row for %s", key)
		}
	}
}

// FuzzImport: whatever the file, there is no panic; an error has a place, and a
// configuration is valid.
func FuzzImport(f *testing.F) {
	for _, pattern := range []string{"testdata/*/all.json", "testdata/chat/*.json"} {
		files, _ := filepath.Glob(pattern)
		all := ""
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil {
				f.Add(string(text), true)
				all += string(text)
			}
		}
		f.Add(all, true)
	}
	f.Fuzz(func(t *testing.T, text string, accept bool) {
		path := filepath.Join(t.TempDir(), "web.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		result, err := Import([]string{path}, importer.Options{AcceptLoss: accept})
		if err == nil {
			if again := result.Config.Validate(); again != nil {
				t.Errorf("the configuration isn't valid: %v", again)
			}
		} else {
			for _, e := range err.(config.Errors) {
				if strings.ContainsAny(e.Msg, "\n\r") || e.File == "" {
					t.Errorf("an error with several lines or without a file: %q", e)
				}
			}
		}
		for _, n := range result.Notes {
			if strings.ContainsAny(n.String(), "\n\r") || n.Line == 0 {
				t.Errorf("a note with several lines or without a place: %q", n)
			}
		}
	})
}
