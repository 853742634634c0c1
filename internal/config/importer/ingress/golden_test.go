package ingress

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
)

var update = flag.Bool("update", false, "write the golden files of testdata, and the tables of the documentation, instead of comparing")

// TestGolden compares what each file of testdata becomes with the golden file beside it:
// the report, and then the configuration or the errors.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			result, err := Import([]string{file}, importer.Options{})
			got := report(result, err)
			if err == nil && written(t, result.Config) != dumped(result.Config) {
				t.Errorf("written and read again, it is\n%s\nwant\n%s", written(t, result.Config), dumped(result.Config))
			}
			if err != nil {
				if accepted, err := Import([]string{file}, importer.Options{AcceptLoss: true}); err == nil {
					got += "\nwith the loss accepted:\n" + report(accepted, nil)
				}
			}
			folder, err := filepath.Abs("testdata")
			if err != nil {
				t.Fatal(err)
			}
			got = strings.ReplaceAll(strings.ReplaceAll(got, folder+"/", "FOLDER/"), "testdata/", "")
			compare(t, strings.TrimSuffix(file, ".yaml")+".golden", got)
		})
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not as in %s (rewrite it with go test -update)\ngot:\n%s", file, got)
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
				fresh.Elem().FieldByName("Name").Set(item.FieldByName("Name"))
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

// TestSecrets: nothing of a Secret or a snippet is in the report.
func TestSecrets(t *testing.T) {
	for _, file := range []string{"testdata/app.yaml", "testdata/refused.yaml"} {
		result, err := Import([]string{file}, importer.Options{})
		for _, secret := range []string{"bm90IHJlYWQ", "secret-of-the-user"} {
			if text := report(result, err); strings.Contains(text, secret) {
				t.Errorf("%s: the report has %q in it", file, secret)
			}
		}
	}
}

func TestDetect(t *testing.T) {
	for text, want := range map[string]bool{
		"apiVersion: networking.k8s.io/v1\nkind: Ingress\n":                               true,
		"---\nkind: \"Ingress\"\napiVersion: x\n":                                         true,
		"apiVersion: v1\nitems:\n- apiVersion: networking.k8s.io/v1\n  kind: Ingress\n":   true,
		"{\"apiVersion\": \"networking.k8s.io/v1\",\n \"kind\": \"Ingress\",\n":           true,
		"{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"Ingress\",\"metadata\":{}}":  true,
		"apiVersion: v1\nkind: Service\n":                                                 false,
		"listeners: [{address: \":80\"}]\npools: {a: {backends: [{address: \"a:1\"}]}}\n": false,
		"http { server { listen 80; } }\n":                                                false,
		"frontend a\n  bind :80\n":                                                        false,
		"{\"LoadBalancers\": []}":                                                         false,
		"":                                                                                false,
	} {
		if got := Detect("x", []byte(text)); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		if data, err := os.ReadFile(file); err != nil || !Detect(file, data) {
			t.Errorf("%s isn't detected, %v", file, err)
		}
	}
}
