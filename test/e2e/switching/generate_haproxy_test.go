//go:build linux

package switching

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generateHAProxy returns a haproxy.cfg.
func generateHAProxy(seed uint64) string {
	w := &writer{Rand: rand.New(rand.NewPCG(seed, 2))}
	w.line("# try clients: 203.0.113.10 203.0.113.11 198.51.100.3 10.20.0.7")
	w.line("# try headers: X-Tier:gold X-Tier:GOLD X-Version:2 X-Version:10")
	w.line("# try cookies: version=2 version=1;x=y session=abc")
	w.line("# try hosts: a.example.com www.b.example.com ws.example.com static.example.com example.com")
	w.line("# try paths: /ws /api/v1/users /chat/rooms/7 /x.png /deep/ws/deep /admin/x /old/page")
	w.section("global", func() {
		w.line("maxconn 4096")
		w.line("log /dev/log local0")
	})
	w.section("defaults", func() {
		w.line("mode http")
		w.line("timeout connect 5s")
		w.line("timeout client %s", w.pick("30s", "50000", "1m"))
		w.line("timeout server %s", w.pick("30s", "50000", "1h"))
		for _, option := range []string{"timeout tunnel 1h", "option httplog", "option dontlognull", "option http-server-close", "option forwardfor", "option redispatch", "retries 3"} {
			if w.one(3) {
				w.line("%s", option)
			}
		}
	})
	for i := range 2 + w.IntN(3) {
		w.groups = append(w.groups, fmt.Sprintf("be%d", i))
	}
	for i := range 1 + w.IntN(2) {
		w.section(fmt.Sprintf("frontend fe%d", i), func() { w.frontend([]string{"80", "8088"}[i]) })
	}
	for _, name := range w.groups {
		w.section("backend "+name, func() { w.backend() })
	}
	return w.String()
}

// section writes a section.
func (w *writer) section(head string, body func()) {
	w.line("%s", head)
	w.depth++
	body()
	w.depth--
	w.line("")
}

// acls are conditions by name. Names that begin with not are used with "!" only.
var acls = []string{
	"is_ws hdr(Upgrade) -i websocket", "is_upgrade hdr(Connection) -i upgrade", "host_ws hdr_beg(host) -i ws.", "host_a hdr(host) -i a.example.com", "host_b hdr_end(host) -i b.example.com",
	"host_any hdr_dom(host) -i example.com", "p_ws path_beg /ws", "p_api path_beg -i /api", "p_chat path_dir rooms", "p_static path_end .png .css .js", "p_exact path /admin /old/page",
	"p_sub path_sub deep", `p_re path_reg ^/chat/rooms/[0-9]+$`, "tier_gold hdr(X-Tier) gold", "tier_any hdr(X-Tier) -m found", "v_cookie cook(version) 2", "room url_param(room) 7",
	"inside src 10.0.0.0/8", "partner src 198.51.100.0/24", "m_get method GET HEAD", "m_post method POST PUT",
}

// condition returns a condition of one to three terms, of the ACLs in names.
func (w *writer) condition(names []string) string {
	var b strings.Builder
	b.WriteString(w.pick("if ", "if ", "if ", "unless "))
	for i := range 1 + w.IntN(3) {
		if i > 0 {
			b.WriteString(w.pick(" ", " ", " || ", " or "))
		}
		if w.one(4) {
			b.WriteString("!")
		}
		if w.one(6) {
			b.WriteString(w.pick("{ path_beg /api/v1 }", "{ hdr(host) -i a.example.com }", "{ path / }", "{ hdr_sub(User-Agent) test }"))
			continue
		}
		b.WriteString(w.pick(names...))
	}
	return b.String()
}

func (w *writer) frontend(port string) {
	w.line("bind %s", w.pick("*:"+port, ":"+port))
	var names []string
	for range 2 + w.IntN(6) {
		acl := w.pick(acls...)
		name, _, _ := strings.Cut(acl, " ")
		w.line("acl %s", acl)
		names = append(names, name)
	}
	w.rules(names, 3)
	for range w.IntN(4) {
		w.line("use_backend %s %s", w.pick(w.groups...), w.condition(names))
	}
	if !w.one(6) {
		w.line("default_backend %s", w.pick(w.groups...))
	}
}

// rules writes up to n http-request rules.
func (w *writer) rules(names []string, n int) {
	for range w.IntN(n) {
		rule := w.pick(
			"set-header X-Forwarded-Proto http", "set-header X-Real-IP %[src]", "set-header X-Custom fixed", "add-header X-Custom second", "del-header X-Custom", "set-header X-Host %[hdr(host)]",
			"set-header X-Forwarded-Port %[dst_port]", "del-header Authorization", `set-header X-Text "two words"`, "deny", "deny deny_status 404", "deny deny_status 429", "redirect scheme https",
			"redirect scheme https code 301", "redirect location /elsewhere", "redirect prefix https://b.example.com", "redirect location https://b.example.com/x code 303", "set-header Host inner.example.com",
			"return status 200", "set-path /inner%[path]", `replace-path /old/(.*) /new/\1`,
		)
		decides := strings.HasPrefix(rule, "deny") || strings.HasPrefix(rule, "redirect") || strings.HasPrefix(rule, "return")
		if decides && w.one(2) {
			continue
		}
		if decides || w.one(2) {
			rule += " " + w.condition(names)
		}
		w.line("http-request %s", rule)
	}
}

func (w *writer) backend() {
	balance := w.pick("roundrobin", "roundrobin", "leastconn", "source", "uri", "hdr(X-Tier)", "url_param room", "random", "first", "")
	if balance != "" {
		w.line("balance %s", balance)
		if balance != "first" && balance != "leastconn" && w.one(4) {
			w.line("hash-type consistent")
		}
	}
	sticky := w.one(4)
	if sticky {
		w.line("cookie SRV insert%s", w.pick("", " indirect", " indirect nocache", " indirect nocache httponly"))
	}
	if w.one(4) {
		w.line("option forwardfor%s", w.pick("", " header X-Client-IP", " if-none"))
	}
	var names []string
	if w.one(4) {
		w.line("acl is_ws hdr(Upgrade) -i websocket")
		w.line("acl p_api path_beg /api")
		names = []string{"is_ws", "p_api"}
		w.rules(names, 3)
	}
	if w.one(3) {
		w.line("option httpchk GET /health")
	}
	check := w.pick("", " check", " check inter 2s fall 3 rise 2")
	for i := range 1 + w.IntN(3) {
		options := check + w.pick("", "", "", " weight 50", " maxconn 200")
		if sticky {
			options += fmt.Sprintf(" cookie s%d", i)
		}
		w.line("server s%d %s%s", i, w.address(), options)
	}
	if w.one(5) && balance != "first" {
		w.line("server spare %s backup", w.address())
	}
}
