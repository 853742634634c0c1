package haproxy

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// test is one comparison of an ACL: a fetch with patterns, one of which must match.
type test struct {
	sample
	method   string // as after -m, "" is the fetch's own
	fold     bool   // -i
	patterns []string
	line     *syntax.Line
	err      string // why it can't be evaluated
}

// acls are the tests of a proxy by name; those of one name are alternatives.
type acls map[string][]*test

// methods of -m.
var methods = []string{"bool", "int", "ip", "bin", "len", "str", "beg", "sub", "reg", "end", "dir", "dom", "found"}

// parseTest reads "FETCH FLAGS PATTERNS".
func (m *imp) parseTest(l *syntax.Line, words []string) *test {
	t := &test{line: l}
	if len(words) == 0 {
		m.fail(l, "the condition is empty")
		return nil
	}
	fetch := words[0]
	if name, rest, ok := strings.Cut(fetch, "("); ok {
		base, method := splitMethod(name)
		t.method, fetch = method, base+"("+rest
	} else if name, conv, ok := strings.Cut(fetch, ","); ok {
		base, method := splitMethod(name)
		t.method, fetch = method, base+","+conv
	} else {
		fetch, t.method = splitMethod(fetch)
	}
	e, err := parseSample(fetch)
	if err != nil {
		m.fail(l, "%v", err)
		return nil
	}
	t.sample = e
	words = words[1:]
flags:
	for len(words) > 0 {
		word := words[0]
		switch word {
		case "-i":
			t.fold = true
		case "-n", "-M":
		case "-u":
			words = words[min(1, len(words)):]
		case "-m":
			if len(words) < 2 || !slices.Contains(methods, words[1]) {
				m.fail(l, "-m wants a method: %s", strings.Join(methods, ", "))
				return nil
			}
			t.method, words = words[1], words[1:]
		case "-f":
			if len(words) < 2 {
				m.fail(l, "-f wants a file")
				return nil
			}
			list, err := m.readList(words[1])
			if err != nil {
				t.err = fmt.Sprintf("the file %s can't be read: %v", hint.Quote(words[1]), err)
			}
			t.patterns, words = append(t.patterns, list...), words[1:]
		case "--":
			words = words[1:]
			break flags
		default:
			break flags
		}
		words = words[1:]
	}
	t.patterns = append(t.patterns, words...)
	return t
}

// maxList bounds the patterns of a file.
const maxList = 20000

// readList reads a file of patterns, one on a line.
func (m *imp) readList(name string) ([]string, error) {
	if list, ok := m.lists[name]; ok {
		return list, nil
	}
	data, err := readFile(m.path(name))
	if err != nil {
		return nil, fmt.Errorf("%s", reason(err))
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			list = append(list, line)
		}
		if len(list) > maxList {
			return nil, fmt.Errorf("it has more than %d lines", maxList)
		}
	}
	m.lists[name] = list
	return list, nil
}

// path is a file that a line names.
func (m *imp) path(name string) string {
	if m.base == "" || strings.HasPrefix(name, "/") {
		return name
	}
	return strings.TrimSuffix(m.base, "/") + string(os.PathSeparator) + name
}

// readACL adds the test of a line "acl NAME ...".
func (m *imp) readACL(p *proxy, l *syntax.Line) {
	name := l.Arg(1)
	switch {
	case name == "" || len(l.Words) < 3:
		m.fail(l, "acl wants a name and a test, as in acl ws path_beg /ws")
		return
	case name == "or" || name == "and" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:") != "":
		m.fail(l, "bad name of an ACL %s", hint.Quote(name))
		return
	}
	if t := m.parseTest(l, l.Args(2)); t != nil {
		p.acls[name] = append(p.acls[name], t)
	}
}

// predefined ACLs, in the words of a test. A proxy's own of that name come first.
var predefined = map[string]string{
	"FALSE": "always_false", "TRUE": "always_true", "HTTP": "always_true", "WAIT_END": "always_true", "REQ_CONTENT": "always_true",
	"HTTP_1.0": "req.ver 1.0", "HTTP_1.1": "req.ver 1.1", "HTTP_2.0": "req.ver 2.0",
	"HTTP_CONTENT": "req.hdr_val(content-length) gt 0", "HTTP_URL_ABS": "url_reg ^[^/:]*://", "HTTP_URL_SLASH": "path_beg /", "HTTP_URL_STAR": "url *",
	"LOCALHOST": "src 127.0.0.0/8 ::1", "METH_CONNECT": "method CONNECT", "METH_DELETE": "method DELETE", "METH_GET": "method GET HEAD", "METH_HEAD": "method HEAD",
	"METH_OPTIONS": "method OPTIONS", "METH_POST": "method POST", "METH_PUT": "method PUT", "METH_TRACE": "method TRACE", "RDP_COOKIE": "rdp_cookie_cnt gt 0",
}

// cond is what stands after if or unless: alternatives, each a list of literals that must
// all hold.
type cond struct {
	unless bool
	any    [][]literal
	line   *syntax.Line
}

type literal struct {
	not   bool
	tests []*test // one must hold
}

// parseCond reads the words from "if" or "unless" on. Without any it returns nil, which
// always holds. ok is false after an error.
func (m *imp) parseCond(p *proxy, l *syntax.Line, words []string) (c *cond, ok bool) {
	if len(words) == 0 {
		return nil, true
	}
	if words[0] != "if" && words[0] != "unless" {
		m.fail(l, "expected if or unless, got %s%s", hint.Quote(words[0]), hint.DidYouMean(words[0], []string{"if", "unless"}))
		return nil, false
	}
	c = &cond{unless: words[0] == "unless", line: l, any: [][]literal{nil}}
	not := false
	for words = words[1:]; len(words) > 0; words = words[1:] {
		word := words[0]
		last := &c.any[len(c.any)-1]
		switch word {
		case "or", "||":
			c.any = append(c.any, nil)
			continue
		case "and", "&&":
			continue
		}
		for ; strings.HasPrefix(word, "!"); word = word[1:] {
			not = !not
		}
		if word == "" {
			continue
		}
		lit := literal{not: not}
		not = false
		if word == "{" {
			end := slices.Index(words, "}")
			if end < 0 {
				m.fail(l, "a brace isn't closed: write { TEST } with space around the braces")
				return nil, false
			}
			t := m.parseTest(l, words[1:end])
			if t == nil {
				return nil, false
			}
			lit.tests, words = []*test{t}, words[end:]
		} else if lit.tests = p.acls[word]; lit.tests == nil {
			text, ok := predefined[word]
			if !ok {
				var names []string
				for name := range p.acls {
					names = append(names, name)
				}
				slices.Sort(names)
				m.fail(l, "there is no ACL %s%s", hint.Quote(word), hint.DidYouMean(word, names))
				return nil, false
			}
			lit.tests = []*test{m.parseTest(l, strings.Fields(text))}
		}
		*last = append(*last, lit)
	}
	for _, all := range c.any {
		if len(all) == 0 {
			m.fail(l, "the condition is incomplete")
			return nil, false
		}
	}
	return c, true
}

// splitCond separates the words of a rule from its condition. A word if or unless within
// braces isn't one.
func splitCond(words []string) (rule, cond []string) {
	for i, w := range words {
		if w == "if" || w == "unless" {
			return words[:i], words[i:]
		}
	}
	return words, nil
}
