package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// site is everything that is published.
type site struct {
	root    fs.FS
	version string
	parts   []part
	pages   []*page          // in the order of the index
	byFile  map[string]*page // by path in the repository, such as docs/config.md
	assets  map[string]bool  // files that pages show, by path in the repository
}

// part is a section of the index.
type part struct {
	Title string
	Pages []*page
}

// page is one document.
type page struct {
	File  string // in the repository
	Name  string // of the HTML file
	Title string // in the index
	src   []byte
	doc   ast.Node
	heads []*heading
	ids   map[string]bool
}

// heading is a section of a page.
type heading struct {
	level    int
	id, text string
	node     ast.Node
}

const index = "docs/SUMMARY.md"

var (
	partLine = regexp.MustCompile(`^## (.+)$`)
	pageLine = regexp.MustCompile(`^- \[(.+)\]\((.+\.md)\)$`)
)

// read reads the index and the documents in it.
func read(root string) (*site, error) {
	s := &site{root: os.DirFS(root), byFile: map[string]*page{}, assets: map[string]bool{}}
	text, err := fs.ReadFile(s.root, index)
	if err != nil {
		return nil, err
	}
	var errs []error
	for n, line := range strings.Split(string(text), "\n") {
		if m := partLine.FindStringSubmatch(line); m != nil {
			s.parts = append(s.parts, part{Title: m[1]})
			continue
		}
		m := pageLine.FindStringSubmatch(line)
		switch {
		case m == nil && strings.HasPrefix(strings.TrimSpace(line), "-"):
			errs = append(errs, fmt.Errorf("%s:%d: want - [TITLE](FILE.md)", index, n+1))
		case m != nil && len(s.parts) == 0:
			errs = append(errs, fmt.Errorf("%s:%d: a page before the first section: begin one with ## TITLE", index, n+1))
		case m != nil:
			p, err := s.readPage(path.Join("docs", m[2]), m[1])
			if err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: %w", index, n+1, err))
				continue
			}
			last := &s.parts[len(s.parts)-1]
			last.Pages = append(last.Pages, p)
		}
	}
	return s, errors.Join(append(errs, s.unlisted())...)
}

// unlisted returns an error for each document that the index doesn't have.
func (s *site) unlisted() error {
	files, err := fs.Glob(s.root, "docs/*.md")
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		if s.byFile[f] == nil && f != index {
			errs = append(errs, fmt.Errorf("%s isn't in %s: add a line for it", f, index))
		}
	}
	return errors.Join(errs...)
}

var markdown = goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAttribute()))

func (s *site) readPage(file, title string) (*page, error) {
	if s.byFile[file] != nil {
		return nil, fmt.Errorf("%s is there twice", file)
	}
	src, err := fs.ReadFile(s.root, file)
	if err != nil {
		return nil, err
	}
	p := &page{File: file, Name: htmlName(file), Title: title, src: src, ids: map[string]bool{}}
	p.doc = markdown.Parser().Parse(text.NewReader(src))
	err = ast.Walk(p.doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if h, ok := n.(*ast.Heading); ok && entering {
			text := plain(n, src)
			id := p.newID(text)
			h.SetAttributeString("id", []byte(id))
			p.heads = append(p.heads, &heading{h.Level, id, text, n})
		}
		return ast.WalkContinue, nil
	})
	s.pages = append(s.pages, p)
	s.byFile[file] = p
	return p, err
}

// htmlName is the name of a document's page: the README is the first one, and there is a
// docs/security.md, too.
func htmlName(file string) string {
	switch file {
	case "README.md":
		return "index.html"
	case "SECURITY.md":
		return "report.html"
	}
	return strings.ToLower(strings.TrimSuffix(path.Base(file), ".md")) + ".html"
}

var notInID = regexp.MustCompile(`[^\p{L}\p{N}\p{M} _-]`)

// newID makes the anchor of a heading as GitHub does, so that links work in both places.
func (p *page) newID(text string) string {
	id := strings.ReplaceAll(notInID.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
	for base, n := id, 1; p.ids[id]; n++ {
		id = fmt.Sprintf("%s-%d", base, n)
	}
	p.ids[id] = true
	return id
}

// plain is the text of a node without its markup.
func plain(n ast.Node, src []byte) string {
	var b bytes.Buffer
	ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			if n.Type() == ast.TypeBlock {
				b.WriteByte(' ')
			}
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Text:
			b.Write(n.Segment.Value(src))
			if n.SoftLineBreak() || n.HardLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.String:
			b.Write(n.Value)
		case *ast.FencedCodeBlock:
			b.Write(n.Lines().Value(src))
		case *ast.CodeBlock:
			b.Write(n.Lines().Value(src))
		case *ast.AutoLink:
			b.Write(n.URL(src))
		}
		return ast.WalkContinue, nil
	})
	return strings.Join(strings.Fields(b.String()), " ")
}
