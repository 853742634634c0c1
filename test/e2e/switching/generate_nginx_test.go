//go:build linux

package switching

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// writer writes a generated file.
type writer struct {
	*rand.Rand
	strings.Builder
	depth   int
	servers int      // addresses so far
	groups  []string // upstreams, or backends
}

func (w *writer) line(format string, args ...any) {
	fmt.Fprintf(w, "%s%s\n", strings.Repeat("    ", w.depth), fmt.Sprintf(format, args...))
}

// one reports true once in n times.
func (w *writer) one(n int) bool { return w.IntN(n) == 0 }

func (w *writer) pick(all ...string) string { return all[w.IntN(len(all))] }

// block writes a block in braces.
func (w *writer) block(head string, body func()) {
	w.line("%s {", head)
	w.depth++
	body()
	w.depth--
	w.line("}")
}

// address returns that of a new server.
func (w *writer) address() string {
	w.servers++
	return fmt.Sprintf("10.0.%d.%d:%s", w.servers/200, w.servers%200+1, w.pick("3000", "8080", "8081", "9000"))
}

// generateNginx returns a file for nginx's conf.d.
func generateNginx(seed uint64) string {
	w := &writer{Rand: rand.New(rand.NewPCG(seed, 1))}
	w.line("# try clients: 203.0.113.10 203.0.113.11 198.51.100.3 10.20.0.7")
	w.line("# try headers: X-Tier:gold X-Tier:silver X-Version:2")
	w.line("# try cookies: version=2 version=1;x=y session=abc")
	if w.one(2) {
		w.block("map $http_upgrade $connection_upgrade", func() {
			w.line("default upgrade;")
			w.line("''      close;")
		})
	}
	for i := range 1 + w.IntN(4) {
		w.upstream(fmt.Sprintf("up%d", i))
	}
	tiers := w.one(3)
	if tiers {
		w.block("map "+w.pick("$http_x_tier", "$cookie_version", "$arg_room", "$host")+" $tier", func() {
			w.line("default %s;", w.groups[0])
			w.line("gold %s;", w.pick(w.groups...))
			w.line("2 %s;", w.pick(w.groups...))
			w.line("7 %s;", w.pick(w.groups...))
			w.line("a.example.com %s;", w.pick(w.groups...))
		})
	}
	names := [][]string{{"a.example.com"}, {"b.example.com", "www.b.example.com"}, {"*.wild.example.com"}, {".dot.example.com"}, {"mail.*"}, {`~^(?<tenant>\w+)\.tenants\.example\.com$`}, {"_"}}
	w.line("# try hosts: acme.tenants.example.com a.example.com. A.example.com")
	w.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for i := range 1 + w.IntN(3) {
		upgrade := strings.Contains(w.String(), "$connection_upgrade")
		w.block("server", func() {
			w.line("listen %s;", w.pick("80", "80", "8088", "80 default_server"))
			w.line("server_name %s;", strings.Join(names[i], " "))
			w.server(upgrade, tiers)
		})
	}
	return w.text()
}

// text is what was written. Only one server can be the default of an address.
func (w *writer) text() string {
	text := w.String()
	first, rest, _ := strings.Cut(text, " default_server")
	if rest == "" {
		return text
	}
	return first + " default_server" + strings.ReplaceAll(rest, " default_server", "")
}

func (w *writer) upstream(name string) {
	w.groups = append(w.groups, name)
	w.block("upstream "+name, func() {
		method := w.pick("", "", "", "least_conn;", "ip_hash;", "hash $remote_addr consistent;", "hash $request_uri;", "hash $http_x_tier consistent;", "random;", "random two least_conn;")
		if method != "" {
			w.line("%s", method)
		}
		n := 1 + w.IntN(3)
		for range n {
			w.line("server %s%s;", w.address(), w.pick("", "", "", " weight=3", " max_fails=3 fail_timeout=30s", " max_conns=100"))
		}
		if n > 1 && (method == "" || method == "least_conn;") {
			w.line("server %s %s;", w.address(), w.pick("backup", "down"))
		}
		if w.one(3) {
			w.line("keepalive %d;", 8+w.IntN(64))
		}
	})
}

// server writes what is in a server block.
func (w *writer) server(upgrade, tiers bool) {
	if w.one(3) {
		w.line("client_max_body_size 10m;")
	}
	if w.one(3) {
		w.line("proxy_http_version 1.1;")
	}
	if w.one(2) {
		w.headers(upgrade)
	}
	if w.one(12) {
		w.line("return 301 %s;", w.pick("https://$host$request_uri", "https://new.example.com$request_uri", "/moved"))
		return
	}
	paths := []string{"/", "/ws", "/ws/", "/api", "/api/", "/api/v2/", "/chat/rooms/", "/static/", "/app"}
	w.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	for i := range 1 + w.IntN(5) {
		w.location(w.pick("", "", "", "", "^~ ", "= "), paths[i], upgrade, tiers, 0)
	}
	for range w.IntN(3) {
		pattern := w.pick(`\.(png|css|js)$`, `^/ws/(\d+)$`, `^/api/(v1|v2)/`, `/sub/`, `^/app.*x$`, `B$`)
		if !strings.Contains(w.String(), pattern) {
			w.location(w.pick("~ ", "~* "), pattern, upgrade, tiers, 0)
		}
	}
}

func (w *writer) location(modifier, path string, upgrade, tiers bool, depth int) {
	w.block("location "+modifier+path, func() {
		pattern := strings.HasPrefix(modifier, "~")
		if pattern {
			w.line("# try paths: /ws/77 /api/v1/users /app/x /apix /x.PNG /sub/ /B")
		}
		switch w.IntN(14) {
		case 0:
			w.line("return %s;", w.pick("403", "404", "204", "301 https://$host$request_uri", "302 /elsewhere", "308 https://b.example.com/new", "200 healthy", "503", "301 $scheme://www.example.com$uri"))
			return
		case 1:
			w.line("allow 198.51.100.0/24;")
			if w.one(2) {
				w.line("allow 10.0.0.0/8;")
			}
			w.line("deny all;")
		case 2:
			w.line("deny 203.0.113.10;")
		}
		if w.one(2) {
			w.headers(upgrade)
		}
		target := "http://" + w.pick(w.groups...)
		switch {
		case tiers && w.one(2):
			target = "http://$tier"
		case pattern:
		case w.one(3):
			target += w.pick("/", "/inner/", "/inner", path, "/a/b/")
		}
		if w.one(5) {
			w.line("proxy_read_timeout %s;", w.pick("1h", "86400s", "300"))
		}
		if w.one(8) {
			w.line("proxy_buffering off;")
		}
		if w.one(8) {
			w.line("proxy_next_upstream %s;", w.pick("error timeout", "error timeout http_502 http_503", "off"))
		}
		w.line("proxy_pass %s;", target)
		if depth == 0 && modifier == "" && w.one(3) {
			w.location(w.pick("", "^~ "), strings.TrimSuffix(path, "/")+w.pick("/deep/", "/sub"), upgrade, tiers, 1)
		}
	})
}

// headers writes some of the usual header lines.
func (w *writer) headers(upgrade bool) {
	connection := `"upgrade"`
	if upgrade {
		connection = "$connection_upgrade"
	}
	n := 0
	for _, line := range []string{
		"Host $host", "Host $http_host", "X-Real-IP $remote_addr", "X-Forwarded-For $proxy_add_x_forwarded_for", "X-Forwarded-For $remote_addr", "X-Forwarded-Proto $scheme",
		"X-Forwarded-Host $host", "X-Forwarded-Port $server_port", `X-Custom "fixed value"`, `Accept-Encoding ""`, "X-Uri $request_uri", "X-Query $args", "X-Path $uri", "Origin $http_origin",
		`Authorization ""`, "X-Tier $http_x_tier", "X-Version $cookie_version", "X-Room $arg_room", "X-Server $server_name",
	} {
		name, _, _ := strings.Cut(line, " ")
		if w.one(4) && !strings.Contains(w.last(n), "proxy_set_header "+name+" ") {
			w.line("proxy_set_header %s;", line)
			n++
		}
	}
	if n == 0 || !w.one(4) {
		w.line("proxy_set_header Upgrade $http_upgrade;")
		w.line("proxy_set_header Connection %s;", connection)
	}
}

// last returns the last n lines.
func (w *writer) last(n int) string {
	lines := strings.Split(strings.TrimSuffix(w.String(), "\n"), "\n")
	return strings.Join(lines[len(lines)-n:], "\n")
}
