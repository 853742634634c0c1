package yaml

import (
	"bufio"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// Write writes a Config as a file that reads back to an equal one: the values that differ
// from their defaults, in the order of docs/config.md. comment returns the lines of the
// comment above the value at a path; "" is the whole file. nil is no comments. Paths of
// files are as c has them, which is absolute after Validate.
func Write(w io.Writer, c *config.Config, comment func(config.Path) []string) error {
	defaults := config.Defaults()
	return write(w, c, &defaults, comment)
}

// write writes a section that a file may be.
func write(w io.Writer, section, defaults any, comment func(config.Path) []string) error {
	if comment == nil {
		comment = func(config.Path) []string { return nil }
	}
	root := tree("", reflect.ValueOf(section).Elem(), reflect.ValueOf(defaults).Elem())
	p := &printer{w: bufio.NewWriter(w), comment: comment}
	if p.comments("", 0); p.commented {
		p.w.WriteByte('\n')
	}
	for i := range root.entries {
		if i > 0 {
			p.w.WriteByte('\n')
		}
		p.entry(&root.entries[i], 0)
	}
	if len(root.entries) == 0 {
		p.w.WriteString("{}\n")
	}
	return p.w.Flush()
}

// node is a value to be written.
type node struct {
	path config.Path
	// inline is what is written behind the key: of a single value, or of a list of them.
	inline  string
	entries []entryNode // of a mapping
	items   []*node     // of a list of mappings
}

// entryNode is a key of a mapping.
type entryNode struct {
	key string // as it is written
	*node
}

// tree makes the node of a section.
func tree(p config.Path, v, defaults reflect.Value) *node {
	n := &node{path: p}
	keys := config.KeysOf(v.Type())
	for i := range keys {
		k := &keys[i]
		if value := valueOf(p.Key(k.Name), k, v, defaults); value != nil {
			n.entries = append(n.entries, entryNode{k.Name, value})
		}
	}
	return n
}

// madeTree is tree for a section that has its own defaults. One with a shorthand is only
// its value, if that is all there is to say.
func madeTree(p config.Path, v reflect.Value) *node {
	made := reflect.New(v.Type())
	config.SetDefaults(made.Interface())
	n := tree(p, v, made.Elem())
	if k, ok := config.ShortKey(v.Type()); ok && (len(n.entries) == 0 || len(n.entries) == 1 && n.entries[0].key == k.Name) {
		return fieldOf(p.Key(k.Name), k, k.Field(v), reflect.Value{})
	}
	return n
}

// valueOf makes the node of the value of a key; nil if it is the default.
func valueOf(p config.Path, k *config.Key, section, defaults reflect.Value) *node {
	if words, ok := k.WordsOf(section); ok {
		if usual, _ := k.WordsOf(defaults); slices.Equal(words, usual) {
			return nil
		}
		return &node{path: p, inline: list(words)}
	}
	v, usual := k.Field(section), k.Field(defaults)
	if !k.Always && (reflect.DeepEqual(v.Interface(), usual.Interface()) || v.Kind() == reflect.Slice && v.Len() == 0 && usual.Len() == 0) {
		return nil
	}
	if k.Name == "name" && isAddress(section, v.String()) {
		return nil
	}
	return fieldOf(p, k, v, usual)
}

// isAddress reports whether a name is the address of its section, which it is by default.
func isAddress(section reflect.Value, name string) bool {
	f := section.FieldByName("Address")
	if !f.IsValid() {
		return false
	}
	a, ok := f.Interface().(config.Address)
	return ok && a.String() == name
}

// fieldOf makes the node of the field of a key. usual is the default of a section that is
// always there.
func fieldOf(p config.Path, k *config.Key, v, usual reflect.Value) *node {
	switch t := v.Type(); {
	case t == reflect.TypeFor[config.Headers]():
		n := &node{path: p}
		for i, h := range v.Interface().(config.Headers) {
			n.entries = append(n.entries, entryNode{scalar(h[0]), &node{path: p.Index(i), inline: scalar(escapeVariables(h[1]))}})
		}
		return n
	case t.Kind() == reflect.Bool:
		return &node{path: p, inline: fmt.Sprint(v.Bool())}
	case config.IsSection(t):
		return tree(p, v, usual)
	case t.Kind() == reflect.Pointer && v.IsNil():
		return nil // stands for what is left out
	case t.Kind() == reflect.Pointer && config.IsSection(t.Elem()):
		return madeTree(p, v.Elem())
	case t.Kind() == reflect.Pointer:
		return fieldOf(p, k, v.Elem(), reflect.Value{})
	case t.Kind() == reflect.Slice && config.IsSection(t.Elem()) && config.IsNamed(t.Elem()):
		n := &node{path: p}
		for i := range v.Len() {
			name := v.Index(i).FieldByName("Name").String()
			n.entries = append(n.entries, entryNode{scalar(name), madeTree(p.Named(name), v.Index(i))})
		}
		return n
	case t.Kind() == reflect.Slice && config.IsSection(t.Elem()):
		n := &node{path: p}
		for i := range v.Len() {
			n.items = append(n.items, madeTree(p.Index(i), v.Index(i)))
		}
		return n
	case t.Kind() == reflect.Slice:
		texts := make([]string, v.Len())
		for i := range texts {
			texts[i] = single(k, v.Index(i))
		}
		if len(texts) == 1 && k.Some != "" { // stands for a list of one
			return &node{path: p, inline: texts[0]}
		}
		return &node{path: p, inline: list(texts)}
	}
	return &node{path: p, inline: single(k, v)}
}

// single is a single value as it is written. One that isn't text needs no quotes to be told
// from a number.
func single(k *config.Key, v reflect.Value) string {
	text := k.Format(v)
	if v.Kind() != reflect.String && text != "" && strings.Trim(text, "0123456789.smhKiB%/") == "" {
		return text
	}
	return scalar(escapeVariables(text))
}

// list is a list of values.
func list(values []string) string { return "[" + strings.Join(values, ", ") + "]" }

// A text may stand without quotes, also in a list, if it is neither a number nor another
// word with a meaning in YAML, and has no character in it that could be one of its syntax.
// The address of a server isn't a number to anybody.
var (
	ipAddress = regexp.MustCompile(`^[0-9]+(\.[0-9]+){3}(:[0-9]+|/[0-9]+)?$`)
	plainText = regexp.MustCompile(`^[A-Za-z0-9_./-][A-Za-z0-9_./@%+=~^;()-]*(:[A-Za-z0-9_./@%+=~^;()-]+)*$`)
	notText   = regexp.MustCompile(`^(?i:null|true|false|yes|no|on|off|y|n|~|[-+.]?(inf|nan)|-+|[-+]?[0-9][0-9_.:,exob+-]*|[-+]?\.[0-9].*|[-+]?0x.*)$`)
)

// scalar is a single value as it is written.
func scalar(s string) string {
	if ipAddress.MatchString(s) || plainText.MatchString(s) && !notText.MatchString(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case unicode.IsGraphic(c) && (c == ' ' || !unicode.IsSpace(c)):
			b.WriteRune(c)
		case c <= 0xff:
			fmt.Fprintf(&b, `\x%02x`, c)
		case c <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// printer writes nodes, with comments above them.
type printer struct {
	w         *bufio.Writer
	comment   func(config.Path) []string
	commented bool // a comment was written
}

func (p *printer) indent(depth int) { p.w.WriteString(strings.Repeat("  ", depth)) }

// comments writes the comment about a path. What isn't fit for a comment is left out, so
// that nothing of it can end it.
func (p *printer) comments(path config.Path, depth int) {
	for _, line := range p.comment(path) {
		line = strings.Map(func(c rune) rune {
			if c == utf8.RuneError || !unicode.IsGraphic(c) {
				return ' '
			}
			return c
		}, line)
		p.indent(depth)
		p.w.WriteString(strings.TrimRight("# "+line, " ") + "\n")
		p.commented = true
	}
}

func (p *printer) entry(e *entryNode, depth int) {
	p.comments(e.path, depth)
	p.indent(depth)
	p.w.WriteString(e.key + ":")
	p.value(e.node, depth)
}

// value writes what follows a key.
func (p *printer) value(n *node, depth int) {
	switch {
	case n.inline != "":
		p.w.WriteString(" " + n.inline + "\n")
	case len(n.items) > 0:
		p.w.WriteByte('\n')
		for _, item := range n.items {
			p.item(item, depth+1)
		}
	case len(n.entries) > 0:
		p.w.WriteByte('\n')
		for i := range n.entries {
			p.entry(&n.entries[i], depth+1)
		}
	default:
		p.w.WriteString(" {}\n")
	}
}

func (p *printer) item(n *node, depth int) {
	p.comments(n.path, depth)
	switch {
	case n.inline != "":
		p.indent(depth)
		p.w.WriteString("- " + n.inline + "\n")
		return
	case len(n.entries) == 0:
		p.indent(depth)
		p.w.WriteString("- {}\n")
		return
	}
	for i := range n.entries {
		e := &n.entries[i]
		if i == 0 {
			// Comments about the first key are above the item.
			p.comments(e.path, depth)
			p.indent(depth)
			p.w.WriteString("- " + e.key + ":")
			p.value(e.node, depth+1)
			continue
		}
		p.entry(e, depth+1)
	}
}
