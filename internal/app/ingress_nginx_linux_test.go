package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/ingress"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// An ingressPath is a path of a generated Ingress.
type ingressPath struct {
	host, path, kind, service string
}

// A generatedIngress has paths, and perhaps annotations.
type generatedIngress struct {
	paths          []ingressPath
	rewrite        string
	useRegex       bool
	appRoot        string
	redirect       string
	defaultService string
}

// generate makes the Ingresses of one cluster.
func generate(r *rand.Rand) (all []generatedIngress) {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	for range 1 + r.IntN(3) {
		var g generatedIngress
		switch r.IntN(8) {
		case 0:
			g.useRegex = true
		case 1:
			g.rewrite = pick("/", "/new", "/$2", "/new/$2", "/foo")
		case 2:
			g.appRoot = "/home"
		case 3:
			g.redirect = pick("https://elsewhere.example$request_uri", "https://elsewhere.example/fixed")
		}
		if r.IntN(6) == 0 {
			g.defaultService = "fallback"
		}
		for range 1 + r.IntN(4) {
			p := ingressPath{
				host:    pick("a.example.com", "b.example.com", "a.example.com", "*.example.com", ""),
				path:    pick("/", "/foo", "/foo/", "/foo/bar", "/Foo", "/foobar", "/f", "/foo.bar", "/a/b/c"),
				kind:    pick("Exact", "Prefix", "Prefix", "ImplementationSpecific"),
				service: pick("s1", "s2", "s3"),
			}
			if g.rewrite != "" || g.useRegex {
				p.path, p.kind = pick("/foo(/|$)(.*)", "/([a-z]+)/(.*)", "/foo", "/FOO(/|$)(.*)"), "ImplementationSpecific"
			}
			g.paths = append(g.paths, p)
		}
		all = append(all, g)
	}
	return all
}

// manifest is the text of Ingresses.
func manifest(all []generatedIngress) string {
	var b strings.Builder
	backend := func(service string) string {
		return fmt.Sprintf("{service: {name: %s, port: {number: 80}}}", service)
	}
	for i, g := range all {
		fmt.Fprintf(&b, "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: i%d\n  annotations:\n", i)
		for name, value := range map[string]string{"rewrite-target": g.rewrite, "app-root": g.appRoot, "permanent-redirect": g.redirect} {
			if value != "" {
				fmt.Fprintf(&b, "    nginx.ingress.kubernetes.io/%s: %q\n", name, value)
			}
		}
		fmt.Fprintf(&b, "    nginx.ingress.kubernetes.io/use-regex: %q\nspec:\n", fmt.Sprint(g.useRegex))
		if g.defaultService != "" {
			fmt.Fprintf(&b, "  defaultBackend: %s\n", backend(g.defaultService))
		}
		b.WriteString("  rules:\n")
		for _, p := range g.paths {
			fmt.Fprintf(&b, "    - host: %q\n      http: {paths: [{path: %q, pathType: %s, backend: %s}]}\n", p.host, p.path, p.kind, backend(p.service))
		}
	}
	return b.String()
}

// nginxLocation is a location as ingress-nginx keeps it.
type nginxLocation struct {
	path    string
	exact   bool
	service string // "" is the default backend, which has nothing
	from    *generatedIngress
	unset   bool
}

// nginxServers is what ingress-nginx writes into its nginx.conf for these Ingresses, as far
// as hosts and paths go: what its template and its controller do, in the order in which
// they do it. ok is false if nginx would refuse it: for both /x and /x/ as prefixes,
// ingress-nginx writes the same location twice.
func nginxServers(all []generatedIngress, socket, echo string) (text string, ok bool) {
	locations := map[string][]*nginxLocation{"": {{path: "/", unset: true}}}
	hosts := []string{""}
	for i := range all {
		g := &all[i]
		for _, p := range g.paths {
			if locations[p.host] == nil {
				hosts = append(hosts, p.host)
				locations[p.host] = []*nginxLocation{{path: "/", unset: true, service: g.defaultService, from: g}}
			}
		}
	}
	for i := range all {
		g := &all[i]
	paths:
		for _, p := range g.paths {
			exact := p.kind == "Exact"
			for _, l := range locations[p.host] {
				if l.path == p.path {
					if l.exact != exact {
						break
					}
					if l.unset {
						l.service, l.from, l.unset = p.service, g, false
					}
					continue paths
				}
			}
			locations[p.host] = append(locations[p.host], &nginxLocation{path: p.path, exact: exact, service: p.service, from: g})
		}
	}
	rewritten := func(l *nginxLocation) bool {
		return l.from != nil && l.from.rewrite != "" && l.from.rewrite != l.path
	}
	var b strings.Builder
	slices.Sort(hosts)
	for _, host := range hosts {
		list := locations[host]
		slices.SortStableFunc(list, func(a, b *nginxLocation) int { return strings.Compare(b.path, a.path) })
		slices.SortStableFunc(list, func(a, b *nginxLocation) int { return len(b.path) - len(a.path) })
		var split []*nginxLocation // a prefix is one location for what is below it, and one for itself
		for _, l := range list {
			if l.path == "/" || l.exact || rewritten(l) || l.from != nil && l.from.useRegex {
				split = append(split, l)
				continue
			}
			below := *l
			below.path = strings.TrimSuffix(l.path, "/") + "/"
			split = append(split, &below)
			if !slices.ContainsFunc(list, func(o *nginxLocation) bool { return o.exact && o.path == l.path }) {
				itself := *l
				itself.exact = true
				split = append(split, &itself)
			}
		}
		regex := slices.ContainsFunc(split, func(l *nginxLocation) bool { return rewritten(l) || l.from != nil && l.from.useRegex })
		fmt.Fprintf(&b, "server {\n  listen unix:%s%s;\n", socket, map[bool]string{true: " default_server"}[host == ""])
		switch rest, wildcard := strings.CutPrefix(host, "*."); {
		case host == "":
			b.WriteString("  server_name _;\n")
		case wildcard:
			fmt.Fprintf(&b, "  server_name ~^(?<subdomain>[\\w-]+)\\.%s$;\n", strings.ReplaceAll(rest, ".", `\.`))
		default:
			fmt.Fprintf(&b, "  server_name %s;\n", host)
		}
		names := map[string]bool{}
		for _, l := range split {
			name := fmt.Sprint(l.path, l.exact && !regex)
			if names[name] && !regex {
				return "", false
			}
			names[name] = true
			if l.from != nil && l.from.appRoot != "" {
				fmt.Fprintf(&b, "  if ($uri = /) { return 302 $scheme://$http_host%s; }\n", l.from.appRoot)
			}
			switch {
			case regex:
				fmt.Fprintf(&b, "  location ~* \"^%s\" {\n", l.path)
			case l.exact:
				fmt.Fprintf(&b, "  location = %q {\n", l.path)
			default:
				fmt.Fprintf(&b, "  location %q {\n", l.path)
			}
			if l.service == "" && (l.from == nil || l.from.redirect == "") {
				b.WriteString("    return 404;\n  }\n")
				continue
			}
			if l.from.redirect != "" {
				fmt.Fprintf(&b, "    return 301 %s;\n", l.from.redirect)
			}
			if l.from.rewrite != "" && l.path != l.from.rewrite {
				fmt.Fprintf(&b, "    rewrite \"(?i)%s\" %s break;\n", l.path, l.from.rewrite)
			}
			fmt.Fprintf(&b, "    proxy_set_header Host $http_host;\n    proxy_set_header X-Service default-%s-80;\n    proxy_pass http://%s;\n  }\n", l.service, echo)
		}
		b.WriteString("}\n")
	}
	return b.String(), true
}

// startNginx starts nginx with servers until the test ends.
func startNginx(t *testing.T, dir, servers string) {
	t.Helper()
	conf := fmt.Sprintf(`daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  port_in_redirect off;
  merge_slashes on;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
%[2]s
}
`, dir, servers)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nginx", "-p", dir, "-c", file, "-e", "stderr")
	log := &testkit.Log{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("nginx, which scripts/setup-tests.sh installs: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
	})
	testkit.Eventually(t, "nginx listens", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("nginx ended with %v\n%s", err, log.String())
		default:
		}
		c, err := net.Dial("unix", filepath.Join(dir, "0.sock"))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// asked is what a backend was asked for, and what a client got.
type asked struct {
	Status                 int
	Location               string
	Service, Host, Request string
}

func askOnce(t *testing.T, client *http.Client, base, host, uri string) (a asked) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &a); err != nil {
			t.Fatal(err)
		}
	}
	a.Status = resp.StatusCode
	if to := resp.Header.Get("Location"); to != "" {
		// nginx sends the whole URL, with or without a port. A path means the same.
		from, err := url.Parse("http://" + host + uri)
		if err != nil {
			t.Fatal(err)
		}
		u, err := from.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		u.Host = strings.ToLower(u.Hostname())
		a.Location = u.String()
	}
	return a
}

// TestIngressAsNginx compares an imported Ingress with nginx, whose configuration is what
// ingress-nginx would write: the same requests get to the same Service, with the same path.
func TestIngressAsNginx(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(asked{Service: r.Header.Get("X-Service"), Host: r.Host, Request: r.RequestURI})
	}))
	t.Cleanup(echo.Close)
	dir, err := os.MkdirTemp("", "ing") // paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const cases = 60
	r := rand.New(rand.NewPCG(16, 4))
	var clusters [][]generatedIngress
	servers := ""
	for len(clusters) < cases {
		g := generate(r)
		text, ok := nginxServers(g, filepath.Join(dir, fmt.Sprintf("%d.sock", len(clusters))), echo.Listener.Addr().String())
		if ok {
			clusters, servers = append(clusters, g), servers+text
		}
	}
	startNginx(t, dir, servers)

	current := 0
	file := filepath.Join(dir, "ingress.yaml")
	load := func() (*config.Config, error) {
		if err := os.WriteFile(file, []byte(manifest(clusters[current])), 0o600); err != nil {
			return nil, err
		}
		result, err := ingress.Import([]string{file}, importer.Options{})
		if err != nil {
			return nil, err
		}
		c := result.Config
		c.Listeners[0].Address = hostport.MustParse("127.0.0.1:0")
		c.RequestHeaders.Set = append(c.RequestHeaders.Set, [2]string{"X-Service", "${pool}"})
		for i := range c.Pools {
			c.Pools[i].DNS = nil
			c.Pools[i].Backends = []config.Backend{{Address: hostport.MustParse(echo.Listener.Addr().String()), Weight: 1, Name: "echo"}}
		}
		if len(c.Pools) == 0 {
			c.Pools = []config.Pool{config.NewPool("none", config.Backend{Address: hostport.MustParse("127.0.0.1:1")})}
		}
		return c, c.Validate()
	}
	a, err := app.Start(app.Options{Load: load, File: file, Version: "v1.2.3", LogTo: &testkit.Log{}})
	if err != nil {
		t.Fatalf("%v\n%s", err, manifest(clusters[0]))
	}
	t.Cleanup(func() { a.Shutdown(context.Background()) })
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	pairs, kinds := 0, map[int]int{}
	for current = range clusters {
		if _, err := a.Reload(); err != nil {
			t.Fatalf("%v\n%s", err, manifest(clusters[current]))
		}
		socket := filepath.Join(dir, fmt.Sprintf("%d.sock", current))
		there := &http.Client{CheckRedirect: stay, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}}}
		here := &http.Client{CheckRedirect: stay, Transport: &http.Transport{}}
		for _, host := range []string{"a.example.com", "B.example.com:8080", "x.example.com", "x.y.example.com", "other"} {
			for _, uri := range []string{"/", "/foo", "/foo/", "/foo/bar?x=1", "/foo/bar/baz", "/foobar", "/FOO/x", "/f", "/fooxbar", "/foo.bar", "/a/b/c/d", "/nothing?y=2", "/foo%20x/y"} {
				want := askOnce(t, there, "http://nginx", host, uri)
				got := askOnce(t, here, "http://"+a.Addresses()[0], host, uri)
				pairs++
				kinds[want.Status]++
				if got != want {
					t.Errorf("%s%s: %+v; nginx has %+v\n%s", host, uri, got, want, manifest(clusters[current]))
				}
			}
		}
		there.CloseIdleConnections()
		here.CloseIdleConnections()
		if t.Failed() {
			return
		}
	}
	t.Logf("%d pairs, by status: %v", pairs, kinds)
	if pairs < 2000 || kinds[200] < 500 || kinds[301] < 20 || kinds[302] < 5 || kinds[404] < 100 {
		t.Errorf("%d pairs, by status %v: too few of some kind", pairs, kinds)
	}
}
