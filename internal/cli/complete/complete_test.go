package complete

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// grammar is a small command line with all that completion has to know.
type grammar struct {
	Show struct {
		Pool string   `arg:"" optional:"" name:"POOL"`
		Sort string   `enum:"name,age" default:"name" short:"s"`
		Kind []string `complete:"drain reload"`
		All  bool
		File string `placeholder:"FILE"`
		On   string `placeholder:"POOL/BACKEND"`
	} `cmd:"" help:"Show it."`
	Change struct {
		List struct {
			Long bool
		} `cmd:"" default:"withargs"`
		Undo struct {
			Name string `arg:"" name:"POOL/BACKEND"`
		} `cmd:""`
	} `cmd:""`
	Secret struct{} `cmd:"" hidden:""`
}

func model(t testing.TB) *kong.Application {
	p, err := kong.New(new(grammar), kong.Name("it"))
	if err != nil {
		t.Fatal(err)
	}
	return p.Model
}

func TestWords(t *testing.T) {
	app := model(t)
	lookup := func(l *Line, placeholder string) []Candidate {
		switch placeholder {
		case "POOL":
			return []Candidate{{Word: "chat"}, {Word: "api"}}
		case "POOL/BACKEND":
			return []Candidate{{Word: "chat/ws1"}, {Word: "chat/[::1]:3000"}, {Word: "chat/$(reboot)"}, {Word: "chat/a b"}, {Word: "chat/x\n;y"}, {Word: "of-" + l.Command + "-" + l.Flags["sort"]}}
		}
		return nil
	}
	for _, test := range []struct{ line, want string }{
		{"it|", "show change help"},
		{"it|s", "show"},
		{"it|help|ch", "change"},
		{"it|help|change|", "list undo"},
		{"it|show|", "chat api"},
		{"it|show|chat|", ""}, // no second argument
		{"it|show|-", "--sort --kind --all --file --on --help"},
		{"it|show|--all|--k", "--kind"},
		{"it|show|--all|--a", ""},              // was given
		{"it|show|--kind|drain|--k", "--kind"}, // repeatable
		{"it|show|--sort|", "name age"},
		{"it|show|-s|a", "age"},
		{"it|show|--sort=n", "--sort=name"},
		{"it|show|--kind|r", "reload"},
		{"it|show|--all=", ""},
		{"it|show|--file|", "FILES"},
		{"it|show|--file=x", "FILES"},
		{"it|show|--sort|age|--on|", "chat/ws1 chat/[::1]:3000 of-show-age"},
		{"it|show|--on=chat/w", "--on=chat/ws1"},
		{"it|show|--|-", ""},
		{"it|show|--nothing|", "chat api"},
		{"it|change|", "list undo"},
		{"it|change|--l", "--long"}, // of the command that runs if none is named
		{"it|change|undo|chat/w", "chat/ws1"},
		{"it|nothing|", ""},
		{"it", ""},
	} {
		list, files := Words(app, strings.Split(test.line, "|"), lookup)
		var words []string
		for _, c := range list {
			words = append(words, c.Word)
		}
		got := strings.Join(words, " ")
		if files {
			got = "FILES"
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.line, got, test.want)
		}
	}
}

func TestAnswer(t *testing.T) {
	list := []Candidate{{Word: "--on=a:1", Help: "one\ttwo\nthree"}, {Word: "--on=a:2"}}
	for _, test := range []struct{ shell, last, breaks, want string }{
		{"bash", "--on=a:", " \t\n\"'><=;|&(:", "1\n2\n"},
		{"bash", "--on=a:", " \t\n", "--on=a:1\n--on=a:2\n"},
		{"zsh", "--on=a:", "", "--on=a:1\tone two three\n--on=a:2\n"},
	} {
		var out bytes.Buffer
		Answer(&out, test.shell, test.last, test.breaks, list, false)
		if out.String() != test.want {
			t.Errorf("%s %q %q: %q, want %q", test.shell, test.last, test.breaks, out.String(), test.want)
		}
	}
	var out bytes.Buffer
	if Answer(&out, "fish", "", "", nil, true); out.String() != ":files\n" {
		t.Errorf("files: %q", out.String())
	}
}

func TestSplit(t *testing.T) {
	for _, test := range []struct {
		line string
		want []string
	}{
		{"", []string{""}},
		{"it", []string{"it"}},
		{"it  a ", []string{"it", "a", ""}},
		{`it "a b" 'c\' d\ e "f\"`, []string{"it", "a b", `c\`, "d e", `f"`}},
		{"make; it show", []string{"it", "show"}},
		{"a | b && it ''", []string{"it", ""}},
		{"A=1 B_2='x y' it s", []string{"it", "s"}},
		{"A=", []string{"A="}},
	} {
		if got := Split(test.line); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.line, got, test.want)
		}
	}
}

// Words in quotes are found again, and whatever a line has, all candidates are harmless.
func FuzzSplit(f *testing.F) {
	for _, line := range []string{"it show ", `it "a b`, `a\`, "A=1 it --sort=", "it show --on chat/"} {
		f.Add(line)
	}
	app := model(f)
	f.Fuzz(func(t *testing.T, line string) {
		words := Split(line)
		if len(words) == 0 {
			t.Fatal("no word to complete")
		}
		list, _ := Words(app, words, func(*Line, string) []Candidate { return []Candidate{{Word: line}, {Word: "x"}} })
		for _, c := range list {
			if !harmless(c.Word) || !strings.HasPrefix(c.Word, words[len(words)-1]) {
				t.Fatalf("%q offers %q", line, c.Word)
			}
		}
		again := Split(fmt.Sprintf("it '%s'", strings.ReplaceAll(line, "'", `'\''`)))
		if valid := strings.ToValidUTF8(line, "\ufffd"); len(again) != 2 || strings.ToValidUTF8(again[1], "\ufffd") != valid && valid == line {
			t.Fatalf("%q in quotes is %q", line, again)
		}
	})
}

func TestScripts(t *testing.T) {
	for _, shell := range Shells {
		if s, err := Script(shell); err != nil || !strings.Contains(s, "__complete "+shell) {
			t.Errorf("%s: %v", shell, err)
		}
	}
	if _, err := Script("tcsh"); err == nil || !strings.Contains(err.Error(), "the shells are bash, zsh, fish") {
		t.Errorf("tcsh: %v", err)
	}
}
