package syntax

import (
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// show writes directives on one line each.
func show(list []*Directive, indent string) string {
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%s%d:%d %q", indent, d.Line, d.Col, append([]string{d.Name}, d.Args...))
		if d.Code != "" {
			fmt.Fprintf(&b, " code %q", d.Code)
		}
		if d.HasBlock {
			b.WriteString(" {")
		}
		b.WriteString("\n" + show(d.Block, indent+"  "))
	}
	return b.String()
}

// files is a Loader of texts.
type files map[string]string

func (f files) load(pattern string) (texts []Text, err error) {
	for name := range f {
		if ok, _ := path.Match(pattern, name); ok {
			texts = append(texts, Text{name, []byte(f[name])})
		}
	}
	slices.SortFunc(texts, func(a, b Text) int { return strings.Compare(a.Name, b.Name) })
	if len(texts) == 0 && !strings.ContainsAny(pattern, "*?[") {
		return nil, errors.New(pattern + ": no such file")
	}
	return texts, nil
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"words", "a  b\tc;d;", "1:1 [\"a\" \"b\" \"c\"]\n1:8 [\"d\"]\n"},
		{"lines", "a\r\n b ;\n\n  c;", "1:1 [\"a\" \"b\"]\n4:3 [\"c\"]\n"},
		{"comments", "# x; {\na; # b\nc d#e f;#", "2:1 [\"a\"]\n3:1 [\"c\" \"d#e\" \"f\"]\n"},
		{"quotes", `a "b c" 'd;{}' "" 'e"f' "g'h";`, `1:1 ["a" "b c" "d;{}" "" "e\"f" "g'h"]` + "\n"},
		{"quotes inside are text", `a b"c d"e;`, `1:1 ["a" "b\"c" "d\"e"]` + "\n"},
		{"escapes", `a b\ c \; \" '\'' "\"" \t \n \\ \. ~\.php$ x\{2;`, `1:1 ["a" "b\\ c" "\\;" "\"" "'" "\"" "\t" "\n" "\\" "\\." "~\\.php$" "x\\{2"]` + "\n"},
		{"variables", `a ${b} $c {} d $${e}f{}`, "1:1 [\"a\" \"${b}\" \"$c\"] {\n1:14 [\"d\" \"$${e}f\"] {\n"},
		{"blocks", "a{b{}c;}d x {}", "1:1 [\"a\"] {\n  1:3 [\"b\"] {\n  1:6 [\"c\"]\n1:9 [\"d\" \"x\"] {\n"},
		{"if", `if ($a = "b") { return 1; }`, "1:1 [\"if\" \"($a\" \"=\" \"b\" \")\"] {\n  1:17 [\"return\" \"1\"]\n"},
		{"a brace in a word", "a b}c d;", "1:1 [\"a\" \"b}c\" \"d\"]\n"},
		{"a regex in quotes", `location ~ "^/a{2,3}/" { x; }`, "1:1 [\"location\" \"~\" \"^/a{2,3}/\"] {\n  1:26 [\"x\"]\n"},
		{"an empty name", `map $a $b { '' x; default y; }`, "1:1 [\"map\" \"$a\" \"$b\"] {\n  1:13 [\"\" \"x\"]\n  1:19 [\"default\" \"y\"]\n"},
		{"columns are characters", "ä ö;ü;", "1:1 [\"ä\" \"ö\"]\n1:5 [\"ü\"]\n"},
		{"lines in quotes", "a 'b\nc' d;e;", "1:1 [\"a\" \"b\\nc\" \"d\"]\n2:6 [\"e\"]\n"},
		{"lua", "content_by_lua_block {\n local a = '}' -- }\n b = {[[}\n}]], \"\\\"}\"} --[[ } ]]\n} c;",
			"1:1 [\"content_by_lua_block\"] code \"\\n local a = '}' -- }\\n b = {[[}\\n}]], \\\"\\\\\\\"}\\\"} --[[ } ]]\\n\" {\n5:3 [\"c\"]\n"},
		{"lua brackets", "set_by_lua_block $x { return t[a[1]] .. [==[ ]] } ]==] } y;",
			"1:1 [\"set_by_lua_block\" \"$x\"] code \" return t[a[1]] .. [==[ ]] } ]==] \" {\n1:58 [\"y\"]\n"},
		{"include", "a { include x; b; } include *.conf; include none*;", "1:1 [\"a\"] {\n  1:5 [\"include\" \"x\"]\n  1:1 [\"in\" \"x\"]\n  1:16 [\"b\"]\n1:21 [\"include\" \"*.conf\"]\n1:1 [\"one\"]\n1:1 [\"two\"] {\n1:37 [\"include\" \"none*\"]\n"},
	} {
		list, err := Parse(Text{"f", []byte(c.text)}, files{"x": "in x;", "1.conf": "one;", "2.conf": "two {}"}.load)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := show(list, ""); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	loader := files{"self": "include self;", "a": "include b;", "b": "\n include a;", "bad": "x;\n }", "open": "y {"}
	for _, c := range []struct{ text, want string }{
		{";", `f:1:1: unexpected ";": there is no directive before it`},
		{"a;\n {}", `f:2:2: unexpected "{": there is no directive before it`},
		{"a; }", `f:1:4: unexpected "}": no block is open here`},
		{"a { b }", `f:1:7: unexpected "}": the directive "b" is not terminated by ";"`},
		{"a {\nb;", `f:2:3: the file ends within the block that begins on line 1: a "}" is missing`},
		{"a b", `f:1:4: the file ends within a directive: a ";" is missing`},
		{"a b ", `f:1:5: the file ends within the directive "a": a ";" is missing`},
		{"a \"b;\n", `f:1:3: the text that begins here has no closing "\""`},
		{"a 'b'c;", `f:1:6: unexpected "c" after the closing "'"`},
		{"a 'b'", `f:1:6: the file ends within a directive: a ";" is missing`},
		{"a " + strings.Repeat("x", maxWord) + ";", "f:1:3: longer than 4096 bytes: probably a quotation mark is missing"},
		{"a_by_lua_block {\n { '}", "f:1:1: the file ends within this block: a \"}\" is missing"},
		{"include self;", "self:1:1: self includes itself"},
		{"include a;", "b:2:2: a includes itself"},
		{"include missing;", "f:1:1: missing: no such file"},
		{"include bad;", `bad:2:2: unexpected "}": no block is open here`},
		{"include open; }", "open:1:4: the file ends within the block that begins on line 1: a \"}\" is missing"},
		{strings.Repeat("a{", 200), "f:1:201: more than 100 blocks and files within each other"},
	} {
		_, err := Parse(Text{"f", []byte(c.text)}, loader.load)
		if err == nil || err.Error() != c.want {
			t.Errorf("%.60q: %v\nwant %s", c.text, err, c.want)
		}
	}
}

// quote writes a word so that it is read as the same one.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			b.WriteString(`\"`)
		case c == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + `"`
}

func write(list []*Directive) string {
	var b strings.Builder
	for _, d := range list {
		b.WriteString(quote(d.Name))
		for _, arg := range d.Args {
			b.WriteString(" " + quote(arg))
		}
		switch {
		case isCode(d.Name) && d.HasBlock:
			b.WriteString("{" + d.Code + "}\n")
		case d.HasBlock:
			b.WriteString("{\n" + write(d.Block) + "}\n")
		default:
			b.WriteString(";\n")
		}
	}
	return b.String()
}

func withoutPlaces(list []*Directive) []*Directive {
	for _, d := range list {
		d.Pos = Pos{}
		withoutPlaces(d.Block)
	}
	return list
}

// FuzzParse: what is read can be written and read again as the same, places are in the
// text, and no text makes the parser crash.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"a b; c { d 'e f' \"g\\\"h\"; } # i", "if ($a = \"b\") { x ${y}; }", "x_by_lua_block { '}' [[ } ]] -- }\n }",
		"map $a $b { '' x; ~^y\\.z$ 1; }", "a\\", "a\\;b;", "'", "{", "}", "a{", "a{}}", "include x;", "ä 'ö'ü;", "a $", "a ${;",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		none := func(string) ([]Text, error) { return nil, nil }
		list, err := Parse(Text{"f", []byte(s)}, none)
		lines := strings.Split(s, "\n")
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || e.Line > len(lines) || e.Col < 1 || e.Col > len(lines[e.Line-1])+1 {
				t.Fatalf("the error %v is outside of the text", err)
			}
			return
		}
		var check func([]*Directive)
		check = func(list []*Directive) {
			for _, d := range list {
				if d.Line < 1 || d.Line > len(lines) || d.Col < 1 || d.Col > len(lines[d.Line-1]) {
					t.Fatalf("%q is at %d:%d", d.Name, d.Line, d.Col)
				}
				check(d.Block)
			}
		}
		check(list)
		text := write(list)
		again, err := Parse(Text{"f", []byte(text)}, none)
		if err != nil {
			if strings.Contains(err.Error(), "longer than") {
				return
			}
			t.Fatalf("%q was written as %q: %v", s, text, err)
		}
		if !reflect.DeepEqual(withoutPlaces(list), withoutPlaces(again)) {
			t.Fatalf("%q was read again as %q", text, write(again))
		}
	})
}
