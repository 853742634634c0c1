package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// files makes a repository of some files, besides a README and an index that has it.
func files(t *testing.T, more map[string]string) string {
	t.Helper()
	root := t.TempDir()
	all := map[string]string{
		"README.md":       "# The program\n\nText.\n\n## Some `code`, twice\n\n## Some `code`, twice\n",
		"docs/SUMMARY.md": "# Index\n\n## Start\n\n- [What it is](../README.md)\n",
	}
	maps.Copy(all, more)
	for name, content := range all {
		name = filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestThisSite: the project's own documents make a site without broken links.
func TestThisSite(t *testing.T) {
	out := filepath.Join(t.TempDir(), "site")
	if err := run("../..", out, "v1"); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(out, "config.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`<h2 id="listeners">`, `href="tls.html"`, `aria-current="page">The configuration file`, "<small>v1</small>"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("config.html has no %s", want)
		}
	}
	// All that a page loads or links to on the site is there.
	pages, _ := filepath.Glob(filepath.Join(out, "*.html"))
	if len(pages) < 20 {
		t.Fatalf("%d pages", len(pages))
	}
	reference := regexp.MustCompile(`(?:href|src)="([^"#:]+)(?:#([^"]*))?"`)
	for _, p := range pages {
		content, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range reference.FindAllStringSubmatch(string(content), -1) {
			target, err := os.ReadFile(filepath.Join(out, m[1]))
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(p), err)
			} else if m[2] != "" && !strings.Contains(string(target), `id="`+m[2]+`"`) {
				t.Errorf("%s: %s has no %s", filepath.Base(p), m[1], m[2])
			}
		}
	}
	script, err := os.ReadFile(filepath.Join(out, "search.js"))
	if err != nil {
		t.Fatal(err)
	}
	var sections []found
	text := strings.TrimSuffix(strings.TrimPrefix(string(script), "window.searchIndex="), ";\n")
	if err := json.Unmarshal([]byte(text), &sections); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(sections, func(s found) bool { return s.Page == "config.html#listeners" && strings.Contains(s.Text, "address") }) {
		t.Error("the search doesn't find listeners in config.html")
	}
}

func TestAnchors(t *testing.T) {
	s, err := read(files(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, h := range s.pages[0].heads {
		ids = append(ids, h.id)
	}
	if want := []string{"the-program", "some-code-twice", "some-code-twice-1"}; !slices.Equal(ids, want) {
		t.Errorf("anchors %q, want %q", ids, want)
	}
}

func TestErrors(t *testing.T) {
	const index = "## Start\n\n- [What it is](../README.md)\n"
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"no file", map[string]string{"README.md": "[x](docs/none.md)"}, `README.md: link "docs/none.md": there is no docs/none.md`},
		{"no anchor", map[string]string{"README.md": "# Try it\n[x](#try)"}, `README.md: link "#try": README.md has no heading with that anchor (did you mean #try-it?)`},
		{"no anchor on another page", map[string]string{"docs/SUMMARY.md": index + "- [A](a.md)\n", "docs/a.md": "[x](../README.md#no)"}, `docs/a.md: link "../README.md#no": README.md has no heading with that anchor`},
		{"no image", map[string]string{"README.md": "![x](docs/x.png)"}, `README.md: link "docs/x.png": there is no docs/x.png`},
		{"outside", map[string]string{"README.md": "[x](../secret)"}, `README.md: link "../secret": there is no ../secret`},
		{"a scheme", map[string]string{"README.md": "[x](javascript:alert)"}, `README.md: link "javascript:alert" has an unknown scheme`},
		{"not in the index", map[string]string{"docs/a.md": "# A"}, "docs/a.md isn't in docs/SUMMARY.md: add a line for it"},
		{"a page that is missing", map[string]string{"docs/SUMMARY.md": index + "- [A](a.md)\n"}, "docs/SUMMARY.md:4: "},
		{"twice", map[string]string{"docs/SUMMARY.md": index + index}, "docs/SUMMARY.md:6: README.md is there twice"},
		{"before a section", map[string]string{"docs/SUMMARY.md": "- [What it is](../README.md)\n"}, "docs/SUMMARY.md:1: a page before the first section"},
		{"another line", map[string]string{"docs/SUMMARY.md": index + "- nothing\n"}, "docs/SUMMARY.md:4: want - [TITLE](FILE.md)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := files(t, test.files)
			out := filepath.Join(root, "out")
			if err := os.Mkdir(out, 0o755); err != nil {
				t.Fatal(err)
			}
			err := run(root, out, "")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
			if _, err := os.Stat(out); err != nil {
				t.Error("the old site is gone after an error")
			}
		})
	}
}

// TestLinks: where links lead.
func TestLinks(t *testing.T) {
	root := files(t, map[string]string{
		"docs/SUMMARY.md": "## Start\n- [What it is](../README.md)\n- [A](a.md)\n", "docs/a.md": "# A\n", "docs/x/y.svg": "<svg/>", "main.go": "package main",
	})
	s, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string]string{
		"a.md": "a.html", "../README.md": "index.html", "../README.md#some-code-twice-1": "index.html#some-code-twice-1", "#a": "#a",
		"../main.go#L3": repository + "main.go#L3", "x/y.svg": "files/x/y.svg", "https://example.com/a.md": "https://example.com/a.md",
		"x/": repository + "docs/x", "mailto:a@example.com": "mailto:a@example.com",
	} {
		if got, err := s.resolve(s.byFile["docs/a.md"], link, false); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", link, got, err, want)
		}
	}
}
