package nginx_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden compares what becomes of the files in testdata with the golden files beside
// them: the configuration, and the report.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) < 15 {
		t.Fatalf("files: %d, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var b strings.Builder
			res, err := nginx.Import([]string{file}, importer.Options{})
			if err != nil {
				fmt.Fprintf(&b, "errors:\n%v\n\n", strip(err.Error()))
				if res, err = nginx.Import([]string{file}, importer.Options{AcceptLoss: true}); err != nil {
					fmt.Fprintf(&b, "errors with the loss accepted:\n%v\n\n", strip(err.Error()))
				}
			}
			if res != nil {
				b.WriteString("report:\n")
				for _, n := range res.Notes {
					fmt.Fprintln(&b, strip(n.String()))
				}
				if res.Config != nil {
					for _, w := range res.Config.Warnings {
						fmt.Fprintln(&b, "warning:", strip(w.Error()))
					}
					b.WriteString("\n" + dump(res.Config))
				}
			}
			golden := strings.TrimSuffix(file, ".conf") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o666); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := b.String(); got != string(want) {
				t.Errorf("%s differs (go test -update writes it):\n%s", golden, got)
			}
		})
	}
}

func strip(s string) string {
	dir, _ := os.Getwd()
	return strings.ReplaceAll(strings.ReplaceAll(s, "testdata/", ""), dir, "DIR")
}

func dump(c *config.Config) string {
	var b strings.Builder
	d := config.Defaults()
	dumpValue(&b, "", reflect.ValueOf(*c), reflect.ValueOf(d))
	return strip(b.String())
}

func dumpValue(b *strings.Builder, indent string, v, usual reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Name == "Warnings" {
			continue
		}
		x := v.Field(i)
		if usual.IsValid() && reflect.DeepEqual(x.Interface(), usual.Field(i).Interface()) || !usual.IsValid() && x.IsZero() {
			continue
		}
		for x.Kind() == reflect.Pointer && !x.IsNil() {
			x = x.Elem()
		}
		name := f.Tag.Get("key")
		_, printable := x.Interface().(fmt.Stringer)
		switch {
		case x.Kind() == reflect.Struct && !printable:
			fmt.Fprintf(b, "%s%s:\n", indent, name)
			var inner reflect.Value
			if usual.IsValid() {
				inner = usual.Field(i)
			}
			if inner.IsValid() && inner.Kind() == reflect.Pointer {
				inner = reflect.Value{}
			}
			dumpValue(b, indent+"  ", x, inner)
		case x.Kind() == reflect.Slice && x.Type().Elem().Kind() == reflect.Struct && x.Len() > 0 && !isPrintable(x.Index(0)):
			fmt.Fprintf(b, "%s%s:\n", indent, name)
			for j := range x.Len() {
				var inner reflect.Value
				if p, ok := x.Index(j).Interface().(config.Pool); ok {
					inner = reflect.ValueOf(config.NewPool(p.Name))
					fmt.Fprintf(b, "%s- pool %s\n", indent, p.Name)
				} else {
					fmt.Fprintf(b, "%s-\n", indent)
				}
				dumpValue(b, indent+"  ", x.Index(j), inner)
			}
		default:
			fmt.Fprintf(b, "%s%s: %+v\n", indent, name, x.Interface())
		}
	}
}

func isPrintable(v reflect.Value) bool { _, ok := v.Interface().(fmt.Stringer); return ok }
