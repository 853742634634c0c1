// Package complete finds what can follow on a command line, for the completion of shells.
// The scripts that it has for bash, zsh and fish ask the binary by a hidden command; so they
// know nothing about commands and flags, and never become stale.
package complete

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Candidate is a word that can be written. Help may be "".
type Candidate struct{ Word, Help string }

// Line is what Parse finds before the word that is being completed.
type Line struct {
	// Command is the path of the command, such as "backends add".
	Command string
	// Flags has the values of flags by name.
	Flags map[string]string

	node    *kong.Node
	args    int        // that are complete
	waiting *kong.Flag // its value is the next word
	onlyArg bool       // after "--"
}

// Lookup returns values that aren't in the model, such as names of backends, for an
// argument or a flag with that placeholder.
type Lookup func(l *Line, placeholder string) []Candidate

// Words completes the last of words; the first is the program. files means that the shell
// should complete names of files.
func Words(app *kong.Application, words []string, lookup Lookup) (list []Candidate, files bool) {
	if len(words) < 2 {
		return nil, false
	}
	if words[1] == "help" && len(words) > 2 { // help COMMAND is COMMAND --help
		words = slices.Delete(slices.Clone(words), 1, 2)
		lookup = func(*Line, string) []Candidate { return nil }
	}
	l := parse(app, words[1:len(words)-1])
	word := words[len(words)-1]
	prefix := ""
	switch {
	case l.waiting != nil:
		list, files = l.values(l.waiting.Value, l.waiting.PlaceHolder, lookup)
	case strings.HasPrefix(word, "--") && strings.Contains(word, "=") && !l.onlyArg:
		name, _, _ := strings.Cut(word, "=")
		if f := l.flag(name[2:]); f != nil && !f.IsBool() {
			prefix = name + "="
			list, files = l.values(f.Value, f.PlaceHolder, lookup)
		}
	case strings.HasPrefix(word, "-") && !l.onlyArg:
		list = l.flags()
	default:
		list, files = l.arguments(lookup)
	}
	for i := range list {
		list[i].Word = prefix + list[i].Word
	}
	list = slices.DeleteFunc(list, func(c Candidate) bool { return !strings.HasPrefix(c.Word, word) || !harmless(c.Word) })
	return list, files && len(list) == 0
}

// harmless reports whether a word means itself in every shell. Names of backends come from
// others, and a shell puts candidates into the line as they are.
func harmless(word string) bool {
	return word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._:/@%+,=[]", r))
	})
}

// parse reads complete words. It accepts what kong does, and ignores what it would refuse.
func parse(app *kong.Application, words []string) *Line {
	l := &Line{node: app.Node, Flags: map[string]string{}}
	for _, w := range words {
		switch {
		case l.waiting != nil:
			l.Flags[l.waiting.Name] = w
			l.waiting = nil
		case w == "--" && !l.onlyArg:
			l.onlyArg = true
		case strings.HasPrefix(w, "-") && len(w) > 1 && !l.onlyArg:
			l.take(w)
		default:
			if child := l.child(w); child != nil && l.args == 0 {
				l.node = child
				l.Command = strings.TrimSpace(l.Command + " " + child.Name)
			} else {
				l.args++
			}
		}
	}
	return l
}

// take reads a flag.
func (l *Line) take(word string) {
	name, value, has := strings.Cut(strings.TrimPrefix(word, "-"), "=")
	name = strings.TrimPrefix(name, "-")
	f := l.flag(name)
	switch {
	case f == nil:
	case has || f.IsBool():
		l.Flags[f.Name] = value
	default:
		l.waiting = f
	}
}

func (l *Line) child(name string) *kong.Node {
	for _, c := range l.node.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// own lists the flags of the command, and those of the one that runs if none is named.
func (l *Line) own() (flags []*kong.Flag) {
	for n := l.node; n != nil; n = n.Parent {
		flags = append(flags, n.Flags...)
	}
	if l.node.DefaultCmd != nil {
		flags = append(flags, l.node.DefaultCmd.Flags...)
	}
	return flags
}

// flag finds a flag by its name or letter.
func (l *Line) flag(name string) *kong.Flag {
	for _, f := range l.own() {
		if f.Name == name || f.Short != 0 && string(f.Short) == name {
			return f
		}
	}
	return nil
}

// flags are those that can follow: one that was given can only follow if it is repeatable.
func (l *Line) flags() (list []Candidate) {
	for _, f := range l.own() {
		if _, given := l.Flags[f.Name]; !f.Hidden && (!given || f.IsSlice()) {
			list = append(list, Candidate{"--" + f.Name, f.Help})
		}
	}
	return list
}

// arguments are the commands or the values that can follow.
func (l *Line) arguments(lookup Lookup) (list []Candidate, files bool) {
	if l.args == 0 && !l.onlyArg {
		for _, c := range l.node.Children {
			if !c.Hidden {
				list = append(list, Candidate{c.Name, c.Help})
			}
		}
		if l.node.Type == kong.ApplicationNode {
			list = append(list, Candidate{"help", "Show the help of a command."})
		}
	}
	if l.args < len(l.node.Positional) {
		p := l.node.Positional[l.args]
		return l.values(p, p.Name, lookup)
	}
	return list, false
}

// values are those of a flag or an argument. The tag complete lists words.
func (l *Line) values(v *kong.Value, placeholder string, lookup Lookup) (list []Candidate, files bool) {
	words := strings.Fields(v.Tag.Get("complete"))
	if v.Enum != "" {
		words = v.EnumSlice()
	}
	for _, w := range words {
		list = append(list, Candidate{Word: w})
	}
	switch {
	case len(list) > 0:
	case placeholder == "FILE" || placeholder == "DIR":
		return nil, true
	default:
		list = lookup(l, placeholder)
	}
	return list, false
}
