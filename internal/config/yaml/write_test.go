package yaml

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/testkit/golden"
)

func written(t interface{ Fatal(...any) }, c *config.Config, comment func(config.Path) []string) string {
	var b strings.Builder
	if err := Write(&b, c, comment); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestWriteReadsBack: what good files say is the same after it was written.
func TestWriteReadsBack(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(file, data)
		if err != nil {
			t.Fatal(err)
		}
		checkReadsBack(t, c)
	}
}

func checkReadsBack(t *testing.T, c *config.Config) {
	t.Helper()
	text := written(t, c, nil)
	again, err := Parse("again.yaml", []byte(text))
	if err != nil {
		t.Errorf("%v\n%s", err, text)
		return
	}
	if d := difference("", reflect.ValueOf(normal(again)), reflect.ValueOf(normal(c))); d != "" {
		t.Errorf("%s\n%s", text, d)
	}
}

// normal is c without what isn't written, and with nil for what is empty.
func normal(c *config.Config) *config.Config {
	n := config.Config{}
	from, to := reflect.ValueOf(c).Elem(), reflect.ValueOf(&n).Elem()
	for i := range from.NumField() {
		if from.Type().Field(i).Tag.Get("key") != "" {
			to.Field(i).Set(copied(from.Field(i)))
		}
	}
	return &n
}

// difference finds a value that differs.
func difference(p string, a, b reflect.Value) string {
	switch {
	case reflect.DeepEqual(a.Interface(), b.Interface()):
		return ""
	case a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil():
		return difference(p, a.Elem(), b.Elem())
	case a.Kind() == reflect.Slice && a.Len() == b.Len():
		for i := range a.Len() {
			if d := difference(fmt.Sprint(p, "[", i, "]"), a.Index(i), b.Index(i)); d != "" {
				return d
			}
		}
	case a.Kind() == reflect.Struct && config.IsSection(a.Type()):
		for _, f := range reflect.VisibleFields(a.Type()) {
			if f.IsExported() && !f.Anonymous {
				if d := difference(p+"."+f.Name, a.FieldByIndex(f.Index), b.FieldByIndex(f.Index)); d != "" {
					return d
				}
			}
		}
	}
	return fmt.Sprintf("%s is %#v, want %#v", p, a, b)
}

// copied is a deep copy in which no list is empty without being nil.
func copied(v reflect.Value) reflect.Value {
	switch {
	case v.Kind() == reflect.Pointer && config.IsSection(v.Type().Elem()) && !v.IsNil():
		to := reflect.New(v.Type().Elem())
		to.Elem().Set(copied(v.Elem()))
		return to
	case config.IsSection(v.Type()):
		to := reflect.New(v.Type()).Elem()
		to.Set(v)
		for _, f := range reflect.VisibleFields(v.Type()) {
			if !f.Anonymous && f.IsExported() {
				to.FieldByIndex(f.Index).Set(copied(v.FieldByIndex(f.Index)))
			}
		}
		return to
	case v.Kind() == reflect.Slice && v.Len() == 0:
		return reflect.Zero(v.Type())
	case v.Kind() == reflect.Slice && config.IsSection(v.Type().Elem()):
		to := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			to.Index(i).Set(copied(v.Index(i)))
		}
		return to
	}
	return v
}

// TestWriteAnyValue: any value of any key is the same after it was written and read,
// whatever the others are.
func TestWriteAnyValue(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := config.Defaults()
		drawSection(rt, reflect.ValueOf(&c).Elem(), 0)
		text := written(rt, &c, func(p config.Path) []string {
			return rapid.SampledFrom([][]string{nil, {string(p)}, {"one\n- two: {", "\u2028x: y\ufeff\x00"}}).Draw(rt, "comment")
		})
		again := config.Defaults()
		f, err := Read("/again.yaml", []byte(text), "a mapping", &again)
		if err != nil {
			rt.Fatalf("%v\n%s", err, text)
		}
		if errs := f.Report.Errors(); len(errs) > 0 {
			rt.Fatalf("%v\n%s", errs, text)
		}
		if d := difference("", reflect.ValueOf(normal(&again)), reflect.ValueOf(normal(&c))); d != "" {
			rt.Fatalf("%s\n%s", text, d)
		}
	})
}

// examples are texts of the types that aren't texts or numbers, and of grammars, which the
// keys can read.
var examples = map[string][]string{
	"hostport.Address":   {":0", ":8080", "127.0.0.1:0", "[::1]:443", "unix:/run/a b.sock", "ws.internal:3000", "10.0.0.1:65535"},
	"pattern.Host":       {"ws.example.com", "*.example.com", "10.0.0.1", "[::1]"},
	"pattern.Path":       {"/", "/ws", "/a/b%20c", "/${A}"},
	"pattern.ExactPath":  {"/", "/ws", "/ws/", "/a/b%20c"},
	"pattern.Regex":      {"^/rooms/[0-9]+$", `\.js$`, "(?i)^/ws", "a: b # c", "${A}", "$"},
	"pattern.Text":       {"2.*", "a", "*", "~^a", "yes", "12"},
	"clientcert.Print":   {"4a1d0c4b7ed0a1f21b8f5b7e6f0a3c9d2e8b6a5c4d3f2e1a0b9c8d7e6f5a4b3c"},
	"origin.Pattern":     {"any", "same_site", "https://app.example.com", "https://*.example.com", "http://localhost:*", "null"},
	"requestkey.Part":    {"client_ip", "path", "query:room", "header:X-User", "cookie:sid", "query:größe[\"id']"},
	"bearer.Source":      {"header:Authorization", "query:token", "cookie:sid"},
	"netip.Prefix":       {"10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "0.0.0.0/0"},
	"config.Peer":        {"unix", "10.0.0.0/8", "2001:db8::/32"},
	"config.StatusRange": {"200", "200-299", "404", "500-502"},
	"config.Share":       {"0", "2", "50%", "100%"},
	"duration":           {"0", "1ms", "5s", "1h30m", "1.5ms", "8760h"},
	"rate":               {"200/s", "30/m", "1/h", "0.5/s"},
	"percentage":         {"1%", "100%"},
	"size":               {"0", "1", "256KiB", "1MiB", "1000"},
	"number":             {"0", "1.05", "10", "1.25"},
	"integer":            {"0", "1", "65535", "100000000", "1001"},
	"text": {"a", "true", "null", "~", "12", "0x1f", "1e3", ".5", "-1", "+1", "1_000", "08", "2026-11-29", "12:30:45", "<<", "-", "- a", "a: b", "a:", "a #b", "#a",
		"'a", "\"a", "\\", "a\\n", "{a", "}a", "[a", "a]", "a, b", "*a", "&a", "!a", "|", ">", "%a", "@a", "`a", "?", "? a", "=", " a", "a ", "ä€😀", "a\u00a0b", "a\u2028b\u0085",
		"a\tb", "a\nb", "\x7f", "${A}", "$${A}", "${A:-b}", "${file:a}", "${lower}", "$", "${", "${A", "yes", "No", "on", "y", ".inf", ".NaN", "---", "...", "é", "\ufeff", "NULL", "x-a", "a.b/c"},
}

func drawSection(rt *rapid.T, v reflect.Value, depth int) {
	keys := config.KeysOf(v.Type())
	for i := range keys {
		k := &keys[i]
		if !k.Always && rapid.IntRange(0, 2+depth).Draw(rt, k.Name) > 1 {
			continue
		}
		field := k.Field(v)
		if !field.IsValid() {
			words := map[string]bool{}
			for _, w := range k.Words {
				words[w] = rapid.Bool().Draw(rt, w)
			}
			if slices.Contains(slices.Collect(mapValues(words)), true) {
				k.SetWords(v, words)
			}
			continue
		}
		drawField(rt, k, field, depth)
	}
}

func mapValues(m map[string]bool) func(func(bool) bool) {
	return func(yield func(bool) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

func drawField(rt *rapid.T, k *config.Key, v reflect.Value, depth int) {
	count := func() int { return rapid.IntRange(0, 2).Draw(rt, "n") }
	switch t := v.Type(); {
	case t == reflect.TypeFor[config.Headers]():
		var h config.Headers
		for i := range count() {
			h = append(h, [2]string{fmt.Sprint(rapid.SampledFrom(examples["text"]).Draw(rt, "name"), i), rapid.SampledFrom(examples["text"]).Draw(rt, "value")})
		}
		v.Set(reflect.ValueOf(h))
	case t.Kind() == reflect.Bool:
		v.SetBool(rapid.Bool().Draw(rt, k.Name))
	case config.IsSection(t):
		drawSection(rt, v, depth+1)
	case t.Kind() == reflect.Pointer:
		made := reflect.New(t.Elem())
		if config.IsSection(t.Elem()) {
			config.SetDefaults(made.Interface())
		}
		v.Set(made)
		drawField(rt, k, made.Elem(), depth)
	case t.Kind() == reflect.Slice:
		list := reflect.Zero(t)
		n := count()
		if k.Some != "" {
			n++ // at least one
		}
		for i := range n {
			item := reflect.New(t.Elem())
			config.SetDefaults(item.Interface())
			drawField(rt, k, item.Elem(), depth)
			if config.IsSection(t.Elem()) && config.IsNamed(t.Elem()) {
				item.Elem().FieldByName("Name").SetString(fmt.Sprint(rapid.SampledFrom(examples["text"]).Draw(rt, "name"), i))
			}
			list = reflect.Append(list, item.Elem())
		}
		v.Set(list)
	case k.IsPath():
		v.SetString("/" + rapid.SampledFrom([]string{"a", "etc/a b", "etc/${A}"}).Draw(rt, k.Name))
	default:
		drawSingle(rt, k, v)
	}
}

// drawSingle draws a text that the key can read.
func drawSingle(rt *rapid.T, k *config.Key, v reflect.Value) {
	texts := slices.Concat(k.Words, examples[strings.TrimPrefix(v.Type().String(), "*")])
	if v.Kind() == reflect.String || v.Kind() == reflect.Int || v.Kind() == reflect.Int64 || v.Kind() == reflect.Float64 {
		texts = slices.Clone(k.Words)
		if v.Kind() == reflect.String {
			texts = append(texts, examples["text"]...)
		}
		for _, kind := range []string{"duration", "rate", "percentage", "size", "number", "integer"} {
			if readable(k, v.Type(), examples[kind]) && v.Kind() != reflect.String {
				texts = append(texts, examples[kind]...)
			}
		}
	}
	if len(texts) == 0 {
		rt.Fatalf("the test has no examples of %v, of the key %s", v.Type(), k.Name)
	}
	texts = slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return k.Parse(s, reflect.New(v.Type()).Elem()) != nil })
	if err := k.Parse(rapid.SampledFrom(texts).Draw(rt, k.Name), v); err != nil {
		rt.Fatal(err)
	}
}

// readable reports whether a key reads these texts as numbers.
func readable(k *config.Key, t reflect.Type, texts []string) bool {
	return !slices.ContainsFunc(texts, func(s string) bool {
		v := reflect.New(t).Elem()
		return k.Parse(s, v) != nil || strings.HasSuffix(fmt.Sprint(v), "808") || fmt.Sprint(v) == "NaN"
	})
}

// TestWriteForm: how a file looks.
func TestWriteForm(t *testing.T) {
	c, err := Parse("f.yaml", []byte(`
listeners: [{address: ":80"}, {name: tls, address: ":443", tls: {certificates: [{cert: /a.pem}], strict_sni: true}, origins: any, allow: [10.0.0.0/8, "2001:db8::/32"]}]
pools:
  chat: {balance: hash, hash: {key: "header:X-User"}, backends: [{address: "10.0.0.1:3000", weight: 2}, {name: b, address: "10.0.0.2:3000"}], reattach: {on: loss},
    health: {http: {path: /health, expect: [200, "300-399"]}, min_healthy: 50%}, affinity: {cookie: }}
routes: [{match: {path: /ws, header: {X-A: "1"}}, pool: chat, request_headers: {set: {X-Ip: "${client_ip}"}}, origins: {allow: same_site, required: true}}, {pool: chat}]
timeouts: {idle: 90m}
forwarded: {x_forwarded: false}
keepalive: {interval: 0}
`))
	if err != nil {
		t.Fatal(err)
	}
	got := written(t, c, func(p config.Path) []string {
		return map[config.Path][]string{"": {"Made by hand."}, "pools.chat": {"f.conf:3 upstream chat"}, "pools.chat.backends[1]": {"f.conf:5 server b"}, "listeners[1].name": {"of the name"},
			"timeouts.idle": {"f.conf:9 timeout", "It is long."}}[p]
	})
	golden.Compare(t, "testdata/written.golden", got)
}
