package complete

import (
	"embed"
	"fmt"
	"io"
	"regexp"
	"strings"
)

//go:embed scripts
var scripts embed.FS

// Shells lists the shells that there are scripts for.
var Shells = []string{"bash", "zsh", "fish"}

// Script is the one that a shell reads.
func Script(shell string) (string, error) {
	text, err := scripts.ReadFile("scripts/holdfast." + shell)
	if err != nil {
		return "", fmt.Errorf("there is no completion for %q: the shells are %s", shell, strings.Join(Shells, ", "))
	}
	return string(text), nil
}

// filesWanted is the answer that asks a script to complete names of files.
const filesWanted = ":files"

// Answer writes candidates as the script of a shell reads them: one on a line, with its
// help after a tab, except for bash. last is the word that is being completed.
func Answer(out io.Writer, shell, last, breaks string, list []Candidate, files bool) {
	if files {
		fmt.Fprintln(out, filesWanted)
		return
	}
	// bash replaces only what comes after the last character of COMP_WORDBREAKS.
	skip := 0
	if shell == "bash" {
		skip = strings.LastIndexAny(last, strings.Trim(breaks, " \t\n")) + 1
	}
	for _, c := range list {
		line := c.Word[min(skip, len(c.Word)):]
		if shell != "bash" && c.Help != "" {
			line += "\t" + strings.Map(printable, c.Help)
		}
		fmt.Fprintln(out, line)
	}
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// Split splits the beginning of a line of bash into words. The last one is the one that is
// being completed, "" after a space. Only what follows the last separator of commands
// counts, without variables that are set for the command.
func Split(line string) []string {
	words := split(line)
	for len(words) > 1 && variable.MatchString(words[0]) {
		words = words[1:]
	}
	return words
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

func split(line string) []string {
	var words []string
	var word strings.Builder
	begun := false
	quote := rune(0)
	escaped := false
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, begun = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		case r == '|' || r == ';' || r == '&':
			words, begun = nil, false
			word.Reset()
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	return append(words, word.String())
}
