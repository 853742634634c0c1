package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"strings"

	"github.com/yuin/goldmark/ast"
)

// repository is where links lead to files that are no pages.
const repository = "https://github.com/holdfast-ws/holdfast/blob/main/"

// check resolves all links, and returns an error for each that leads nowhere. Links to
// other hosts are only parsed: whether they answer must not decide about a build.
func (s *site) check() error {
	var errs []error
	for _, p := range s.pages {
		ast.Walk(p.doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			if !entering {
				return ast.WalkContinue, nil
			}
			switch n := n.(type) {
			case *ast.Link:
				to, err := s.resolve(p, string(n.Destination), false)
				n.Destination = []byte(to)
				errs = append(errs, err)
			case *ast.Image:
				to, err := s.resolve(p, string(n.Destination), true)
				n.Destination = []byte(to)
				errs = append(errs, err)
			}
			return ast.WalkContinue, nil
		})
	}
	return errors.Join(errs...)
}

// resolve returns where a link of a page leads on the site.
func (s *site) resolve(p *page, link string, shown bool) (string, error) {
	u, err := url.Parse(link)
	if err != nil {
		return "", fmt.Errorf("%s: link %q: %w", p.File, link, err)
	}
	if u.Scheme != "" {
		if u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "mailto" {
			return "", fmt.Errorf("%s: link %q has an unknown scheme", p.File, link)
		}
		return link, nil
	}
	file := p.File
	if u.Path != "" {
		file = path.Join(path.Dir(p.File), u.Path)
	}
	if to := s.byFile[file]; to != nil {
		if u.Fragment == "" {
			return to.Name, nil
		}
		if !to.ids[u.Fragment] {
			return "", fmt.Errorf("%s: link %q: %s has no heading with that anchor%s", p.File, link, to.File, meant(to, u.Fragment))
		}
		if to == p {
			return "#" + u.Fragment, nil
		}
		return to.Name + "#" + u.Fragment, nil
	}
	if _, err := fs.Stat(s.root, strings.TrimSuffix(file, "/")); err != nil {
		return "", fmt.Errorf("%s: link %q: there is no %s", p.File, link, file)
	}
	if shown || path.Ext(file) == ".svg" || path.Ext(file) == ".png" {
		s.assets[file] = true
		return assetName(file), nil
	}
	to := repository + file
	if u.Fragment != "" {
		to += "#" + u.Fragment
	}
	return to, nil
}

// assetName is where a file of the repository is on the site.
func assetName(file string) string { return "files/" + strings.TrimPrefix(file, "docs/") }

// meant proposes an anchor.
func meant(p *page, id string) string {
	for _, h := range p.heads {
		if strings.Contains(h.id, id) || strings.Contains(id, h.id) && len(h.id) > 4 {
			return fmt.Sprintf(" (did you mean #%s?)", h.id)
		}
	}
	return ""
}
