// Package syntax reads YAML with several documents, or JSON, into a tree whose nodes know
// where they stand. It knows nothing of Kubernetes.
package syntax

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Kind is the kind of a Node.
type Kind uint8

const (
	Null Kind = iota // nothing was written
	Scalar
	List
	Map
)

func (k Kind) String() string {
	return [...]string{"nothing", "a single value", "a list", "a mapping"}[k]
}

// Pos is a place in a text. Line and column count from 1, the column in characters.
type Pos struct{ Line, Col int }

// Node is a value. It is never changed, and the same node may occur several times.
type Node struct {
	Pos
	Kind   Kind
	Text   string  // of a Scalar
	Fields []Field // of a Map, in the order of the file
	Items  []*Node // of a List
}

// Field is a key of a Map and its value.
type Field struct {
	Pos   // of the key
	Key   string
	Value *Node
}

// Get returns the value of a key. It is nil if there is none or if n isn't a Map; n may be
// nil.
func (n *Node) Get(path ...string) *Node {
	for _, key := range path {
		if n == nil {
			return nil
		}
		var found *Node
		for i := range n.Fields {
			if n.Fields[i].Key == key {
				found = n.Fields[i].Value
				break
			}
		}
		n = found
	}
	if n != nil && n.Kind == Null {
		return nil
	}
	return n
}

// Error is what is wrong with a text.
type Error struct {
	Pos
	Msg string
}

func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Msg) }

const (
	// MaxSize bounds a text in bytes. An export of a large cluster has some MiB.
	MaxSize = 16 << 20
	// maxNodes bounds the nodes that a text becomes, those repeated by aliases included.
	maxNodes = 4_000_000
	// maxAliased bounds those that are repeated by aliases.
	maxAliased = 100_000
	// maxDepth bounds how deep values are nested. Objects of Kubernetes are far below it.
	maxDepth = 100
)

// Parse reads all documents of a text. Empty ones are left out. The error is an *Error.
func Parse(data []byte) ([]*Node, error) {
	if len(data) > MaxSize {
		return nil, &Error{Msg: fmt.Sprintf("larger than %d MiB", MaxSize>>20)}
	}
	if at, ok := firstNonText(data); ok {
		return nil, &Error{position(data[:at]), "not text in UTF-8: save the file as UTF-8, without control characters"}
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, &Error{Msg: err.Error()}
	}
	var documents []*Node
	r := reader{}
	for {
		var document yaml.Node
		switch err := loader.Load(&document); {
		case errors.Is(err, io.EOF):
			return documents, nil
		case err != nil:
			return nil, syntaxError(data, err)
		}
		if len(document.Content) == 0 {
			continue
		}
		n, bad := r.node(document.Content[0], 0, false)
		if bad != nil {
			return nil, bad
		}
		if n.Kind != Null {
			documents = append(documents, n)
		}
	}
}

// reader turns nodes of the YAML library into ours.
type reader struct{ nodes, aliased int }

func (r *reader) node(y *yaml.Node, depth int, repeated bool) (*Node, *Error) {
	pos := Pos{y.Line, y.Column}
	if y.Kind == yaml.AliasNode {
		y, repeated = y.Alias, true
	}
	r.nodes++
	if repeated {
		r.aliased++
	}
	switch {
	case depth > maxDepth:
		return nil, &Error{pos, fmt.Sprintf("values are nested more than %d deep", maxDepth)}
	case r.aliased > maxAliased:
		return nil, &Error{pos, fmt.Sprintf("too much is repeated by aliases: they may stand for %d values together", maxAliased)}
	case r.nodes > maxNodes:
		return nil, &Error{pos, fmt.Sprintf("more than %d values", maxNodes)}
	}
	n := &Node{Pos: Pos{y.Line, y.Column}}
	switch y.Kind {
	case yaml.ScalarNode:
		if y.ShortTag() != "!!null" {
			n.Kind, n.Text = Scalar, y.Value
		}
	case yaml.SequenceNode:
		n.Kind = List
		for _, item := range y.Content {
			child, err := r.node(item, depth+1, repeated)
			if err != nil {
				return nil, err
			}
			n.Items = append(n.Items, child)
		}
	case yaml.MappingNode:
		n.Kind = Map
		known := make(map[string]int, len(y.Content)/2)
		for i := 0; i+1 < len(y.Content); i += 2 {
			key := y.Content[i]
			at := Pos{key.Line, key.Column}
			if key.Kind == yaml.AliasNode {
				key = key.Alias
			}
			if key.Kind != yaml.ScalarNode {
				return nil, &Error{at, "a key must be a single value"}
			}
			if key.ShortTag() == "!!merge" {
				return nil, &Error{at, "merge keys (<<) are not supported: write out what is merged"}
			}
			if first, again := known[key.Value]; again {
				return nil, &Error{at, fmt.Sprintf("duplicate key %s (first in line %d)", hint.Quote(key.Value), first)}
			}
			known[key.Value] = at.Line
			child, err := r.node(y.Content[i+1], depth+1, repeated)
			if err != nil {
				return nil, err
			}
			n.Fields = append(n.Fields, Field{at, key.Value, child})
		}
	}
	return n, nil
}

// firstNonText finds what the YAML library refuses without a position: bytes that aren't
// UTF-8, and control characters (YAML 1.2 section 5.1).
func firstNonText(data []byte) (at int, ok bool) {
	for at < len(data) {
		c, size := utf8.DecodeRune(data[at:])
		if c == utf8.RuneError && size == 1 || c < ' ' && c != '\t' && c != '\n' && c != '\r' ||
			c >= 0x7f && c <= 0x9f && c != 0x85 || c == 0xfffe || c == 0xffff || c == '\ufeff' && at > 0 {
			return at, true
		}
		at += size
	}
	return 0, false
}

// position is the place after the text before.
func position(before []byte) Pos {
	last := before[bytes.LastIndexByte(before, '\n')+1:]
	return Pos{1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(last)}
}

// syntaxError reports an error of the YAML library.
func syntaxError(data []byte, err error) *Error {
	e, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return &Error{Msg: "not YAML: " + err.Error()}
	}
	pos, msg := Pos{e.Mark.Line, e.Mark.Column}, e.Message
	switch {
	case bytes.Contains(data, []byte("{{")):
		msg += ": templates must be rendered first, as by helm template"
	case msg == "mapping values are not allowed in this context":
		msg = `a key cannot stand here: check the indentation, and put text with ": " in it in quotes`
	case strings.HasPrefix(msg, "did not find expected"):
		msg += ": check the indentation, and quotes"
	}
	return &Error{pos, "not YAML: " + msg}
}
