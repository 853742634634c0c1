//go:build linux

package switching

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// kinds are all differences that are allowed, if the report has them. Each says exactly
// which differences it is for, so that nothing else hides behind a note.
var kinds = []kind{
	{"strict paths", regexp.MustCompile(`answered with 400|with //, %2f, ; or \.\. in the path\) get 400`), func(c contrast) bool {
		return c.ours.Status == 400 && len(c.ours.Seen) == 0 && ambiguous(c.request.Path)
	}},
	{"forwarded fields of clients", regexp.MustCompile(`X-Forwarded-\*, Forwarded and X-Real-IP of clients`), func(c contrast) bool {
		name, ok := strings.CutPrefix(c.What, "header ")
		return ok && (strings.HasPrefix(name, "x-forwarded-") || name == "forwarded" || name == "x-real-ip") &&
			c.Ours == "none" && c.Theirs == list(c.request.values(name))
	}},
	{"upgrades pass", regexp.MustCompile(`WebSockets pass, too`), func(c contrast) bool {
		return c.request.WebSocket && len(c.theirs.Seen) == 1 && c.theirs.Status != 101 && c.ours.Echo && (c.What == "status" || c.What == "echo")
	}},
	{"no files", regexp.MustCompile(`nginx looks for a? ?file`), func(c contrast) bool {
		return c.What == "status" && len(c.theirs.Seen) == 0 && c.ours.Status == 404 && slices.Contains([]int{200, 206, 304, 403, 405, 416, 412}, c.theirs.Status)
	}},
	{"444", regexp.MustCompile(`nginx closes the connection without one`), func(c contrast) bool {
		return c.What == "status" && c.theirs.Status == 0 && c.ours.Status == 404
	}},
	{"no certificate", regexp.MustCompile(`refused in the TLS handshake`), func(c contrast) bool {
		return c.What == "status" && c.theirs.Status == 400 && c.ours.Status == 0 && c.request.Certificate == nil
	}},
	{"doubled slash", regexp.MustCompile(`nginx makes //x`), func(c contrast) bool {
		return c.What == "path" && strings.HasPrefix(c.Theirs, "//") && c.Theirs[1:] == c.Ours
	}},
	{"doubled slash", regexp.MustCompile(`stays as it is: nginx makes //x and /x of them`), func(c contrast) bool {
		return c.What == "path" && c.Ours == c.request.Path
	}},
	{"session id", regexp.MustCompile(`Holdfast-Session`), func(c contrast) bool {
		return c.What == "header holdfast-session" && c.Theirs == "none" && c.request.WebSocket
	}},
	{"decoded path in a field", regexp.MustCompile(`the path is as the client sent it: nginx decodes it`), func(c contrast) bool {
		return (strings.HasPrefix(c.What, "header ") || c.What == "location") && asNginx(c.Ours) == asNginx(c.Theirs)
	}},
	{"decoded path", regexp.MustCompile(`nginx decodes it, merges slashes, encodes what it must, and leaves out an empty query`), func(c contrast) bool {
		return c.What == "path" && asNginx(c.Ours) == asNginx(c.Theirs)
	}},
	{"above the root", regexp.MustCompile(`also /\.\./ above the root, which nginx refuses`), func(c contrast) bool {
		return c.theirs.Status == 400 && len(c.theirs.Seen) == 0 && ambiguous(c.request.Path) && (c.What == "status" || c.What == "requests")
	}},
	{"challenge", regexp.MustCompile(`a 401 without WWW-Authenticate gets one for Bearer`), func(c contrast) bool {
		return c.What == "challenge" && c.ours.Status == 401 && c.Theirs == "" && strings.HasPrefix(c.Ours, "Bearer")
	}},
	{"underscores", regexp.MustCompile(`fields with an underscore in their name are passed on`), func(c contrast) bool {
		name, ok := strings.CutPrefix(c.What, "header ")
		return ok && strings.Contains(name, "_") && c.Theirs == "none"
	}},
	{"only trusted proxies", regexp.MustCompile(`only the proxies of set_real_ip_from can connect`), func(c contrast) bool {
		return c.ours.Status == 0 && c.request.Listener.Proxied && len(c.ours.Seen) == 0
	}},
	{"client behind a proxy", regexp.MustCompile(`the proxy's address is appended: nginx appends the client's once more`), func(c contrast) bool {
		client, ok := strings.CutSuffix(c.Ours, c.request.Client+`"`)
		return ok && c.What == "header x-forwarded-for" && strings.HasPrefix(c.Theirs, client)
	}},
	{"first of several fields", regexp.MustCompile(`of several fields X-Forwarded-For of a client, the first is passed on`), func(c contrast) bool {
		all := c.request.values("X-Forwarded-For")
		return c.What == "header x-forwarded-for" && len(all) > 1 && strings.Replace(c.Theirs, ", "+strings.Join(all[1:], ", "), "", 1) == c.Ours
	}},
	{"monitor-uri with a query", regexp.MustCompile(`monitor-uri .*: different: it holds with a query, too`), func(c contrast) bool {
		return c.ours.Status == 200 && len(c.ours.Seen) == 0 && strings.Contains(c.request.Path, "?")
	}},
	{"redirects without port", regexp.MustCompile(`a port in the Host of the request isn't repeated`), func(c contrast) bool {
		host, port, ok := strings.Cut(c.request.Host, ":")
		return ok && c.What == "location" && strings.Replace(c.Theirs, host+":"+port, host, 1) == c.Ours
	}},
	{"hosts without port and case", regexp.MustCompile(`hosts are compared without port and case`), func(c contrast) bool {
		return strings.Contains(c.request.Host, ":") || c.request.Host != strings.ToLower(c.request.Host)
	}},
	{"empty fields", regexp.MustCompile(`a header field that would be empty isn't sent`), func(c contrast) bool {
		return strings.HasPrefix(c.What, "header ") && c.Theirs == `""` && c.Ours == "none"
	}},
	{"redirects of backends", regexp.MustCompile(`redirects of backends aren't rewritten`), func(c contrast) bool {
		return c.What == "location" && len(c.theirs.Seen) > 0 && strings.Contains(strings.Join(c.request.Header, "\n"), "|Location: "+c.Ours)
	}},
}

// asNginx is a path, with its query, as nginx writes it after it was rewritten.
func asNginx(target string) string {
	path, query, _ := strings.Cut(target, "?")
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if query != "" {
		path += "?" + query
	}
	return path
}

// ambiguous reports whether servers read a path in different ways.
func ambiguous(target string) bool {
	path, _, _ := strings.Cut(strings.ToLower(target), "?")
	return slices.ContainsFunc([]string{"//", "%2f", "%2e", "/./", "/../", ";", `\`}, func(s string) bool { return strings.Contains(path, s) }) ||
		strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..")
}

// values returns the lines of a field that the client sends, nil if it doesn't.
func (r request) values(name string) (all []string) {
	for _, line := range r.Header {
		if n, value, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
			all = append(all, strings.TrimSpace(value))
		}
	}
	return all
}
