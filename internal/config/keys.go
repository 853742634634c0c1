package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// Key is one key of a section. The struct fields of the model describe their
// keys by tags, so that file formats and Validate go by one description:
//
//	key:"NAME"        the key; NAME=WORD is one of several bool fields that a list of words sets
//	want:"..."        what the value is, in errors, such as "a duration such as 5s"
//	item:"..."        the same for an item of a list or mapping
//	some:"..."        a list that needs an item; what is wrong without one, in errors
//	as:"..."          the grammar of a text or number, see grammars
//	empty:"ok"        an empty text counts as left out
//	zero:"unset"      0 or "" stands for a value that was left out, and has no bounds
//	words:"..."       the words that a text may be
//	range:"A..B"      the bounds of a number or duration; "0|A..B" also allows 0
//	example:"..."     an address, for errors
//	write:"always"    a file must give the value, also if it is zero
//
// A section is a struct with keys. A field that points to one is an optional
// section; if its type has a method SetDefaults, that is called before the
// section is read. The keys of an embedded struct are keys of the section.
type Key struct {
	Name  string
	Want  string
	Item  string
	Some  string
	Words []string
	// Optional: an empty text counts as left out.
	Optional bool
	// Always: a value of zero isn't a default, so a file must give it.
	Always  bool
	grammar *grammar
	as      string
	unset   bool // 0 stands for a value that was left out
	bounds  bounds
	example string

	field []int    // the index of its field, as of reflect.Value.FieldByIndex
	flags []boolOf // of several bool fields
}

// boolOf is the bool field that a word sets.
type boolOf struct {
	word  string
	field []int
}

// Defaulter is a section whose values are not all zero by default. All defaults of
// docs/config.md are in a method SetDefaults or in a function beside the type,
// except three that depend on other values: the name of a listener or backend is
// its address, admit.burst is a quarter of its rate, and hash.key is client_ip.
// Validate sets those.
type Defaulter interface{ SetDefaults() }

// Shorthand is a section that a file may give by the value of one key alone, if that is
// no mapping. The method is called for a zero value.
type Shorthand interface{ Short() (key string) }

// ShortKey returns the key of a section that its value may stand for.
func ShortKey(section reflect.Type) (k *Key, ok bool) {
	short, ok := reflect.New(section).Interface().(Shorthand)
	if !ok {
		return nil, false
	}
	keys := KeysOf(section)
	for i := range keys {
		if keys[i].Name == short.Short() {
			return &keys[i], true
		}
	}
	panic("config: the key of a shorthand is missing")
}

// SetDefaults sets the defaults of a section that has just been made.
func SetDefaults(section any) {
	switch s := section.(type) {
	case Defaulter:
		s.SetDefaults()
	case *session.Reattach:
		*s = session.Reattach{Drain: true, Loss: true, Rebalance: true, Timeout: 10 * time.Second}
	}
}

var keysByType sync.Map // reflect.Type to []Key

// KeysOf lists the keys of a section, in the order of docs/config.md. It is
// empty for a type that is no section.
func KeysOf(section reflect.Type) []Key {
	if keys, ok := keysByType.Load(section); ok {
		return keys.([]Key)
	}
	var keys []Key
	for _, f := range reflect.VisibleFields(section) { // those of an embedded struct follow it
		name, word, isFlag := strings.Cut(f.Tag.Get("key"), "=")
		if name == "" {
			continue
		}
		if last := len(keys) - 1; isFlag && last >= 0 && keys[last].Name == name {
			keys[last].flags = append(keys[last].flags, boolOf{word, f.Index})
			keys[last].Words = append(keys[last].Words, word)
			continue
		}
		k := Key{
			Name: name, Want: f.Tag.Get("want"), Item: f.Tag.Get("item"), Some: f.Tag.Get("some"),
			Optional: f.Tag.Get("empty") == "ok", Always: f.Tag.Get("write") == "always", unset: f.Tag.Get("zero") == "unset", as: f.Tag.Get("as"), example: f.Tag.Get("example"), field: f.Index,
		}
		if k.Words = strings.Fields(f.Tag.Get("words")); k.as == "algorithm" {
			k.Words = Algorithms
		}
		if len(k.Words) > 0 {
			k.Want = either(k.Words)
		}
		if isFlag {
			k.flags, k.Words, k.field = []boolOf{{word, f.Index}}, []string{word}, nil
		} else {
			k.describe(f)
		}
		keys = append(keys, k)
	}
	keysByType.Store(section, keys)
	return keys
}

// describe finds the grammar and the bounds of a field's value.
func (k *Key) describe(f reflect.StructField) {
	as := k.as
	switch {
	case as != "":
	case f.Type == typeDuration:
		as = "duration"
	case f.Type.Kind() == reflect.Int:
		as = "integer"
	}
	k.grammar = grammars[as]
	if k.grammar == nil {
		if as == "" || as == "algorithm" || as == "token source" || as == "answer source" || as == "backend" || as == "listener" || as == "failed status" {
			return
		}
		panic(fmt.Sprintf("config: key %s: there is no grammar %q", k.Name, as))
	}
	if k.Want == "" {
		k.Want = k.grammar.want
	}
	k.bounds = k.grammar.bounds
	if text := f.Tag.Get("range"); text != "" {
		k.bounds = parseBounds(k.grammar, text)
	}
	k.as = as
}

// Grammar names the grammar of a text or number, such as "duration" or "integer"; "" is
// text with a type of its own, or no single value. See grammars.
func (k *Key) Grammar() string { return k.as }

// Bounds returns the lowest and the highest number, or duration in nanoseconds, and whether
// 0 is allowed besides. ok is false if it has no bounds of that kind.
func (k *Key) Bounds() (lo, hi float64, zero, ok bool) {
	return k.bounds.lo, k.bounds.hi, k.bounds.zero, k.bounds.hi > 0
}

// ZeroIsUnset reports whether 0 stands for a value that was left out.
func (k *Key) ZeroIsUnset() bool { return k.unset }

// Flags lists the words of a key that is a list of words, see Key.
func (k *Key) Flags() (words []string, ok bool) { return k.Words, k.flags != nil }

// Type returns the type of the field of a key in its section; nil if it has several.
func (k *Key) Type(section reflect.Type) reflect.Type {
	if k.flags != nil {
		return nil
	}
	return section.FieldByIndex(k.field).Type
}

// Names lists the names of keys.
func Names(keys []Key) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Name
	}
	return names
}

// Field returns the field of a section that the key's value is in. It is
// invalid if SetWords sets several.
func (k *Key) Field(section reflect.Value) reflect.Value {
	if k.flags != nil {
		return reflect.Value{}
	}
	return section.FieldByIndex(k.field)
}

// SetWords sets the bool fields of a key that is a list of words: those of the
// words to true, the others to false.
func (k *Key) SetWords(section reflect.Value, words map[string]bool) {
	for _, f := range k.flags {
		section.FieldByIndex(f.field).SetBool(words[f.word])
	}
}

// NeedsNumber reports whether a file format that tells numbers from text must
// give a number here, and whether it must be whole.
func (k *Key) NeedsNumber() (number, whole bool) {
	if k.grammar == nil {
		return false, false
	}
	return k.grammar.number, k.grammar.whole
}

// IsPath reports whether the value is the path of a file or folder. A file format makes
// it relative to its own folder.
func (k *Key) IsPath() bool { return k.as == "file" || k.as == "folder" }

// either joins words to "a, b or c".
func either(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// IsSection reports whether t is a struct with keys.
func IsSection(t reflect.Type) bool { return t.Kind() == reflect.Struct && len(KeysOf(t)) > 0 }

// IsNamed reports whether the sections of type t in a list are named: in a file, their
// names are the keys of a mapping. Such a type has a field Name that isn't one of its
// own keys.
func IsNamed(t reflect.Type) bool {
	_, ok := t.FieldByName("Name")
	return ok && !slices.ContainsFunc(KeysOf(t), func(k Key) bool { return k.Name == "name" })
}

// Path names a value of a Config: pools.chat.backends[0].address. The zero Path
// is the whole.
type Path string

// Key is the path of a key in p.
func (p Path) Key(name string) Path {
	if p == "" {
		return Path(name)
	}
	return p + "." + Path(name)
}

// Named is the path of an entry in p that users named; a name with other
// characters than letters, digits, hyphens and underscores is in quotes. Names
// that are longer than names may be are cut.
func (p Path) Named(name string) Path {
	if len(name) > maxName {
		name = name[:maxName] + "…"
	}
	if name == "" || strings.ContainsFunc(name, func(c rune) bool {
		return !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_')
	}) {
		return Path(fmt.Sprintf("%s[%q]", p, name))
	}
	return p.Key(name)
}

// Index is the path of an item of a list, counted from 0.
func (p Path) Index(i int) Path { return p + "[" + Path(strconv.Itoa(i)) + "]" }

// Parent is the path of the section or list around p.
func (p Path) Parent() (parent Path, ok bool) {
	if p == "" {
		return "", false
	}
	end := strings.LastIndexAny(string(p), ".[")
	if strings.HasSuffix(string(p), `"]`) { // a name, in which quotes are escaped
		end = strings.LastIndex(string(p), `["`)
	}
	return p[:max(0, end)], true
}
