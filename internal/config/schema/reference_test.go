package schema

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
)

var update = flag.Bool("update", false, "write descriptions.json and docs/config-keys.md")

// golden compares a file with what it must be, or writes it with -update.
func golden(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: run go test ./internal/config/schema -update (%v)", file, err)
	}
}

// TestDescriptions: the descriptions in the program are those of docs/config.md.
func TestDescriptions(t *testing.T) {
	described := Described(docs(t))
	texts := map[config.Path]string{}
	File(func(p config.Path) string {
		if text := described(p); text != "" {
			texts[p] = text
		}
		return ""
	})
	var out bytes.Buffer
	write := json.NewEncoder(&out)
	write.SetEscapeHTML(false)
	write.SetIndent("", " ")
	if err := write.Encode(texts); err != nil {
		t.Fatal(err)
	}
	golden(t, "descriptions.json", out.Bytes())
	if got := Describe("pools.NAME.drain.timeout"); !*update && !strings.Contains(got, "Default: 300s") {
		t.Errorf("drain.timeout is described as %q", got)
	}
}

// TestReference writes docs/config-keys.md: every key that the code reads, with its default.
func TestReference(t *testing.T) {
	var out bytes.Buffer
	out.WriteString(`# All keys

Every key of the configuration file, from the code that reads it. [config.md](config.md)
explains them, with examples. NAME stands for a name that you choose, [] for the items of a
list. A key without a default is left out by default.

`)
	r := reference{describe: Described(docs(t)), out: &out}
	usual := config.Defaults()
	root := reflect.ValueOf(&usual).Elem()
	for i, k := range config.KeysOf(root.Type()) {
		if i > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "## %s\n\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n", k.Name)
		r.key(root, &k, config.Path(k.Name), k.Name, nil)
	}
	golden(t, "../../../docs/config-keys.md", out.Bytes())
}

type reference struct {
	describe func(config.Path) string
	out      *bytes.Buffer
}

// key writes the row of a key, and those of the keys below it. shown is its path as readers
// see it, around has the types of the sections around it.
func (r *reference) key(section reflect.Value, k *config.Key, p config.Path, shown string, around []reflect.Type) {
	t := k.Type(section.Type())
	if t == nil {
		words, _ := k.WordsOf(section)
		r.row(shown, "a list of "+strings.Join(k.Words, ", "), strings.Join(words, ", "), p)
		return
	}
	value := k.Field(section)
	optional := t.Kind() == reflect.Pointer
	if optional {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[config.Headers]():
		r.row(shown, "a mapping from names to values", "", p)
	case config.IsSection(t):
		what := "a mapping"
		if short, ok := config.ShortKey(t); ok {
			what = "a mapping, or just `" + short.Name + "`"
		}
		if slices.Contains(around, t) {
			r.row(shown, "as the mapping around it", "", p)
			return
		}
		r.row(shown, what, "", p)
		if optional {
			value = made(t)
		}
		r.section(value, p, shown, around)
	case t.Kind() == reflect.Slice && config.IsSection(t.Elem()):
		in, name, below := p.Index(0), shown+"[]", t.Elem()
		what := "a list of mappings"
		if config.IsNamed(below) {
			in, name, what = p.Named("NAME"), shown+".NAME", "a mapping from names to mappings"
		}
		if slices.Contains(around, below) {
			r.row(shown, "a list of mappings as the one around it", "", p)
			return
		}
		r.row(shown, what, "", p)
		r.section(made(below), in, name, around)
	case t.Kind() == reflect.Bool:
		usual := ""
		if !optional {
			usual = fmt.Sprint(value.Bool())
		}
		r.row(shown, "true or false", usual, p)
	case t.Kind() == reflect.Slice:
		var usual []string
		for i := range value.Len() {
			usual = append(usual, k.Format(value.Index(i)))
		}
		what := k.Item
		if what == "" {
			what = k.Want
		}
		if len(k.Words) > 0 {
			what = strings.Join(k.Words, ", ")
		}
		r.row(shown, "a list: "+what, strings.Join(usual, ", "), p)
	default:
		usual := ""
		if !optional && !(value.IsZero() && (k.ZeroIsUnset() || !value.CanInt() && !value.CanFloat())) {
			usual = k.Format(value)
		}
		r.row(shown, k.Want, usual, p)
	}
}

// made is a section with its defaults.
func made(t reflect.Type) reflect.Value {
	section := reflect.New(t)
	config.SetDefaults(section.Interface())
	return section.Elem()
}

func (r *reference) section(value reflect.Value, p config.Path, shown string, around []reflect.Type) {
	keys := config.KeysOf(value.Type())
	for i := range keys {
		r.key(value, &keys[i], p.Key(keys[i].Name), shown+"."+keys[i].Name, append(slices.Clone(around), value.Type()))
	}
}

func (r *reference) row(key, value, usual string, p config.Path) {
	if usual != "" {
		usual = "`" + usual + "`"
	}
	meaning, _, _ := strings.Cut(r.describe(p), " Default: ")
	if i := strings.Index(meaning, ". "); i >= 0 {
		meaning = meaning[:i+1]
	}
	escape := strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`).Replace
	fmt.Fprintf(r.out, "| `%s` | %s | %s | %s |\n", key, escape(value), usual, escape(meaning))
}
