package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/yuin/goldmark/ast"
)

//go:embed theme
var theme embed.FS

var layout = template.Must(template.ParseFS(theme, "theme/page.html"))

// view is what the layout shows.
type view struct {
	Title, Version string
	Page           *page
	Parts          []part
	Sections       []*heading // of the page, as its table of contents
	Body           template.HTML
	Before, After  *page
}

func (h *heading) ID() string   { return h.id }
func (h *heading) Text() string { return h.text }
func (h *heading) Level() int   { return h.level }

// write writes the site to a directory that doesn't exist.
func (s *site) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i, p := range s.pages {
		var body bytes.Buffer
		if err := markdown.Renderer().Render(&body, p.src, p.doc); err != nil {
			return err
		}
		v := view{Title: p.title(), Version: s.version, Page: p, Parts: s.parts, Body: template.HTML(framed(body.String()))} // our own documents
		for _, h := range p.heads {
			if h.level == 2 || h.level == 3 {
				v.Sections = append(v.Sections, h)
			}
		}
		if i > 0 {
			v.Before = s.pages[i-1]
		}
		if i+1 < len(s.pages) {
			v.After = s.pages[i+1]
		}
		var out bytes.Buffer
		if err := layout.ExecuteTemplate(&out, "page.html", v); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, p.Name), out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	for file := range s.assets {
		content, err := fs.ReadFile(s.root, file)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(assetName(file)))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, content, 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{"style.css", "site.js"} {
		content, err := fs.ReadFile(theme, "theme/"+name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return s.writeSearch(filepath.Join(dir, "search.js"))
}

// title is the first heading of a page.
func (p *page) title() string {
	for _, h := range p.heads {
		if h.level == 1 {
			return h.text
		}
	}
	return p.Title
}

// framed puts tables into boxes that scroll, so that a wide one doesn't widen the page.
func framed(body string) string {
	body = strings.ReplaceAll(body, "<table>", `<div class="table" role="region" aria-label="table" tabindex="0"><table>`)
	return strings.ReplaceAll(body, "</table>", "</table></div>")
}

// found is a section that the search can find.
type found struct {
	Page    string `json:"p"` // name of the HTML file and anchor
	Title   string `json:"t"` // of the page
	Heading string `json:"h,omitempty"`
	Text    string `json:"x"`
}

// writeSearch writes what the search looks through: the text of each section. It is a
// script, since pages that are read from a disk may not fetch files.
func (s *site) writeSearch(file string) error {
	var all []found
	for _, p := range s.pages {
		all = append(all, p.sections()...)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(append([]byte("window.searchIndex="), text...), ";\n"...), 0o644)
}

// sections divides a page at its headings.
func (p *page) sections() (all []found) {
	now := found{Page: p.Name, Title: p.title()}
	for n := p.doc.FirstChild(); n != nil; n = n.NextSibling() {
		if h, ok := n.(*ast.Heading); ok {
			if now.Text != "" || now.Heading != "" {
				all = append(all, now)
			}
			id, _ := h.AttributeString("id")
			now = found{Page: p.Name + "#" + string(id.([]byte)), Title: p.title(), Heading: plain(h, p.src)}
			continue
		}
		now.Text = strings.TrimSpace(now.Text + " " + plain(n, p.src))
	}
	return append(all, now)
}
