package yaml

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Variables are replaced in values after the file was parsed, so that what they stand for
// is always a part of one value. Those of header templates have names in lower case, and
// stay.

// reference is the beginning of a variable. With more than one dollar sign it stands for
// itself, with one less.
var reference = regexp.MustCompile(`\$+\{([A-Z_]|file:)`)

// variable is a whole one: an environment variable, perhaps with a default, or the
// content of a file.
var variable = regexp.MustCompile(`^\$\{(?:([A-Z_][A-Z0-9_]*)(:-[^}]*)?|file:([^}]*))\}`)

// What a variable stands for may be a number, whether or not it is in quotes.
var (
	integer = regexp.MustCompile(`^[-+]?[0-9]+$`)
	decimal = regexp.MustCompile(`^[-+]?([0-9]+\.?|[0-9]*\.[0-9]+)([eE][-+]?[0-9]+)?$`)
)

// escapeVariables writes a text so that no variable is read in it.
func escapeVariables(s string) string { return reference.ReplaceAllString(s, "$$$0") }

// expand replaces the variables in the text of a value. used reports whether there are any.
func (d *decoder) expand(s string) (text string, used bool, err error) {
	if !strings.Contains(s, "${") {
		return s, false, nil
	}
	var b strings.Builder
	for {
		at := reference.FindStringIndex(s)
		if at == nil {
			b.WriteString(s)
			return b.String(), used, nil
		}
		brace := at[0] + strings.IndexByte(s[at[0]:], '{')
		b.WriteString(s[:at[0]])
		if s = s[brace-1:]; brace-at[0] > 1 {
			b.WriteString(strings.Repeat("$", brace-at[0]-1) + "{")
			s = s[len("${"):]
			continue
		}
		m := variable.FindStringSubmatch(s)
		if m == nil {
			return "", true, fmt.Errorf("%s is no variable: write ${NAME}, ${NAME:-default} or ${file:PATH}, or $${ for the text ${", hint.Quote(s))
		}
		if d.env == nil {
			return "", true, fmt.Errorf("%s can't be used here: write the value itself, or $${ for the text ${", hint.Quote(m[0]))
		}
		value, err := d.valueOf(m)
		if err != nil {
			return "", true, err
		}
		b.WriteString(value)
		s, used = s[len(m[0]):], true
	}
}

// valueOf is what a variable stands for.
func (d *decoder) valueOf(m []string) (string, error) {
	if m[1] == "" {
		return d.fileOf(m[3])
	}
	value, set := d.env(m[1])
	byDefault, hasDefault := strings.CutPrefix(m[2], ":-")
	switch {
	case hasDefault && value == "":
		return byDefault, nil
	case !set:
		return "", fmt.Errorf("the environment variable %s isn't set: set it, or give a default, as in ${%s:-default}", m[1], m[1])
	case strings.IndexFunc(value, isControl) >= 0 || !utf8.ValidString(value):
		return "", fmt.Errorf("the environment variable %s has bytes in it that aren't text", m[1])
	}
	return value, nil
}

func isControl(c rune) bool { return c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f }

// maxSecret bounds a file whose content is a value, in bytes.
const maxSecret = 64 << 10

// fileOf is the content of a file, without the line break at its end. Its path is relative
// to the file that names it.
func (d *decoder) fileOf(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path is missing: write for example ${file:cookie.secret}")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(d.name), path)
	}
	if text, ok := d.files[path]; ok {
		return text, nil
	}
	bad := func(err error) (string, error) {
		return "", fmt.Errorf("%s: %s", path, reason(err))
	}
	// A named pipe would be waited for, and a device may have no end.
	if info, err := os.Stat(path); err != nil {
		return bad(err)
	} else if !info.Mode().IsRegular() {
		return bad(&fs.PathError{Err: errors.New("it is no regular file")})
	}
	f, err := os.Open(path)
	if err != nil {
		return bad(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case err != nil:
		return bad(err)
	case len(data) > maxSecret:
		return "", fmt.Errorf("%s: larger than %d bytes, this cannot be a value", path, maxSecret)
	case text == "":
		return "", fmt.Errorf("%s: the file is empty", path)
	case strings.IndexFunc(text, isControl) >= 0 || !utf8.ValidString(text):
		return "", fmt.Errorf("%s: the file has bytes in it that aren't text", path)
	}
	d.files[path] = text
	return text, nil
}

// expanded returns the node of a single value with its variables replaced.
func (d *decoder) expanded(p config.Path, n *yaml.Node) (*yaml.Node, bool) {
	text, used, err := d.expand(n.Value)
	if err != nil {
		d.fail(p, n, "%v", err)
		return nil, false
	}
	if !used {
		if text == n.Value {
			return n, true
		}
		with := *n
		with.Value = text
		return &with, true
	}
	d.hidden = append(d.hidden, hidden{p, text, n.Value})
	// Quotes may be needed because of the braces, so they don't matter. It is something,
	// whatever it looks like.
	tag := "!!str"
	switch {
	case integer.MatchString(text):
		tag = "!!int"
	case decimal.MatchString(text):
		tag = "!!float"
	case strings.EqualFold(text, "true") || strings.EqualFold(text, "false"):
		tag = "!!bool"
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text, Line: n.Line, Column: n.Column}, true
}

// hidden is a value with variables. Nobody should read in a log what these stand for: it
// may be a secret.
type hidden struct {
	path    config.Path
	value   string
	written string // in the file
}

// Hide takes values that come from variables out of an error.
func (f *File) Hide(e config.Error) config.Error {
	for i := range f.hidden {
		if h := &f.hidden[i]; h.path == e.Path || len(h.value) >= leastHidden {
			e.Msg = h.hide(e.Msg, h.path == e.Path)
		}
	}
	return e
}

// leastHidden is how long a value is that is looked for in all errors.
const leastHidden = 4

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// hide takes the value out of a message. own says that the message is about it.
func (h *hidden) hide(msg string, own bool) string {
	for _, shown := range []string{strconv.Quote(h.value), hint.Quote(h.value)} {
		msg = strings.ReplaceAll(msg, shown, strconv.Quote(h.written))
	}
	if own {
		for _, before := range []string{" got ", " number "} {
			if at, ok := strings.CutSuffix(msg, before+hint.Cut(h.value)); ok {
				msg = at + before + h.written
			}
		}
	}
	rest, value := strings.ReplaceAll(msg, h.written, ""), strings.ToLower(h.value)
	shows := len(value) >= leastHidden && strings.Contains(strings.ToLower(rest), value)
	for _, q := range quoted.FindAllString(rest, -1) {
		part, err := strconv.Unquote(q)
		part = strings.ToLower(strings.TrimSuffix(part, "…"))
		shows = shows || err == nil && len(part) > 1 && (own || len(part) >= leastHidden) && strings.Contains(value, part)
	}
	if shows {
		return fmt.Sprintf("what %s stands for can't be used here", h.written)
	}
	return msg
}
