package syntax

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func env(name string) (string, bool) {
	v, ok := map[string]string{"HOME": "/root", "LIST": "x  y z", "EMPTY": ""}[name]
	return v, ok
}

func parser() *Parser {
	return &Parser{Options: Options{Env: env, Version: "2.6.12", Features: []string{"OPENSSL"}}}
}

// What HAProxy 2.6 makes of each line was found by having it print the words.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{`a\ b "c\"d" 'e\ f' g\x41h \q`, []string{"a b", `c"d`, `e\ f`, "gAh", `\q`}},
		{`"x\$y" $HOME "$HOME" '"$HOME"' 'a"b'`, []string{"x$y", "$HOME", "/root", `"$HOME"`, `a"b`}},
		{`a x\#y b#c d`, []string{"a", "x#y", "b"}},
		{`"a#b" # c`, []string{"a#b"}},
		{`"${NOPE-def ault}x" "${HOME-q}" "${EMPTY-q}" z`, []string{"def aultx", "/root", "", "z"}},
		{`"$NOPE" next`, []string{"", "next"}},
		{`A"$NOPE"B C`, []string{"AB", "C"}},
		{`"pre${NOPE}post"`, []string{"prepost"}},
		{`"${LIST[*]}" F`, []string{"x", "y", "z", "F"}},
		{`"a${LIST[*]}b" ""G "" H`, []string{"ax", "y", "zb", "G", "", "H"}},
		{`"${.LINE}" "$.FILE" "${.SECTION}"`, []string{"2", "x.cfg", "global"}},
		{`a\tb "\n" \\n`, []string{"a\tb", "\n", `\n`}},
		{`str ^([^\ :]*)\ /(.*)`, []string{"str", `^([^ :]*) /(.*)`}},
	} {
		p := parser()
		p.Parse("dir/x.cfg", []byte("global\n "+c.in))
		if len(p.Errors) > 0 || len(p.Config.Sections) != 1 || len(p.Config.Sections[0].Lines) != 1 {
			t.Errorf("%s: errors %v", c.in, p.Errors)
			continue
		}
		if got := p.Config.Sections[0].Lines[0].Args(0); !slices.Equal(got, c.want) {
			t.Errorf("%s gave %q, want %q", c.in, got, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	for in, want := range map[string]string{
		"maxconn 5":                     `f:1:1: "maxconn" stands before any section`,
		"globl":                         `did you mean "global"?`,
		"global\n x \"y":                "f:2:4: this quote isn't closed",
		"global\n x 'y":                 "f:2:4: this quote isn't closed",
		"global\n x \"${A\"":            "f:2:5: the brace of this variable isn't closed",
		"global\n x \"${A:-b}\"":        "f:2:5: the brace of this variable isn't closed",
		"global\n x \"$ 5\"":            "f:2:5: the name of a variable must follow $",
		"global\n x \"${.NO}\"":         "there is no variable",
		"global\n é \\xq":               "f:2:4: two hex digits",
		"global\n no":                   "f:2:2: a keyword is missing",
		"global\n a\x00b":               "f:2:1: the line isn't text",
		".if 1\nglobal":                 "f:1:1: this .if has no .endif",
		".endif":                        "f:1:1: .endif without .if",
		".if 1\n.else\n.elif 1\n.endif": "f:3:1: .elif after .else",
		".if foo\n.endif":               "f:1:1: bad condition",
		".if defind(A)\n.endif":         `unknown predicate "defind" (did you mean "defined"?)`,
		".if streq(a)\n.endif":          "streq has 1 arguments instead of 2",
		".if (1\n.endif":                "parenthesis",
		".if 1 2\n.endif":               "there is something after the condition",
		".iff 1":                        `unknown ".iff" (did you mean ".if"?)`,
		".alert \"no no\"":              `the file itself stops here: "no no"`,
	} {
		p := parser()
		p.Parse("f", []byte(in))
		if len(p.Errors) == 0 || !strings.Contains(p.Errors[0].Error(), want) {
			t.Errorf("%q: %v, want %s", in, p.Errors, want)
		}
	}
}

// A line counts if the conditions around it hold.
func TestConditions(t *testing.T) {
	for cond, want := range map[string]bool{
		"1": true, "0": false, "": false, "!0": true,
		"defined(HOME)": true, "defined(NOPE)": false, "!defined(NOPE) && 1": true,
		`streq("$HOME",/root)`: true, `streq("$HOME", "/root")`: true, "strneq(a,a)": false, `streq('a b',"a b")`: true, "strstr(abc,b)": true,
		"version_atleast(2.4)": true, "version_atleast(2.6.12)": true, "version_atleast(2.6.13)": false,
		"version_atleast(2.7-dev0)": false, "version_before(2.7-dev0)": true, "version_atleast(2.6-dev3)": true,
		"feature(OPENSSL)": true, "feature(QUIC)": false,
		"0 || 1 && 1": true, "(0 || 1) && 0": false, "!(0 || 0)": true, "0&&0||1": true,
	} {
		p := parser()
		p.Parse("f", []byte("global\n.if "+cond+"\nyes\n.else\nother\n.endif\n"))
		word := "yes"
		if !want {
			word = "other"
			if p.Config.Lines[2].OffBy != 2 {
				t.Errorf("%s: the line that switched it off is %d", cond, p.Config.Lines[2].OffBy)
			}
		}
		lines := p.Config.Sections[0].Lines
		if len(p.Errors) > 0 || len(lines) != 1 || lines[0].Arg(0) != word {
			t.Errorf("%s: %d lines count, want %s; %v", cond, len(lines), word, p.Errors)
		}
	}
}

// Of several branches the first that holds counts, and those in it as far as they do.
func TestBranches(t *testing.T) {
	const in = `global
.if 0
  a
  .if 1
    b
  .endif
  "not closed
.elif defined(HOME)
  c
  .if 0
  .else
    d
  .endif
.elif 1
  e
.else
  f
.endif
no g
default h
`
	p := parser()
	p.Parse("f", []byte(in))
	var got []string
	for _, l := range p.Config.Sections[0].Lines {
		got = append(got, fmt.Sprint(l.Arg(0), l.Num, l.No, l.Reset))
	}
	want := []string{"c9 false false", "d12 false false", "g19 true false", "h20 false true"}
	if len(p.Errors) > 0 || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, p.Errors, want)
	}
}

// What global sets in the environment counts for the lines that follow.
func TestSetenv(t *testing.T) {
	p := parser()
	p.Parse("f", []byte("global\n x \"$NEW\"\n setenv NEW a\n presetenv HOME b\n presetenv OTHER c\n unsetenv EMPTY\n.if defined(EMPTY)\n x no\n.endif\n x \"$NEW$HOME$OTHER\"\n"))
	lines := p.Config.Sections[0].Lines
	if last := lines[len(lines)-1]; len(p.Errors) > 0 || last.Arg(1) != "a/rootc" || lines[0].Arg(1) != "" || len(lines) != 6 {
		t.Errorf("the last line is %q, errors %v", last.Args(0), p.Errors)
	}
}

// Raw has the line as it was written, and no values of variables.
func TestRaw(t *testing.T) {
	p := parser()
	p.Parse("f", []byte("\ufeffglobal\r\n\tx  \"$HOME\"  # why\r\n"))
	l := p.Config.Sections[0].Lines[0]
	if l.Raw != `x "$HOME"` || l.Num != 2 || l.Col != 2 || l.Words[1].Col != 5 || l.Arg(1) != "/root" {
		t.Errorf("the line is %+v", *l)
	}
}

// A section ends with its file.
func TestFiles(t *testing.T) {
	p := parser()
	p.Parse("a", []byte("frontend x\n mode http\n"))
	p.Parse("b", []byte("mode tcp\nbackend y\n"))
	if len(p.Config.Sections) != 2 || p.Config.Sections[0].Name != "x" || len(p.Config.Sections[0].Lines) != 1 || len(p.Errors) != 1 || p.Errors[0].File != "b" {
		t.Errorf("sections %v, errors %v", p.Config.Sections, p.Errors)
	}
}

// The time for ten thousand lines is measured in the package above, together with the
// import. Here a line that is all variables must not take more than its length.
func TestLongValues(t *testing.T) {
	long := strings.Repeat("v ", 20000)
	p := &Parser{Options: Options{Env: func(string) (string, bool) { return long, true }}}
	begin := time.Now()
	p.Parse("f", []byte("global\n x "+strings.Repeat(`"${A[*]}"`, 5000)+"\n x "+strings.Repeat(`"$A"`, 5000)))
	if len(p.Errors) != 2 || time.Since(begin) > 10*time.Second {
		t.Errorf("errors %v after %v", p.Errors, time.Since(begin))
	}
}

// FuzzParse: each line is read once and in order, with places that exist, and what is in
// quotes again is the same word.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("../testdata/*.cfg")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(data)
		}
	}
	f.Add([]byte("global\n.if defined(A) || !(streq(\"$B\",c))\n x \\x41 'a' \"${C[*]}\"\n.endif\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := parser()
		p.Parse("f", data)
		lines := strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n")
		last := 0
		for _, l := range p.Config.Lines {
			if l.Num <= last || l.Num > len(lines) {
				t.Fatalf("line %d after %d, of %d", l.Num, last, len(lines))
			}
			last = l.Num
			if strings.ContainsAny(l.Raw, "\n\r") {
				t.Errorf("line %d in several lines: %q", l.Num, l.Raw)
			}
			for _, w := range l.Words {
				if w.Col < 1 || w.Col > utf8.RuneCountInString(lines[l.Num-1])+1 {
					t.Errorf("line %d: %q is at %d", l.Num, w.Text, w.Col)
				}
			}
			if len(l.Words) == 0 {
				t.Fatalf("line %d has no words", l.Num)
			}
			again := parser()
			again.Parse("f", []byte("global\n x '"+strings.NewReplacer("'", `'"'"'`, "\n", "").Replace(l.Words[len(l.Words)-1].Text)+"'"))
			text := l.Words[len(l.Words)-1].Text
			if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\n\r") {
				continue
			}
			if len(again.Errors) > 0 || again.Config.Lines[1].Arg(1) != text {
				t.Errorf("%q in quotes: %v", text, again.Errors)
			}
		}
	})
}
