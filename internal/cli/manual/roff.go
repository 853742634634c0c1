package manual

import (
	"fmt"
	"regexp"
	"strings"
)

// page is a man page in the macros of man(7), as groff and mandoc read it.
type page struct{ strings.Builder }

func (p *page) title(name string, section int, manual string) {
	fmt.Fprintf(p, ".TH %s %d \"\" holdfast \"%s\"\n", strings.ToUpper(name), section, manual)
	// Long words at the end of a line look worse than a ragged edge.
	p.WriteString(".nh\n.ad l\n")
}

func (p *page) section(title string) {
	fmt.Fprintf(p, ".SH %s\n", quoted(escape(strings.ToUpper(title))))
}

func (p *page) sub(title string) {
	fmt.Fprintf(p, ".SS %s\n", quoted(title))
}

// paragraph writes text in roff's form.
func (p *page) paragraph(text string) {
	p.WriteString(".PP\n")
	p.line(text)
}

// verbatim writes lines as they are.
func (p *page) verbatim(text string) {
	p.WriteString(".PP\n.RS 4\n.nf\n")
	for line := range strings.Lines(text) {
		p.line(escape(strings.TrimRight(line, "\n")))
	}
	p.WriteString(".fi\n.RE\n")
}

// item writes a tag, and the text about it beside or below.
func (p *page) item(tag, text string) {
	p.WriteString(".TP\n")
	p.line(tag)
	if text == "" {
		text = `\&`
	}
	p.line(text)
}

// bullet writes an item of a list.
func (p *page) bullet(text string) {
	p.WriteString(".IP \\(bu 2\n")
	p.line(text)
}

// line writes a line of text. A dot or a quote at its beginning would be a request.
func (p *page) line(text string) {
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	p.WriteString(text + "\n")
}

// special are the characters that roff takes for something else, or shows as typographic
// ones.
var special = strings.NewReplacer(`\`, `\e`, "-", `\-`, "~", `\(ti`, "^", `\(ha`, "`", `\(ga`, "'", `\(aq`)

func escape(s string) string { return special.Replace(s) }

func bold(s string) string { return `\fB` + s + `\fR` }

// quoted is an argument of a macro.
func quoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\(dq`) + `"` }

// marks are the marks of Markdown within a line: code, bold text and links.
var marks = regexp.MustCompile("`` ?(.+?) ?``|`([^`]+)`|\\*\\*(.+?)\\*\\*|\\[([^][]*(?:`[^`]*`)?[^][]*)\\]\\(([^)]*)\\)")

// inline turns a line of Markdown into roff.
func inline(text string) string {
	var b strings.Builder
	for {
		at := marks.FindStringSubmatchIndex(text)
		if at == nil {
			b.WriteString(escape(text))
			return b.String()
		}
		part := func(group int) string {
			if at[2*group] < 0 {
				return ""
			}
			return text[at[2*group]:at[2*group+1]]
		}
		b.WriteString(escape(text[:at[0]]))
		switch code := part(1) + part(2); {
		case code != "":
			b.WriteString(bold(escape(code)))
		case part(3) != "":
			b.WriteString(bold(escape(strings.ReplaceAll(part(3), "`", ""))))
		default:
			b.WriteString(inline(part(4)))
			if strings.Contains(part(5), "://") {
				b.WriteString(" (" + escape(part(5)) + ")")
			}
		}
		text = text[at[1]:]
	}
}
