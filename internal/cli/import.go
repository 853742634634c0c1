package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/formats"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
)

type importCommand struct {
	Format     string   `arg:"" name:"FORMAT" help:"Format of the files, see above."`
	Files      []string `arg:"" name:"FILE" help:"Files to read. Files that these include are found."`
	Output     string   `short:"o" placeholder:"FILE" help:"File to write (default: standard output)."`
	Force      bool     `help:"Overwrite the file of -o."`
	AcceptLoss bool     `help:"Leave out what can't be carried over, even if it guards access."`
}

// Help is kong's detailed help.
func (*importCommand) Help() string {
	return `Writes the configuration of another balancer as a holdfast.yaml. Comments say from
which line each value comes. What works in another way is said there and on standard
error. If something can't be carried over, all of it is listed, and nothing is
written.

  holdfast import nginx /etc/nginx/nginx.conf -o holdfast.yaml

FORMAT is ` + importFormats() + `. holdfast run and holdfast check take
such files as they are, too.

Exit status: 0 written, 1 failed, 2 something can't be carried over.`
}

func importFormats() string {
	names := ""
	for i, f := range formats.All {
		switch {
		case i > 0 && i == len(formats.All)-1:
			names += " or "
		case i > 0:
			names += ", "
		}
		names += f.Name
	}
	return names
}

func (c *importCommand) Run(e *env.Env) error {
	l, err := (&formatFlags{AcceptLoss: c.AcceptLoss}).loader()
	if err != nil {
		return err
	}
	f, err := l.Find(c.Format)
	if err != nil {
		if _, missing := os.Stat(c.Format); missing == nil {
			return env.Usage("the format comes first, such as: holdfast import %s %s", l.Formats[0].Name, c.Format)
		}
		return env.Usage("%v", err)
	}
	if _, err := os.Stat(c.Output); c.Output != "" && err == nil && !c.Force {
		return fmt.Errorf("%s exists: name another file, or overwrite it with --force", c.Output)
	}
	if out, err := os.Stat(c.Output); err == nil {
		for _, name := range c.Files {
			if in, err := os.Stat(name); err == nil && os.SameFile(in, out) {
				return env.Usage("%s is the file to read: name another one for -o", c.Output)
			}
		}
	}
	res, err := l.Import(f, c.Files)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := formats.Write(&text, res, f, c.Files); err != nil {
		return err
	}
	name := cmp.Or(c.Output, "holdfast.yaml")
	if _, err := yaml.Parse(name, text.Bytes()); err != nil {
		return fmt.Errorf("what was made of %s isn't a valid configuration, which is a bug of holdfast import: please report it with the file\n%v", c.Files[0], err)
	}
	if c.Output == "" {
		_, err = e.Out.Write(text.Bytes())
	} else {
		err = c.write(text.Bytes(), res.Config)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(e.Err, res.Config.Origin)
	for _, w := range res.Config.Warnings {
		e.Warn(w)
	}
	return nil
}

// write writes the file of -o.
func (c *importCommand) write(text []byte, from *config.Config) error {
	mode := os.FileMode(0o644)
	if hasSecret(from) {
		mode = 0o600
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if !c.Force {
		flags |= os.O_EXCL
	}
	f, err := os.OpenFile(c.Output, flags, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: name another file, or overwrite it with --force", c.Output)
	} else if err != nil {
		return err
	}
	if mode == 0o600 {
		err = f.Chmod(mode) // of one that was there
	}
	if err == nil {
		_, err = f.Write(text)
	}
	return errors.Join(err, f.Close())
}

// hasSecret reports whether others shouldn't read a file of c.
func hasSecret(c *config.Config) bool {
	headers := []config.Headers{c.RequestHeaders.Set, c.RequestHeaders.Add}
	for i := range c.Routes {
		headers = append(headers, c.Routes[i].RequestHeaders.Set, c.Routes[i].RequestHeaders.Add)
	}
	for i := range c.Pools {
		p := &c.Pools[i]
		if cookie := p.Affinity.Cookie; cookie != nil && cookie.Secret != "" {
			return true
		}
		if p.Health.HTTP != nil {
			headers = append(headers, p.Health.HTTP.Headers)
		}
		if p.Health.WebSocket != nil {
			headers = append(headers, p.Health.WebSocket.Headers)
		}
	}
	for i := range c.Listeners {
		if t := c.Listeners[i].TLS; t != nil && t.TicketSecret != "" {
			return true
		}
	}
	for _, h := range headers {
		for _, field := range h {
			// A value that is only a variable is the client's.
			if credentials.MatchString(field[0]) && !strings.HasPrefix(field[1], "${") {
				return true
			}
		}
	}
	return false
}

var credentials = regexp.MustCompile(`(?i)auth|key|token|secret|cookie|password`)
