package manual

import (
	"io"
	"regexp"
	"strings"
)

// Config writes holdfast.yaml(5), of the text of docs/config.md.
func Config(w io.Writer, markdown string) error {
	p := new(page)
	p.title("holdfast.yaml", 5, "File Formats Manual")
	p.section("Name")
	p.line(`holdfast.yaml \- configuration of the load balancer holdfast`)
	p.section("Description")
	c := converter{page: p}
	for line := range strings.Lines(markdown) {
		c.take(strings.TrimRight(line, "\n"))
	}
	c.flush()
	p.section("See also")
	p.line(bold("holdfast") + "(1)")
	_, err := io.WriteString(w, p.String())
	return err
}

// converter reads the Markdown of our documentation: headings, paragraphs, lists, tables
// and blocks of code.
type converter struct {
	*page
	text   []string // lines of the paragraph or the item of a list
	list   bool     // it is an item
	code   []string
	fenced bool
	header []string // of the table; nil outside of one
	path   []string // the headings above, by level
}

var bulletMark = regexp.MustCompile(`^(?:[-*]|\d+\.) +`)

func (c *converter) take(line string) {
	if strings.HasPrefix(strings.TrimSpace(line), "```") {
		if c.fenced {
			c.verbatim(strings.Join(c.code, "\n"))
			c.code = nil
		}
		c.flush()
		c.fenced = !c.fenced
		return
	}
	if c.fenced {
		c.code = append(c.code, line)
		return
	}
	if !strings.HasPrefix(line, "|") {
		c.header = nil
	}
	switch mark := bulletMark.FindString(line); {
	case line == "":
		c.flush()
	case strings.HasPrefix(line, "#"):
		c.flush()
		c.heading(line)
	case strings.HasPrefix(line, "|"):
		c.flush()
		c.row(line)
	case mark != "":
		c.flush()
		c.list = true
		c.text = append(c.text, line[len(mark):])
	default:
		c.text = append(c.text, strings.TrimSpace(line))
	}
}

// flush writes the paragraph that has ended.
func (c *converter) flush() {
	if text := inline(strings.Join(c.text, " ")); len(c.text) > 0 && c.list {
		c.bullet(text)
	} else if len(c.text) > 0 {
		c.paragraph(text)
	}
	c.text, c.list = nil, false
}

// heading writes a heading. The title of the document is left out. Headings below the
// second level have the names of those above in them.
func (c *converter) heading(line string) {
	level := len(line) - len(strings.TrimLeft(line, "#"))
	title := strings.ReplaceAll(strings.TrimSpace(line[level:]), "`", "")
	switch {
	case level == 1:
		return
	case level == 2:
		c.path = []string{title}
		c.section(title)
		return
	}
	c.path = append(c.path[:min(len(c.path), level-2)], title)
	c.sub(escape(strings.Join(c.path, ": ")))
}

// row writes a row of a table as an item: the first cell, and a sentence for each other
// one. What a key means comes before its type and default.
func (c *converter) row(line string) {
	cells := cellsOf(line)
	switch {
	case c.header == nil:
		c.header = cells
		return
	case strings.Trim(line, "|-: ") == "":
		return
	}
	var text, more []string
	for i := 1; i < len(cells) && i < len(c.header); i++ {
		switch title := c.header[i]; {
		case cells[i] == "":
		case len(c.header) == 2, title == "Meaning", title == "":
			text = append(text, ended(inline(cells[i])))
		default:
			more = append(more, ended(escape(title)+": "+inline(cells[i])))
		}
	}
	c.item(inline(cells[0]), strings.Join(append(text, more...), " "))
}

// ended is a text with a period at its end.
func ended(s string) string {
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, ":") {
		return s
	}
	return s + "."
}

// cellsOf are the cells of a row; "\|" is no separator.
func cellsOf(line string) (cells []string) {
	const bar = "\x00"
	line = strings.ReplaceAll(line, `\|`, bar)
	for _, cell := range strings.Split(strings.Trim(line, "|"), "|") {
		cells = append(cells, strings.TrimSpace(strings.ReplaceAll(cell, bar, "|")))
	}
	return cells
}
