//go:build linux

package switching

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
)

var (
	serverName   = regexp.MustCompile(`(?m)^[^#\n]*\bserver_name\s+([^;]+);`)
	locationPath = regexp.MustCompile(`(?m)^[^#\n]*\blocation\s+(?:=\s*|\^~\s*)?(/[^\s{]*)`)
	haproxyPath  = regexp.MustCompile(`(?m)^[^#\n]*\b(?:path|path_beg|path_end|path_dir|path_sub|url_beg)\b(.*)$`)
	haproxyHost  = regexp.MustCompile(`(?m)^[^#\n]*\b(?:hdr|hdr_beg|hdr_end|hdr_dom|req\.hdr|hdr_reg)\(host\b[^)]*\)(.*)$`)
	word         = regexp.MustCompile(`[A-Za-z0-9_./*:-]+`)
)

// candidates are what requests are made of.
type candidates struct {
	hosts, paths, headers, cookies, clients []string
}

// find finds in a file, and its hints, what its rules look at.
func (f *facts) find() candidates {
	c := candidates{
		hosts:   append([]string{"unknown.example"}, f.Hints["hosts"]...),
		paths:   append([]string{"/", "/none"}, f.Hints["paths"]...),
		headers: f.Hints["headers"],
		cookies: f.Hints["cookies"],
		clients: append([]string{"203.0.113.9", "198.51.100.77"}, f.Hints["clients"]...),
	}
	for _, m := range serverName.FindAllStringSubmatch(f.Text, -1) {
		for _, name := range strings.Fields(m[1]) {
			switch {
			case strings.HasPrefix(name, "~"), name == "_", strings.HasPrefix(name, `"`):
			case strings.HasPrefix(name, "*."):
				c.hosts = append(c.hosts, "sub"+name[1:], "a.b"+name[1:], name[2:])
			case strings.HasPrefix(name, "."):
				c.hosts = append(c.hosts, name[1:], "sub"+name)
			case strings.HasSuffix(name, ".*"):
				c.hosts = append(c.hosts, name[:len(name)-1]+"org")
			default:
				c.hosts = append(c.hosts, name)
			}
		}
	}
	for _, m := range locationPath.FindAllStringSubmatch(f.Text, -1) {
		c.paths = append(c.paths, m[1])
	}
	if f.Format == "haproxy" {
		for _, m := range haproxyHost.FindAllStringSubmatch(f.Text, -1) {
			for _, w := range word.FindAllString(m[1], -1) {
				if strings.ContainsAny(w, "/*:") {
					continue
				}
				if strings.Contains(w, ".") && !strings.HasSuffix(w, ".") {
					c.hosts = append(c.hosts, strings.TrimPrefix(w, "."), "sub."+strings.TrimPrefix(w, "."))
				} else if strings.HasSuffix(w, ".") || len(w) > 1 && w[0] != '-' {
					c.hosts = append(c.hosts, strings.TrimSuffix(w, ".")+".example.com")
				}
			}
		}
		for _, m := range haproxyPath.FindAllStringSubmatch(f.Text, -1) {
			for _, w := range word.FindAllString(m[1], -1) {
				if strings.HasPrefix(w, "/") {
					c.paths = append(c.paths, w)
				} else if strings.HasPrefix(w, ".") {
					c.paths = append(c.paths, "/file"+w)
				}
			}
		}
	}
	for _, list := range []*[]string{&c.hosts, &c.paths} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return c
}

// requests makes n requests for a file.
func (f *facts) requests(seed uint64, n int) (all []request) {
	r := rand.New(rand.NewPCG(seed, 16))
	c := f.find()
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	for i := range n {
		q := request{Client: pick(c.clients), Listener: f.Listeners[r.IntN(len(f.Listeners))], Host: pick(c.hosts), Path: pick(c.paths), Method: "GET"}
		q.WebSocket = r.IntN(2) == 0
		q.Path = vary(r, q.Path)
		switch r.IntN(20) {
		case 0:
			q.Host = strings.ToUpper(q.Host)
		case 1:
			_, port, _ := strings.Cut(q.Listener.dial(), ":")
			q.Host += ":" + port
		}
		if !q.WebSocket {
			q.Method = pick([]string{"GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
			if q.Method == "POST" || q.Method == "PUT" {
				q.Body = fmt.Sprintf("body %d", i)
			}
			if r.IntN(6) == 0 {
				q.Header = append(q.Header, answerHeader+": "+pick([]string{
					"204", "404", "500", "302|Location: /elsewhere", "301|Location: https://other.example/x", "302|Location: http://" + q.Host + "/y",
					"200|Set-Cookie: JSESSIONID=abc; Path=/", "200|Set-Cookie: a=1|Set-Cookie: b=2; Path=/app; HttpOnly", "401|WWW-Authenticate: Basic realm=\"x\"",
				}))
			}
		}
		q.Header = append(q.Header, fields(r)...)
		if len(c.headers) > 0 && r.IntN(2) == 0 {
			name, value, _ := strings.Cut(pick(c.headers), ":")
			q.Header = append(without(q.Header, name), name+": "+value)
		}
		if len(c.cookies) > 0 && r.IntN(2) == 0 {
			q.Header = append(without(q.Header, "Cookie"), "Cookie: "+pick(c.cookies))
		}
		all = append(all, q)
		if r.IntN(8) == 0 { // the same again, which hashing sends to the same server
			all = append(all, q, q, q)
		}
	}
	return all[:n]
}

// without returns lines without those of a field.
func without(lines []string, name string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, name+":") })
}

// vary changes a path so that it is near to what a rule looks at.
func vary(r *rand.Rand, path string) string {
	switch r.IntN(16) {
	case 0, 1:
		path = strings.TrimSuffix(path, "/") + "/"
	case 2:
		path += "x"
	case 3, 4:
		path = strings.TrimSuffix(path, "/") + "/sub/a.b"
	case 5:
		path = strings.ToUpper(path)
	case 6:
		path = strings.TrimSuffix(path, "/") + "/file.png"
	case 7:
		path = strings.TrimSuffix(path, "/") + "/a%20b"
	case 8:
		if r.IntN(3) == 0 {
			path = strings.TrimSuffix(path, "/") + []string{"/a%2Fb", "//c", "/../d", "/e;f=1", "/./g", "/%2e%2e/h"}[r.IntN(6)]
		}
	}
	if r.IntN(4) == 0 {
		path += []string{"?a=1&b=2", "?", "?token=x%20y", "?room=7", "?next=/a/../b"}[r.IntN(5)]
	}
	return path
}

// fields are header fields that clients send.
func fields(r *rand.Rand) (lines []string) {
	for _, line := range []string{
		"User-Agent: test/1.0", "X-Forwarded-For: 192.0.2.33", "X-Forwarded-For: 192.0.2.1, 192.0.2.2", "X-Forwarded-Proto: https", "X-Forwarded-Host: forged.example",
		"X-Forwarded-Port: 4711", "X-Real-IP: 192.0.2.44", "Forwarded: for=192.0.2.55", "X-Request-ID: 0123456789abcdef", "Origin: https://app.example.com",
		"Authorization: Bearer abc", "Cookie: theme=dark; lang=en", "Accept: */*", "Accept-Encoding: gzip", "X-Custom: one", "Referer: https://app.example.com/page",
		"Via: 1.1 upstream-proxy", "Cache-Control: no-cache", "Range: bytes=0-1", "If-None-Match: \"x\"",
	} {
		if r.IntN(7) == 0 {
			lines = append(lines, line)
		}
	}
	if r.IntN(30) == 0 {
		lines = append(lines, "X-Twice: one", "X-Twice: two")
	}
	if r.IntN(40) == 0 {
		lines = append(lines, "under_score: 1")
	}
	return lines
}
