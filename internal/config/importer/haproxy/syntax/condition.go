package syntax

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// block is an open .if.
type block struct {
	num, col int
	on       bool // the lines that follow count
	by       int  // the line that says so
	done     bool // a branch has been taken
	outer    bool // the block around it counts
	last     bool // .else has been seen
}

// offBy returns the line whose condition doesn't hold, 0 if all do.
func (p *Parser) offBy() int {
	for _, b := range p.blocks {
		if !b.on {
			return b.by
		}
	}
	return 0
}

// maxBlocks bounds how deep blocks are nested.
const maxBlocks = 64

func (p *Parser) control(l *Line) {
	var top *block
	if n := len(p.blocks); n > 0 {
		top = &p.blocks[n-1]
	}
	word := l.Arg(0)
	switch word {
	case ".elif", ".else", ".endif":
		if top == nil {
			p.fail(l.Num, l.Col, "%s without .if", word)
			return
		}
	}
	switch word {
	case ".if":
		if len(p.blocks) == maxBlocks {
			p.fail(l.Num, l.Col, "more than %d blocks in each other", maxBlocks)
			return
		}
		b := block{num: l.Num, col: l.Col, by: l.Num, outer: p.offBy() == 0}
		b.on = b.outer && p.holds(l)
		b.done = b.on
		p.blocks = append(p.blocks, b)
	case ".elif", ".else":
		if top.last {
			p.fail(l.Num, l.Col, "%s after .else", word)
			return
		}
		top.on, top.by, top.last = top.outer && !top.done && (word == ".else" || p.holds(l)), l.Num, word == ".else"
		top.done = top.done || top.on
	case ".endif":
		p.blocks = p.blocks[:len(p.blocks)-1]
	case ".alert":
		if p.offBy() == 0 {
			p.fail(l.Num, l.Col, "the file itself stops here: %s", hint.Quote(strings.Join(l.Args(1), " ")))
		}
	case ".diag", ".notice", ".warning":
	default:
		if p.offBy() == 0 {
			p.fail(l.Num, l.Col, "unknown %s%s", hint.Quote(word), hint.DidYouMean(word, []string{".if", ".elif", ".else", ".endif", ".diag", ".notice", ".warning", ".alert"}))
		}
	}
}

// holds evaluates the condition of a line.
func (p *Parser) holds(l *Line) bool {
	c := condition{p: p, in: strings.Join(l.Args(1), " ")}
	v, err := c.or(0)
	if err == nil && c.skip() != "" {
		err = fmt.Errorf("there is something after the condition: %s", hint.Quote(c.in))
	}
	if err != nil {
		p.fail(l.Num, l.Col, "%v", err)
	}
	return v && err == nil
}

// condition evaluates an expression: terms with "!", "&&", "||" and parentheses.
type condition struct {
	p  *Parser
	in string
}

func (c *condition) skip() string {
	c.in = strings.TrimLeft(c.in, " \t")
	return c.in
}

func (c *condition) take(token string) bool {
	rest, ok := strings.CutPrefix(c.skip(), token)
	if ok {
		c.in = rest
	}
	return ok
}

func (c *condition) or(depth int) (bool, error) {
	v, err := c.and(depth)
	for err == nil && c.take("||") {
		var next bool
		next, err = c.and(depth)
		v = v || next
	}
	return v, err
}

func (c *condition) and(depth int) (bool, error) {
	v, err := c.term(depth)
	for err == nil && c.take("&&") {
		var next bool
		next, err = c.term(depth)
		v = v && next
	}
	return v, err
}

func (c *condition) term(depth int) (bool, error) {
	if depth > maxBlocks {
		return false, errors.New("the condition is nested too deeply")
	}
	if c.take("!") {
		v, err := c.term(depth + 1)
		return !v, err
	}
	if c.take("(") {
		v, err := c.or(depth + 1)
		if err == nil && !c.take(")") {
			err = errors.New("a parenthesis of the condition isn't closed")
		}
		return v, err
	}
	in := c.skip()
	end := 0
	for end < len(in) && isName(in[end]) {
		end++
	}
	word := in[:end]
	c.in = in[end:]
	if !strings.HasPrefix(c.in, "(") {
		if word == "" && in == "" { // an empty condition doesn't hold
			return false, nil
		}
		n, err := strconv.Atoi(word)
		if err != nil {
			return false, fmt.Errorf("bad condition %s: write a number or a predicate such as defined(NAME)", hint.Quote(in))
		}
		return n != 0, nil
	}
	args, err := c.args()
	if err != nil {
		return false, err
	}
	return c.predicate(word, args)
}

// args reads the arguments in parentheses.
func (c *condition) args() ([]string, error) {
	var args []string
	var arg []byte
	var quote byte
	for i := 1; i < len(c.in); i++ {
		switch b := c.in[i]; {
		case quote != 0 && b == quote:
			quote = 0
		case quote == 0 && (b == '"' || b == '\''):
			quote = b
		case b == '\\' && quote != '\'' && i+1 < len(c.in):
			i++
			arg = append(arg, c.in[i])
		case quote == 0 && (b == ',' || b == ')'):
			args, arg = append(args, strings.TrimLeft(string(arg), " ")), arg[:0]
			if b == ')' {
				c.in = c.in[i+1:]
				return args, nil
			}
		default:
			arg = append(arg, b)
		}
	}
	return nil, errors.New("a parenthesis of the condition isn't closed")
}

var predicates = []string{
	"defined", "feature", "streq", "strneq", "strstr", "version_atleast", "version_before", "enabled",
	"openssl_version_atleast", "openssl_version_before", "ssllib_name_startswith", "awslc_api_atleast", "awslc_api_before",
}

func (c *condition) predicate(name string, args []string) (bool, error) {
	want := 1
	if name == "streq" || name == "strneq" || name == "strstr" {
		want = 2
	}
	switch {
	case !slices.Contains(predicates, name):
		return false, fmt.Errorf("unknown predicate %s%s", hint.Quote(name), hint.DidYouMean(name, predicates))
	case len(args) != want:
		return false, fmt.Errorf("%s has %d arguments instead of %d", name, len(args), want)
	}
	switch name {
	case "defined":
		_, ok := c.p.env(args[0])
		return ok, nil
	case "feature":
		return slices.Contains(c.p.Features, args[0]), nil
	case "streq":
		return args[0] == args[1], nil
	case "strneq":
		return args[0] != args[1], nil
	case "strstr":
		return strings.Contains(args[0], args[1]), nil
	case "version_atleast":
		return compareVersions(c.p.Version, args[0]) >= 0, nil
	case "version_before":
		return compareVersions(c.p.Version, args[0]) < 0, nil
	case "enabled":
		return args[0] == "POLL" || args[0] == "EPOLL" || args[0] == "GETADDRINFO" || args[0] == "SPLICE" || args[0] == "REUSEPORT", nil
	case "openssl_version_atleast":
		return true, nil // whatever is asked for, Go's crypto/tls has
	case "ssllib_name_startswith":
		return strings.HasPrefix("OpenSSL", args[0]), nil
	}
	return false, nil // of another library, or an old one
}

// compareVersions compares "2.6.12" and "2.4-dev3". What is missing counts as 0.
func compareVersions(a, b string) int {
	x, y := version(a), version(b)
	return slices.Compare(x[:], y[:])
}

// version has the numbers of a version. A development version is older than the one that
// it becomes.
func version(s string) (v [4]int) {
	s, dev, isDev := strings.Cut(s, "-dev")
	numbers := strings.SplitN(s, ".", 3)
	for i, n := range numbers {
		digits := n
		if end := strings.IndexFunc(n, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
			digits = n[:end]
		}
		v[i], _ = strconv.Atoi(digits)
	}
	if isDev {
		n, _ := strconv.Atoi(dev)
		v[3] = n - 1_000_000
	}
	return v
}
