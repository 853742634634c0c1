package config

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// decoder reads values out of YAML nodes. Each of its methods reports what is
// wrong and then returns false.
type decoder struct {
	*report
	file string
	// aliased counts the nodes read by way of aliases, sizes those below an
	// anchor.
	aliased int
	sizes   map[*yaml.Node]int
}

// maxAliased bounds the nodes read by way of aliases, so that a small file
// cannot become a huge configuration.
const maxAliased = 100_000

func (d *decoder) at(n *yaml.Node) place {
	return place{d.file, Pos{n.Line, n.Column}}
}

// value follows an alias to the node to read.
func (d *decoder) value(n *yaml.Node) (*yaml.Node, bool) {
	if n.Kind == yaml.AliasNode {
		if d.aliased > maxAliased {
			return nil, false
		}
		d.aliased += d.size(n.Alias)
		if d.aliased > maxAliased {
			d.fail(d.at(n), "too much is repeated by aliases: they may stand for %d values together", maxAliased)
			return nil, false
		}
		n = n.Alias
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fail(d.at(n), "tags such as %s are not supported: leave it out", quote(n.Tag))
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

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// wrongType reports that n is not what was expected.
func (d *decoder) wrongType(n *yaml.Node, expected string) {
	d.fail(d.at(n), "expected %s, got %s", expected, describe(n))
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case isNull(n):
		return "nothing"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "the number " + cut(n.Value)
	case "!!str":
		return "the text " + quote(n.Value)
	}
	return quote(n.Value)
}

// key is one key that a mapping may have, and how its value is read.
type key[T any] struct {
	name string
	read func(d *decoder, n *yaml.Node, into *T)
	// missing is the message when the key is not there; empty if it need not
	// be.
	missing string
}

func names[T any](keys []key[T]) []string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = k.name
	}
	return list
}

// readMapping reads the values of a mapping into a T, in the order of keys.
// Nothing counts as an empty mapping. What is missing is reported at missing.
// A key that is misspelt is not missing too; these are returned by their right
// names.
func readMapping[T any](d *decoder, n *yaml.Node, expected string, missing place, keys []key[T], into *T) (misspelt []string, ok bool) {
	entries, ok := d.entries(n, expected)
	if !ok {
		return nil, false
	}
	known := names(keys)
	values := make(map[string]*yaml.Node, len(entries))
	for _, e := range entries {
		if !slices.Contains(known, e.key) {
			near := nearest(e.key, known)
			if near != "" {
				misspelt = append(misspelt, near)
				d.fail(e.at, "unknown key %s (did you mean %q?)", quote(e.key), near)
			} else {
				d.fail(e.at, "unknown key %s (known here: %s)", quote(e.key), strings.Join(known, ", "))
			}
			continue
		}
		values[e.key] = e.value
	}
	for _, k := range keys {
		if value, ok := values[k.name]; ok {
			k.read(d, value, into)
		} else if k.missing != "" && !slices.Contains(misspelt, k.name) {
			d.fail(missing, "%s", k.missing)
		}
	}
	return misspelt, true
}

// entry is a key of a mapping as it stands in the file.
type entry struct {
	key   string
	at    place
	value *yaml.Node
}

// entries lists a mapping's keys in the order of the file, each once.
func (d *decoder) entries(n *yaml.Node, expected string) ([]entry, bool) {
	n, ok := d.value(n)
	if !ok {
		return nil, false
	}
	if isNull(n) {
		return nil, true
	}
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, expected)
		return nil, false
	}
	var list []entry
	seen := make(map[string]place, len(n.Content)/2)
	for pair := range slices.Chunk(n.Content, 2) {
		k, at := pair[0], d.at(pair[0])
		if k.Kind != yaml.ScalarNode || k.Style&yaml.TaggedStyle != 0 {
			d.fail(at, "a key must be plain text")
			continue
		}
		if k.ShortTag() == "!!merge" {
			// What would have come this way cannot be told from what is missing.
			d.fail(at, `merge keys ("<<") are not supported: write the keys out`)
			return nil, false
		}
		if before, ok := seen[k.Value]; ok {
			d.fail(at, "duplicate key %s (first %s)", quote(k.Value), before.earlier())
			continue
		}
		seen[k.Value] = at
		list = append(list, entry{k.Value, at, pair[1]})
	}
	return list, true
}

// list reads the items of a list. Nothing counts as an empty list.
func (d *decoder) list(n *yaml.Node, expected string) ([]*yaml.Node, bool) {
	n, ok := d.value(n)
	if !ok {
		return nil, false
	}
	if isNull(n) {
		return nil, true
	}
	if n.Kind != yaml.SequenceNode {
		d.wrongType(n, expected)
		return nil, false
	}
	return n.Content, true
}

// oneOrMore reads the items of a list, or a single value as a list of one.
// whose says in the error for an empty list what needs an item.
func (d *decoder) oneOrMore(n *yaml.Node, expected, whose string) ([]*yaml.Node, bool) {
	value, ok := d.value(n)
	if !ok {
		return nil, false
	}
	switch {
	case value.Kind == yaml.ScalarNode && !isNull(value):
		return []*yaml.Node{value}, true
	case value.Kind == yaml.MappingNode:
		d.wrongType(value, expected)
		return nil, false
	case len(value.Content) == 0:
		d.fail(d.at(n), "%s: give at least one", whose)
		return nil, false
	}
	return value.Content, true
}

// scalar reads any single value as its text. Numbers are text too: names and
// addresses may look like them.
func (d *decoder) scalar(n *yaml.Node, expected string) (text located[string], ok bool) {
	n, ok = d.value(n)
	if !ok {
		return text, false
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.wrongType(n, expected)
		return text, false
	}
	return located[string]{n.Value, d.at(n), true}, true
}

func (d *decoder) name(n *yaml.Node) located[string] {
	text, ok := d.scalar(n, "a name")
	if !ok {
		return located[string]{}
	}
	return d.checkName(text)
}

func (d *decoder) boolean(n *yaml.Node) *bool {
	n, ok := d.value(n)
	if !ok {
		return nil
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
		d.wrongType(n, "true or false")
		return nil
	}
	value := strings.EqualFold(n.Value, "true")
	return &value
}

// integer reads a number from lowest to highest. It leaves into alone when
// there is a mistake.
func (d *decoder) integer(n *yaml.Node, into *int, lowest, highest int) bool {
	n, ok := d.value(n)
	if !ok {
		return false
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
		d.wrongType(n, "a whole number")
		return false
	}
	number, err := strconv.Atoi(n.Value)
	if err != nil || number < lowest || number > highest {
		d.fail(d.at(n), "expected a number from %d to %d, got %s", lowest, highest, cut(n.Value))
		return false
	}
	*into = number
	return true
}

// weight reads a backend's weight.
func (d *decoder) weight(n *yaml.Node, into *int) {
	value, ok := d.value(n)
	if ok && value.Value == "0" && value.ShortTag() == "!!int" {
		d.fail(d.at(value), "weight 0 is not allowed: to send a backend nothing, leave it out")
	} else if ok {
		d.integer(value, into, 1, maxWeight)
	}
}

// choice reads one of a few words. It leaves into alone when there is a
// mistake.
func (d *decoder) choice(n *yaml.Node, into *string, words ...string) bool {
	expected := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	text, ok := d.scalar(n, expected)
	switch {
	case !ok:
	case slices.Contains(words, text.value):
		*into = text.value
		return true
	default:
		d.fail(text.at, "expected %s, got %s%s", expected, quote(text.value), didYouMean(text.value, words))
	}
	return false
}

// parsed reads text in a form that parse checks and normalises. It leaves into
// alone when there is a mistake.
func (d *decoder) parsed(n *yaml.Node, into *string, expected string, parse func(string) (string, error)) {
	text, ok := d.scalar(n, expected)
	if !ok {
		return
	}
	value, err := parse(text.value)
	if err != nil {
		d.fail(text.at, "%v", err)
		return
	}
	*into = value
}
