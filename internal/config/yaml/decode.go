package yaml

import (
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// decoder reads the nodes of a file into the sections of a model. Its methods
// report what is wrong.
type decoder struct {
	*File
	// aliased counts the nodes read by way of aliases, sizes those below an
	// anchor.
	aliased int
	sizes   map[*yaml.Node]int

	env   func(name string) (string, bool) // nil: no variables
	files map[string]string                // contents of files, for variables, by path
	// refuse is that of a Part.
	refuse func(p config.Path, k *config.Key) string
}

// maxAliased bounds the nodes read by way of aliases, so that a small file
// cannot become a huge configuration.
const maxAliased = 100_000

// resolve follows an alias to the node to read.
func (d *decoder) resolve(p config.Path, n *yaml.Node) (*yaml.Node, bool) {
	if n.Kind == yaml.AliasNode {
		if d.aliased > maxAliased {
			d.spoil(p)
			return nil, false
		}
		d.aliased += d.size(n.Alias)
		if d.aliased > maxAliased {
			d.fail(p, n, "too much is repeated by aliases: they may stand for %d values together", maxAliased)
			return nil, false
		}
		n = n.Alias
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fail(p, n, "tags such as %s are not supported: leave it out", hint.Quote(n.Tag))
		return nil, false
	}
	return n, true
}

// size counts the nodes of n. An alias in it counts as one; what it stands for
// is counted when it is read.
func (d *decoder) size(n *yaml.Node) int {
	size, ok := d.sizes[n]
	if !ok {
		size = 1
		for _, child := range n.Content {
			if child.Kind == yaml.AliasNode {
				size++
			} else {
				size += d.size(child)
			}
		}
		d.sizes[n] = size
	}
	return size
}

// section reads the values of a mapping into a struct, in the order of its keys.
// Nothing counts as an empty mapping.
func (d *decoder) section(p config.Path, n *yaml.Node, expected string, into reflect.Value) {
	if k, ok := config.ShortKey(into.Type()); ok {
		if value, ok := d.resolve(p, n); ok && value.Kind != yaml.MappingNode && !isNull(value) {
			d.put(p.Key(k.Name), n)
			d.key(p.Key(k.Name), n, k, into)
			return
		}
	}
	entries, ok := d.entries(p, n, expected)
	if !ok {
		return
	}
	keys := config.KeysOf(into.Type())
	known := config.Names(keys)
	values := make(map[string]*yaml.Node, len(entries))
	for _, e := range entries {
		if contains(keys, e.key.Value) {
			values[e.key.Value] = e.value
			continue
		}
		near := hint.Nearest(e.key.Value, known)
		if near == "" {
			d.failAt(p, e.key, "unknown key %s (known here: %s)", hint.Quote(e.key.Value), strings.Join(known, ", "))
			continue
		}
		// A key that is misspelt is not missing too.
		d.spoil(p.Key(near))
		d.failAt(p, e.key, "unknown key %s (did you mean %q?)", hint.Quote(e.key.Value), near)
	}
	for i := range keys {
		if value, ok := values[keys[i].Name]; ok {
			d.put(p.Key(keys[i].Name), value)
			d.key(p.Key(keys[i].Name), value, &keys[i], into)
		}
	}
}

// key reads the value of one key of a section.
func (d *decoder) key(p config.Path, n *yaml.Node, k *config.Key, section reflect.Value) {
	if d.refused(p, n, k) {
		return
	}
	field := k.Field(section)
	if !field.IsValid() {
		d.words(p, n, k, section)
		return
	}
	switch t := field.Type(); {
	case t == reflect.TypeFor[config.Headers]():
		d.headers(p, n, k, field.Addr().Interface().(*config.Headers))
	case t == reflect.TypeFor[*bool]():
		value := false
		if d.boolean(p, n, &value) {
			field.Set(reflect.ValueOf(&value))
		}
	case t.Kind() == reflect.Bool:
		value := false
		if d.boolean(p, n, &value) {
			field.SetBool(value)
		}
	case config.IsSection(t):
		d.section(p, n, k.Want, field)
	case t.Kind() == reflect.Pointer && config.IsSection(t.Elem()):
		made := reflect.New(t.Elem())
		config.SetDefaults(made.Interface())
		field.Set(made)
		d.section(p, n, k.Want, made.Elem())
	case t.Kind() == reflect.Slice && config.IsSection(t.Elem()) && config.IsNamed(t.Elem()):
		d.named(p, n, k, field)
	case t.Kind() == reflect.Slice && config.IsSection(t.Elem()):
		d.sections(p, n, k, field)
	case t.Kind() == reflect.Slice:
		d.singles(p, n, k, field)
	case t.Kind() == reflect.Pointer: // a single value that may be missing
		made := reflect.New(t.Elem())
		if d.single(p, n, k.Want, k, made.Elem()) {
			field.Set(made)
		}
	default:
		d.single(p, n, k.Want, k, field)
	}
}

// entry is a key of a mapping.
type entry struct{ key, value *yaml.Node }

// entries lists a mapping's keys in the order of the file, each once.
func (d *decoder) entries(p config.Path, n *yaml.Node, expected string) ([]entry, bool) {
	n, ok := d.resolve(p, n)
	if !ok {
		return nil, false
	}
	if isNull(n) {
		return nil, true
	}
	if n.Kind != yaml.MappingNode {
		d.wrongType(p, n, expected)
		return nil, false
	}
	var list []entry
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode || k.Style&yaml.TaggedStyle != 0 {
			d.failAt(p, k, "a key must be plain text")
			continue
		}
		if k.ShortTag() == "!!merge" {
			// Nobody can tell what would come this way from what is missing.
			d.fail(p, k, `merge keys ("<<") are not supported: write the keys out`)
			return nil, false
		}
		if before, ok := seen[k.Value]; ok {
			d.failAt(p, k, "duplicate key %s (first %s)", hint.Quote(k.Value), earlier(before))
			continue
		}
		seen[k.Value] = k
		list = append(list, entry{k, n.Content[i+1]})
	}
	return list, true
}

// named reads a mapping from names to sections. The place of a section is that
// of its name.
func (d *decoder) named(p config.Path, n *yaml.Node, k *config.Key, into reflect.Value) {
	entries, _ := d.entries(p, n, k.Want)
	for _, e := range entries {
		item, path := reflect.New(into.Type().Elem()), p.Named(e.key.Value)
		config.SetDefaults(item.Interface())
		item.Elem().FieldByName("Name").SetString(e.key.Value)
		d.put(path, e.key)
		d.section(path, e.value, k.Item, item.Elem())
		into.Set(reflect.Append(into, item.Elem()))
	}
}

// items reads the items of a list. Nothing counts as an empty list.
func (d *decoder) items(p config.Path, n *yaml.Node, k *config.Key) []*yaml.Node {
	n, ok := d.resolve(p, n)
	switch {
	case !ok || isNull(n):
		return nil
	case n.Kind != yaml.SequenceNode:
		d.wrongType(p, n, k.Want)
		return nil
	}
	return n.Content
}

// sections reads a list of sections.
func (d *decoder) sections(p config.Path, n *yaml.Node, k *config.Key, into reflect.Value) {
	for i, item := range d.items(p, n, k) {
		section, path := reflect.New(into.Type().Elem()), p.Index(i)
		config.SetDefaults(section.Interface())
		d.put(path, item)
		d.section(path, item, k.Item, section.Elem())
		into.Set(reflect.Append(into, section.Elem()))
	}
}

// oneOrMore reads the items of a list, or a single value as a list of one.
func (d *decoder) oneOrMore(p config.Path, n *yaml.Node, expected, whose string) []*yaml.Node {
	value, ok := d.resolve(p, n)
	switch {
	case !ok:
		return nil
	case value.Kind == yaml.ScalarNode && !isNull(value):
		return []*yaml.Node{value}
	case value.Kind == yaml.MappingNode:
		d.wrongType(p, value, expected)
		return nil
	case len(value.Content) == 0:
		d.fail(p, n, "%s: give at least one", whose)
		return nil
	}
	return value.Content
}

// singles reads a list of single values. If it needs at least one, a single
// value is a list of one, and the default is kept if there is an error.
func (d *decoder) singles(p config.Path, n *yaml.Node, k *config.Key, into reflect.Value) {
	var items []*yaml.Node
	if k.Some != "" {
		items = d.oneOrMore(p, n, k.Item, k.Some)
	} else {
		items = d.items(p, n, k)
	}
	if !d.OK(p) {
		return
	}
	list := reflect.Zero(into.Type())
	for i, node := range items {
		item := reflect.New(into.Type().Elem()).Elem()
		d.put(p.Index(i), node)
		d.single(p.Index(i), node, k.Item, k, item)
		list = reflect.Append(list, item)
	}
	into.Set(list)
}

// words reads a list of words, each of which sets a bool.
func (d *decoder) words(p config.Path, n *yaml.Node, k *config.Key, section reflect.Value) {
	words := map[string]bool{}
	for i, node := range d.oneOrMore(p, n, k.Want, k.Some) {
		path := p.Index(i)
		d.put(path, node)
		value, ok := d.scalar(path, node, k.Item)
		if !ok {
			d.spoil(p)
			continue
		}
		word := value.Value
		if err := config.CheckWord(k.Words, word); err != nil {
			d.fail(path, value, "%v", err)
			d.spoil(p)
		} else if words[word] {
			before := d.Place(p.Named(word))
			d.fail(p, value, "duplicate word %s (first on line %d)", hint.Quote(word), before.Line)
		}
		words[word] = true
		if !d.Given(p.Named(word)) {
			d.put(p.Named(word), value)
		}
	}
	if d.OK(p) {
		k.SetWords(section, words)
	}
}

// scalar reads any single value as its text. Numbers are text too: names and
// addresses may look like them.
func (d *decoder) scalar(p config.Path, n *yaml.Node, expected string) (*yaml.Node, bool) {
	n, ok := d.resolve(p, n)
	if !ok {
		return nil, false
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.wrongType(p, n, expected)
		return nil, false
	}
	if n, ok = d.expanded(p, n); !ok {
		return nil, false
	}
	d.values[p] = value{line: n.Line, col: n.Column, text: n.Value, single: true, given: true}
	return n, true
}

// single reads a text or a number.
func (d *decoder) single(p config.Path, n *yaml.Node, expected string, k *config.Key, into reflect.Value) bool {
	value, ok := d.scalar(p, n, expected)
	if !ok {
		return false
	}
	if number, whole := k.NeedsNumber(); number {
		tag := value.ShortTag()
		if tag != "!!int" && (whole || tag != "!!float") {
			d.wrongType(p, value, expected)
			return false
		}
	}
	if value.Value == "" && k.Optional {
		return true
	}
	if err := k.Parse(value.Value, into); err != nil {
		d.fail(p, value, "%v", err)
		return false
	}
	if path := into; k.IsPath() && path.String() != "" && !filepath.IsAbs(path.String()) {
		// So that the files can be moved together, and it doesn't matter where the
		// balancer is started.
		path.SetString(filepath.Join(filepath.Dir(d.name), path.String()))
	}
	return true
}

func (d *decoder) boolean(p config.Path, n *yaml.Node, into *bool) bool {
	n, ok := d.resolve(p, n)
	if !ok {
		return false
	}
	if n.Kind == yaml.ScalarNode {
		if n, ok = d.expanded(p, n); !ok {
			return false
		}
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
		d.wrongType(p, n, "true or false")
		return false
	}
	*into = strings.EqualFold(n.Value, "true")
	return true
}

// headers reads a mapping from names to values. The place of a header is that of
// its name.
func (d *decoder) headers(p config.Path, n *yaml.Node, k *config.Key, into *config.Headers) {
	entries, _ := d.entries(p, n, k.Want)
	for i, e := range entries {
		d.put(p.Index(i), e.key)
		text := ""
		if value, ok := d.scalar(p.Index(i).Key("value"), e.value, k.Item); ok {
			text = value.Value
		}
		*into = append(*into, [2]string{e.key.Value, text})
	}
}
