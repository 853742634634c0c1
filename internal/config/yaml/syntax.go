package yaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// parseYAML reads the one document of a file, up to the first error in its
// syntax.
func parseYAML(name string, data []byte) (*yaml.Node, *config.Error) {
	fail := func(line, col int, format string, args ...any) (*yaml.Node, *config.Error) {
		return nil, &config.Error{Place: config.Place{File: name, Line: line, Col: col}, Msg: fmt.Sprintf(format, args...)}
	}
	if len(data) > maxSize {
		return fail(0, 0, "larger than 1 MiB, this cannot be a configuration")
	}
	if at, ok := firstNonText(data); ok {
		line, col := position(data[:at])
		if c, size := utf8.DecodeRune(data[at:]); c != utf8.RuneError || size > 1 {
			return fail(line, col, "control character %U is not allowed in YAML", c)
		}
		return fail(line, col, "not UTF-8 text: save the file as UTF-8")
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return fail(0, 0, "%v", err)
	}
	var document, next yaml.Node
	switch err := loader.Load(&document); {
	case errors.Is(err, io.EOF):
		return fail(0, 0, "the file is empty: it needs listeners and pools")
	case err != nil:
		e := syntaxError(name, data, err)
		return nil, &e
	}
	switch err := loader.Load(&next); {
	case err == nil:
		return fail(next.Line, next.Column, "a second document begins here: write all into one")
	case !errors.Is(err, io.EOF):
		e := syntaxError(name, data, err)
		return nil, &e
	}
	return document.Content[0], nil
}

// firstNonText finds text that the YAML library would refuse without a position:
// bytes that are not UTF-8, and control characters (YAML 1.2 section 5.1).
func firstNonText(data []byte) (at int, ok bool) {
	for at < len(data) {
		c, size := utf8.DecodeRune(data[at:])
		switch {
		case c == utf8.RuneError && size == 1,
			c < ' ' && c != '\t' && c != '\n' && c != '\r',
			c >= 0x7f && c <= 0x9f && c != 0x85,
			c == 0xfffe, c == 0xffff,
			c == '\ufeff' && at > 0:
			return at, true
		}
		at += size
	}
	return 0, false
}

// position is the place after the text before.
func position(before []byte) (line, col int) {
	line = 1 + bytes.Count(before, []byte("\n"))
	last := before[bytes.LastIndexByte(before, '\n')+1:]
	return line, 1 + utf8.RuneCount(last)
}

// syntaxError reports an error of the YAML library, in our words if we have
// better ones.
func syntaxError(name string, data []byte, err error) config.Error {
	e, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return config.Error{Place: config.Place{File: name}, Msg: "not YAML: " + err.Error()}
	}
	at, msg := e.Mark, e.Message
	switch {
	case msg == "mapping values are not allowed in this context":
		msg = `a key cannot stand here: check the indentation, and put text with ": " in it in quotes`
	case msg == "found character that cannot start any token":
		msg = `text cannot begin with this character: put it in quotes`
		if tabAt(data, at) {
			msg = "a tab cannot indent YAML: use spaces"
		}
	case msg == "did not find expected key" || msg == "did not find expected '-' indicator":
		msg += ": check the indentation, and quotes"
	case msg == "found unexpected end of stream" && strings.Contains(e.ContextMsg, "quoted scalar"):
		at, msg = e.ContextMark, "this quote is never closed"
	case strings.HasPrefix(msg, "did not find expected ',' or") && endsBefore(data, at):
		at, msg = e.ContextMark, "this bracket is never closed"
	case strings.HasPrefix(msg, "did not find expected ',' or") && braceBefore(data, at):
		msg = "between brackets, a value with a variable in it such as ${PORT} needs quotes"
	case strings.HasPrefix(msg, "did not find expected ',' or"):
		msg = fmt.Sprintf("%s to go on with or end what line %d column %d opens",
			strings.Replace(msg, "did not find", "did not find the", 1), e.ContextMark.Line, e.ContextMark.Column)
	case strings.HasPrefix(msg, "unknown anchor"):
		msg += ": no & of this name stands above"
	}
	return config.Error{Place: config.Place{File: name, Line: at.Line, Col: at.Column}, Msg: "not YAML: " + msg}
}

// endsBefore reports whether data has nothing more at a mark.
func endsBefore(data []byte, at yaml.Mark) bool {
	line, col := position(data)
	return at.Line > line || at.Line == line && at.Column >= col
}

// braceBefore reports whether a variable begins just before a mark.
func braceBefore(data []byte, at yaml.Mark) bool {
	lines := strings.Split(string(data), "\n")
	if at.Line > len(lines) {
		return false
	}
	line := []rune(lines[at.Line-1])
	return strings.HasSuffix(string(line[:min(max(at.Column-1, 0), len(line))]), "$")
}

// tabAt reports whether a mark is on a tab.
func tabAt(data []byte, at yaml.Mark) bool {
	lines := strings.Split(string(data), "\n")
	if at.Line > len(lines) {
		return false
	}
	col := 0
	for _, c := range lines[at.Line-1] {
		if col++; col == at.Column {
			return c == '\t'
		}
	}
	return false
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
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
		return "the number " + hint.Cut(n.Value)
	case "!!str":
		return "the text " + hint.Quote(n.Value)
	}
	return hint.Quote(n.Value)
}
