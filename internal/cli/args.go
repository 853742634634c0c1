package cli

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/config"
)

// normalize rewrites common forms that the parser doesn't know: "--version" and
// "help COMMAND".
func normalize(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "--version" || args[0] == "-V":
		return append([]string{"version"}, args[1:]...)
	case args[0] == "help" && len(args) == 1:
		return []string{"--help"}
	case args[0] == "help" && !strings.HasPrefix(args[1], "-"):
		return append(slices.Clone(args[1:]), "--help")
	}
	return args
}

// explain turns an error of the parser into one that says what to do about it.
func explain(parser *kong.Kong, args []string, err error) string {
	text := strings.ReplaceAll(err.Error(), `expected string value but got "EOL" (<EOL>)`, "it needs a value")
	if args[0] != "" && args[0][0] == '-' && strings.HasPrefix(text, "unknown flag") {
		return fmt.Sprintf("%s: the command comes first, such as: holdfast run %s", firstPart(text), strings.Join(args, " "))
	}
	if words, ok := strings.CutPrefix(text, "expected one of "); ok {
		return "which one? It needs one of the commands " + strings.ReplaceAll(words, `"`, "")
	}
	if missing, ok := strings.CutPrefix(text, "expected "); ok {
		return "missing argument " + strings.ReplaceAll(missing, `"`, "")
	}
	extra, ok := strings.CutPrefix(text, "unexpected argument ")
	if !ok {
		return text
	}
	extra = firstPart(extra)
	var names []string
	for _, c := range parser.Model.Children {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	first := slices.IndexFunc(args, func(a string) bool { return !strings.HasPrefix(a, "-") })
	if strings.HasSuffix(args[0], ".yaml") || strings.HasSuffix(args[0], ".yml") {
		return fmt.Sprintf("%s: the command comes first, such as: holdfast run %s", text, args[0])
	}
	if first < 0 || !slices.Contains(names, args[first]) {
		return fmt.Sprintf("%s: unknown command; the commands are %s", text, strings.Join(names, ", "))
	}
	if names := below(parser, args[first]); len(names) > 0 {
		return fmt.Sprintf("%s: the commands of %s are %s", text, args[first], strings.Join(names, ", "))
	}
	switch _, err := time.ParseDuration(extra); {
	case args[first] == "drain" && err == nil:
		return fmt.Sprintf("%s: use --timeout %s", text, extra)
	case slices.Contains([]string{"drain", "undrain", "maint", "ready"}, args[first]):
		return fmt.Sprintf("%s: name one backend as POOL/BACKEND, such as chat/ws1", text)
	case args[first] == "reload":
		return text + ": a running balancer reloads the file that it was started with"
	}
	return text
}

// below lists the commands of a command.
func below(parser *kong.Kong, command string) (names []string) {
	for _, c := range parser.Model.Children {
		for _, sub := range c.Children {
			if c.Name == command && !sub.Hidden {
				names = append(names, sub.Name)
			}
		}
	}
	return names
}

// firstPart is the parser's error without its suggestion.
func firstPart(text string) string {
	text, _, _ = strings.Cut(text, ",")
	return text
}

// durations parses durations on the command line in the format of the
// configuration file.
var durations = kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(
	func(ctx *kong.DecodeContext, into reflect.Value) error {
		var text string
		if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
			return err
		}
		d, err := config.ParseDuration(text)
		if err != nil {
			return err
		}
		into.SetInt(int64(d))
		return nil
	}))

// oneFile returns the file that was given either as an argument or after -c.
func oneFile(flag, argument string) (string, error) {
	if flag != "" && argument != "" {
		return "", env.Usage("two files given, %s and %s: use only one", flag, argument)
	}
	return flag + argument, nil
}
