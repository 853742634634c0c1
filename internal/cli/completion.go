package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/complete"
	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/operate"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

type completionCommand struct {
	Shell string `arg:"" name:"SHELL" complete:"bash zsh fish" help:"bash, zsh or fish."`
}

// Help is kong's detailed help.
func (*completionCommand) Help() string {
	return `Prints a script that completes commands, flags and values. Names of pools and backends
come from the running balancer, as holdfast status finds it, if it answers within a second.

  source <(holdfast completion bash)
  source <(holdfast completion zsh)
  holdfast completion fish | source

Put the line into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish. Packages install the
scripts.

Exit status: 0 printed, 2 there is no script for that shell.`
}

func (c *completionCommand) Run(e *env.Env) error {
	script, err := complete.Script(c.Shell)
	if err != nil {
		return env.Usage("%v", err)
	}
	_, err = io.WriteString(e.Out, script)
	return err
}

// completeCommand is what the scripts call. Whatever is wrong, it says nothing: it would
// be in the middle of the line that somebody writes.
type completeCommand struct {
	Words []string `arg:"" optional:"" help:"The shell, and the words of the line; of bash, COMP_WORDBREAKS and the line."`
}

func (c *completeCommand) Run(e *env.Env) error {
	if len(c.Words) < 2 {
		return nil
	}
	shell, words, breaks := c.Words[0], c.Words[1:], ""
	if shell == "bash" {
		if len(words) != 2 {
			return nil
		}
		words, breaks = complete.Split(words[1]), words[0]
	}
	list, files := complete.Words(newParser().Model, words, lookup(e.Ctx))
	complete.Answer(e.Out, shell, words[len(words)-1], breaks, list, files)
	return nil
}

// lookup asks the balancer that the line names.
func lookup(ctx context.Context) complete.Lookup {
	return func(l *complete.Line, placeholder string) (list []complete.Candidate) {
		f := operate.Flags{Admin: l.Flags["admin"], TokenFile: l.Flags["token-file"], CA: l.Flags["ca"], Cert: l.Flags["cert"], Key: l.Flags["key"]}
		switch {
		case !strings.HasPrefix(placeholder, "POOL") && placeholder != "ROUTE":
			return nil
		case l.Command == "run" || l.Command == "demo":
			return nil // they have no balancer yet
		}
		c, err := f.Client()
		if err != nil {
			return nil
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		switch placeholder {
		case "POOL", "POOL[/NAME]":
			return pools(ctx, c)
		case "POOL/BACKEND":
			return backends(ctx, c)
		case "POOL[/BACKEND]":
			return changed(ctx, c)
		}
		routes, _ := c.Routes(ctx)
		for _, r := range routes {
			list = append(list, complete.Candidate{Word: r.Name, Help: r.Pool})
		}
		return list
	}
}

func pools(ctx context.Context, c *client.Client) (list []complete.Candidate) {
	all, _ := c.Pools(ctx)
	for _, p := range all {
		list = append(list, complete.Candidate{Word: p.Name, Help: env.Count(len(p.Backends), "backend")})
	}
	return list
}

func backends(ctx context.Context, c *client.Client) (list []complete.Candidate) {
	all, _ := c.Pools(ctx)
	for _, p := range all {
		for _, b := range p.Backends {
			if b.State != "removed" {
				list = append(list, complete.Candidate{Word: p.Name + "/" + b.Name, Help: fmt.Sprintf("%s, %s", b.State, env.Count(b.Sessions, "session"))})
			}
		}
	}
	return list
}

// changed are the backends that were changed at run time, and their pools.
func changed(ctx context.Context, c *client.Client) (list []complete.Candidate) {
	changes, _ := c.Changes(ctx)
	seen := map[string]bool{}
	add := func(word string, what *api.Change) {
		if !seen[word] {
			seen[word] = true
			list = append(list, complete.Candidate{Word: word, Help: what.Field})
		}
	}
	for i := range changes {
		add(changes[i].Pool, &changes[i])
		add(changes[i].Pool+"/"+changes[i].Backend, &changes[i])
	}
	return list
}
