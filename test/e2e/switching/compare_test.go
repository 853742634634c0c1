//go:build linux

package switching

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// tally is what was counted for a file.
type tally struct {
	Pairs, Agreed int
	Reached       int            // pairs of which the real server's request came to a backend
	Upgraded      int            // pairs in which the real server passed on a WebSocket
	Noted         int            // pairs that differ, and the report says so
	Kinds         map[string]int // of these differences
	Silent        []string       // differences that it hasn't
	Refused       string         // why the file wasn't imported
}

func (a *tally) add(b *tally) {
	a.Pairs += b.Pairs
	a.Agreed += b.Agreed
	a.Reached += b.Reached
	a.Upgraded += b.Upgraded
	a.Silent = append(a.Silent, b.Silent...)
	a.Noted += b.Noted
	for kind, n := range b.Kinds {
		a.count(kind, n)
	}
}

// difference is one thing in which two balancers differ: status, location, cookies, echo,
// requests, backend, method, path, host, body, or header NAME.
type difference struct{ What, Theirs, Ours string }

func (d difference) String() string {
	return fmt.Sprintf("%s: theirs %s, ours %s", d.What, d.Theirs, d.Ours)
}

// passing are header fields of requests that say something about one connection or one
// handshake only. Whether an upgrade arrives is seen by its echo.
var passing = []string{"connection", "keep-alive", "upgrade", "sec-websocket-key", "x-tag", "te", "trailer", "content-length", "transfer-encoding", "sec-websocket-version"}

// compare returns how results differ.
func compare(f *facts, theirs, ours result) (all []difference) {
	differ := func(what string, a, b any) {
		if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
			all = append(all, difference{what, x, y})
		}
	}
	differ("status", theirs.Status, ours.Status)
	differ("location", theirs.Location, ours.Location)
	differ("cookies", theirs.Cookies, ours.Cookies)
	differ("challenge", theirs.Challenge, ours.Challenge)
	differ("echo", theirs.Echo, ours.Echo)
	if theirs.Sticks {
		differ("stickiness", theirs.Sticks, ours.Sticks)
	}
	differ("requests", len(theirs.Seen), len(ours.Seen))
	if len(theirs.Seen) != len(ours.Seen) {
		return all
	}
	for i, a := range theirs.Seen {
		b := ours.Seen[i]
		if !slices.ContainsFunc(f.groups(a.Backend), func(g string) bool { return slices.Contains(f.groups(b.Backend), g) }) {
			differ("backend", a.Backend, b.Backend)
		}
		differ("method", a.Method, b.Method)
		differ("path", a.Path, b.Path)
		differ("host", a.Host, b.Host)
		differ("body", a.Body, b.Body)
		differ("TLS", a.TLS, b.TLS)
		differ("server name", a.ServerName, b.ServerName)
		differ("PROXY", a.Source, b.Source)
		names := map[string]bool{}
		for _, header := range []map[string][]string{a.Header, b.Header} {
			for name := range header {
				names[name] = !slices.Contains(passing, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if names[name] {
				differ("header "+name, list(a.Header[name]), list(b.Header[name]))
			}
		}
	}
	return all
}

// list joins the lines of a field, which means the same (RFC 9110 §5.3). Missing isn't empty.
func list(lines []string) string {
	if lines == nil {
		return "none"
	}
	return fmt.Sprintf("%q", strings.Join(lines, ", "))
}

// kind is a kind of differences that a report may have.
type kind struct {
	name string
	// note matches a line of the report.
	note *regexp.Regexp
	// explains reports whether the difference is of this kind.
	explains func(c contrast) bool
}

// contrast is a difference, and what it was found in.
type contrast struct {
	difference
	request      request
	theirs, ours result
}

// check counts a pair. report has the notes about the file.
func (a *tally) check(f *facts, report string, r request, theirs, ours result) {
	a.Pairs++
	if len(theirs.Seen) > 0 {
		a.Reached++
	}
	if theirs.Echo {
		a.Upgraded++
	}
	all := compare(f, theirs, ours)
	if len(all) == 0 {
		a.Agreed++
		return
	}
	noted, silent := map[string]bool{}, []string{}
	for _, d := range all {
		i := slices.IndexFunc(kinds, func(k kind) bool {
			return k.note.MatchString(report) && k.explains(contrast{d, r, theirs, ours})
		})
		if i < 0 {
			silent = append(silent, d.String())
			continue
		}
		noted[kinds[i].name] = true
	}
	if len(silent) > 0 {
		a.Silent = append(a.Silent, fmt.Sprintf("%v\n\t%s", r, strings.Join(silent, "\n\t")))
		return
	}
	a.Noted++
	for kind := range noted {
		a.count(kind, 1)
	}
}

func (a *tally) count(kind string, n int) {
	if a.Kinds == nil {
		a.Kinds = map[string]int{}
	}
	a.Kinds[kind] += n
}
