// Package manual writes the man pages: of the command line from its model, and of the
// configuration file from its documentation.
package manual

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Block is a part of a command's help: a paragraph, or lines to show as they are.
type Block struct {
	Verbatim bool
	Text     string
}

// Blocks splits a text. Lines that begin with two spaces are to be shown as they are.
func Blocks(text string) (blocks []Block) {
	for part := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n\n") {
		var now Block
		for line := range strings.Lines(part) {
			line = strings.TrimRight(line, "\n")
			verbatim := strings.HasPrefix(line, "  ")
			if now.Text != "" && verbatim != now.Verbatim {
				blocks = append(blocks, now)
				now = Block{}
			}
			now.Verbatim = verbatim
			if now.Text != "" {
				now.Text += "\n"
			}
			now.Text += strings.TrimPrefix(line, "  ")
		}
		if now.Text != "" {
			blocks = append(blocks, now)
		}
	}
	return blocks
}

// Command is a command as the documentation shows it.
type Command struct {
	Name  string // "holdfast backends add"
	Usage string // with arguments and flags
	*kong.Node
}

// Group are commands under a title.
type Group struct {
	Title    string
	Commands []Command
}

// Groups lists all commands that aren't hidden, in the order of the help.
func Groups(app *kong.Application, order []kong.Group) (list []Group) {
	for _, g := range order {
		group := Group{Title: strings.TrimSuffix(g.Title, ":")}
		for _, n := range app.Leaves(true) {
			if of := groupOf(n); of == nil || of.Key != g.Key {
				continue
			}
			path := n.Name
			for up := n.Parent; up != nil; up = up.Parent {
				path = up.Name + " " + path
			}
			group.Commands = append(group.Commands, Command{path, usage(path, n), n})
		}
		if len(group.Commands) > 0 {
			list = append(list, group)
		}
	}
	return list
}

// groupOf is the group of a command, or of the one that it is part of.
func groupOf(n *kong.Node) *kong.Group {
	for ; n != nil; n = n.Parent {
		if n.Group != nil {
			return n.Group
		}
	}
	return nil
}

func usage(path string, n *kong.Node) string {
	words := []string{path}
	for _, p := range n.Positional {
		word := "<" + p.Name + ">"
		if !p.Required {
			word = "[" + word + "]"
		}
		words = append(words, word)
	}
	return strings.Join(append(words, "[flags]"), " ")
}

// Shown are the flags of a command that have no group, then those of each group by its
// title; without those in all.
func (c *Command) Shown(all string) (flags []*kong.Flag) {
	for _, f := range c.Flags {
		if !f.Hidden && f.Name != "help" && (f.Group == nil || f.Group.Key != all) {
			flags = append(flags, f)
		}
	}
	slices.SortStableFunc(flags, func(a, b *kong.Flag) int { return cmp.Compare(key(a), key(b)) })
	return flags
}

func key(f *kong.Flag) string {
	if f.Group == nil {
		return ""
	}
	return f.Group.Key
}

// FlagName is a flag with its letter and placeholder.
func FlagName(f *kong.Flag) string {
	name := "--" + f.Name
	if f.Short != 0 {
		name = "-" + string(f.Short) + ", " + name
	}
	if !f.IsBool() {
		name += "=" + cmp.Or(f.PlaceHolder, strings.ToUpper(f.Name))
	}
	return name
}

// Commands writes holdfast(1). Flags of the group all, which many commands have, are
// described once.
func Commands(w io.Writer, app *kong.Application, groups []kong.Group, all string) error {
	p := new(page)
	p.title("holdfast", 1, "User Commands")
	p.section("Name")
	p.line(`holdfast \- load balancer for WebSockets`)
	p.section("Synopsis")
	p.line(bold("holdfast") + ` \fICOMMAND\fR [arguments] [flags]`)
	p.section("Description")
	p.blocks(app.Help)
	common := map[string]*kong.Flag{}
	for _, g := range Groups(app, groups) {
		p.section(g.Title)
		for i := range g.Commands {
			c := &g.Commands[i]
			p.sub(bold(escape(c.Usage)))
			p.paragraph(escape(c.Help))
			p.blocks(c.Detail)
			for _, a := range c.Positional {
				p.item(bold(escape(a.Name)), escape(a.Help))
			}
			for _, f := range c.Shown(all) {
				p.item(bold(escape(FlagName(f))), escape(f.Help))
			}
			for _, f := range c.Flags {
				if f.Group != nil && f.Group.Key == all {
					common[f.Name] = f
				}
			}
		}
	}
	if i := slices.IndexFunc(groups, func(g kong.Group) bool { return g.Key == all }); i >= 0 {
		p.section(strings.TrimSuffix(groups[i].Title, ":"))
		p.paragraph(escape("Commands that talk to a running balancer have these flags. By default they find it by HOLDFAST_ADMIN, else by the socket $XDG_RUNTIME_DIR/holdfast/admin.sock or /run/holdfast/admin.sock, else at 127.0.0.1:9900."))
		for _, f := range flagsByName(common) {
			p.item(bold(escape(FlagName(f))), escape(f.Help))
		}
	}
	p.section("Environment")
	p.item(bold(escape("HOLDFAST_TOKEN")), escape("The token for the admin API, if there is no --token-file."))
	for _, f := range flagsByName(common) {
		for _, name := range f.Envs {
			p.item(bold(escape(name)), escape("The default of --"+f.Name+"."))
		}
	}
	p.section("Exit status")
	p.item("0", "The command did what it was asked to do.")
	p.item("1", "It failed. The error says why.")
	p.item("2", "The arguments or the configuration file are wrong.")
	p.section("See also")
	p.line(bold("holdfast.yaml") + "(5)")
	_, err := io.WriteString(w, p.String())
	return err
}

func flagsByName(m map[string]*kong.Flag) (list []*kong.Flag) {
	for _, f := range m {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *kong.Flag) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// blocks writes a text of the help.
func (p *page) blocks(text string) {
	for _, b := range Blocks(text) {
		if b.Verbatim {
			p.verbatim(b.Text)
		} else {
			p.paragraph(escape(strings.ReplaceAll(b.Text, "\n", " ")))
		}
	}
}
