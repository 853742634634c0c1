package app_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// adminFile is a file with this section admin.
func adminFile(section string) string {
	return "listeners: [{address: \"127.0.0.1:0\"}]\nengine: portable\nadmin: {" + section + "}\npools: {a: {backends: [{address: \"127.0.0.1:1\"}]}}\n"
}

// asks asks a balancer for its status.
func asks(t *testing.T, o client.Options) error {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Status(t.Context())
	return err
}

// socket: auto is where commands look for it. What a process that has ended left there is
// replaced, but not the socket of another balancer.
func TestAdminSocket(t *testing.T) {
	dir := filepath.Dir(testkit.SocketPath(t))
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("HOLDFAST_ADMIN", "")
	path := filepath.Join(dir, "holdfast", "admin.sock")
	os.Mkdir(filepath.Dir(path), 0o700)
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	first := start(t, adminFile(""))
	if first.AdminSocket() != path || first.AdminAddr() != "" {
		t.Errorf("the socket is %q, the address %q", first.AdminSocket(), first.AdminAddr())
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("%v, %v", info, err)
	}
	if err := asks(t, client.Options{}); err != nil {
		t.Error(err)
	}
	second := start(t, adminFile(""))
	second.stop()
	if second.AdminSocket() != "" || !strings.Contains(second.log.String(), "another process listens there") {
		t.Errorf("the second has the socket %q: %s", second.AdminSocket(), second.log)
	}
	if err := asks(t, client.Options{}); err != nil {
		t.Errorf("after the end of the second: %v", err)
	}
	_, err = app.Start(app.Options{Load: func() (*config.Config, error) { return yaml.Parse("f", []byte(adminFile("socket: "+path))) }, LogTo: &testkit.Log{}})
	if err == nil || !strings.Contains(err.Error(), "admin.socket: listen on unix:"+path+": another process listens there") {
		t.Errorf("with the path: %v", err)
	}
	first.stop()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is still there")
	}
	t.Setenv("RUNTIME_DIRECTORY", dir+":/other")
	if r := start(t, adminFile("socket_mode: 0600")); r.AdminSocket() != dir+"/admin.sock" {
		t.Errorf("under systemd the socket is %q", r.AdminSocket())
	}
	if r := start(t, adminFile("socket: off")); r.AdminSocket() != "" {
		t.Errorf("with off the socket is %q", r.AdminSocket())
	}
}

// The health address answers nothing else.
func TestHealthAddress(t *testing.T) {
	at := testkit.FreeAddress(t)
	r := start(t, adminFile("socket: off, health: \""+at+"\""))
	for path, want := range map[string]int{"/health": 200, "/metrics": 404, "/v1/status": 404, "/": 404} {
		if status, body := get("http://" + at + path); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	r.stop()
	if status, _ := get("http://" + at + "/health"); status != 0 {
		t.Errorf("%d after the end", status)
	}
}

const tokenA, tokenB = "token-a-0123456789", "token-b-0123456789"

// Tokens and certificates are read again at a reload. A reload that changes the address
// doesn't open the one in use.
func TestAdminAccess(t *testing.T) {
	ca, other := testca.New(t), testca.New(t)
	cert, key := ca.Issue("127.0.0.1").Files()
	tokens := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(tokens, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(tokenA)
	file := func(ca string, more string) string {
		return adminFile(fmt.Sprintf("socket: off, address: \"127.0.0.1:0\", token_file: %s, tls: {cert: %s, key: %s, client_ca: %s}%s", tokens, cert, key, ca, more))
	}
	r := start(t, file(ca.File(), ""))
	operator, operatorKey := ca.Issue("operator").Files()
	stranger, strangerKey := other.Issue("operator").Files()
	good := client.Options{Address: r.AdminAddr(), CA: ca.File(), Cert: operator, Key: operatorKey, Token: tokenA}
	with := func(change func(*client.Options)) client.Options {
		o := good
		change(&o)
		return o
	}
	for _, test := range []struct {
		name string
		o    client.Options
		want string
	}{
		{"all right", good, ""},
		{"no token", with(func(o *client.Options) { o.Token = "" }), "no token: send one of admin.token_file"},
		{"another token", with(func(o *client.Options) { o.Token = tokenB }), "wrong token: send one of admin.token_file"},
		{"no certificate", with(func(o *client.Options) { o.Cert, o.Key = "", "" }), "--cert and --key name a certificate for it"},
		{"a certificate of another authority", with(func(o *client.Options) { o.Cert, o.Key = stranger, strangerKey }), "--cert and --key name a certificate for it"},
		{"an unknown authority", with(func(o *client.Options) { o.CA = other.File() }), "it is signed by an unknown authority"},
		{"no TLS", client.Options{Address: r.AdminAddr(), Token: tokenA}, "Client sent an HTTP request to an HTTPS server"},
	} {
		if err := asks(t, test.o); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}

	// Rotation: both, and then only the new one.
	old, next := good, with(func(o *client.Options) { o.Token = tokenB })
	check := func(what string, o client.Options, ok bool) {
		t.Helper()
		if err := asks(t, o); (err == nil) != ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	write(tokenA + "\n" + tokenB)
	r.mustReload(file(ca.File(), ""))
	check("the old one of two", old, true)
	check("the new one of two", next, true)
	write(tokenB)
	r.mustReload(file(other.File(), ""))
	check("a replaced token", old, false)
	check("an authority that was replaced", next, false)
	next.Cert, next.Key = stranger, strangerKey
	check("both are new", next, true)
	write("short")
	if _, err := r.reload(file(other.File(), "")); err == nil || !strings.Contains(err.Error(), "fewer than 16") || strings.Contains(err.Error(), `"short"`) {
		t.Errorf("a bad token: %v", err)
	}
	check("after a refused reload", next, true)

	// A configuration without protection, for another address.
	warnings := r.mustReload(adminFile(`socket: off, address: "127.0.0.2:0"`))
	if len(warnings) != 2 || !strings.Contains(warnings[0], "admin.address") || !strings.Contains(warnings[1], "admin.tls") {
		t.Errorf("%q", warnings)
	}
	check("while a change is pending", next, true)
	next.Token = ""
	check("without a token while a change is pending", next, false)
}

// A connection that was made while a token was enough needs a certificate, too, when the
// configuration asks for one instead of tokens.
func TestAdminConnectionBeforeAReload(t *testing.T) {
	ca, other := testca.New(t), testca.New(t)
	cert, key := ca.Issue("127.0.0.1").Files()
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte(tokenA), 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(more string) string {
		return adminFile(fmt.Sprintf("socket: off, address: \"127.0.0.1:0\", tls: {cert: %s, key: %s%s", cert, key, more))
	}
	r := start(t, file("}, token_file: "+tokens))
	operator, err := tls.LoadX509KeyPair(ca.Issue("operator").Files())
	if err != nil {
		t.Fatal(err)
	}
	get := func(c *http.Client) int {
		t.Helper()
		res, err := c.Get("https://" + r.AdminAddr() + "/v1/log")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		io.Copy(io.Discard, res.Body) // so that the connection is used again
		return res.StatusCode
	}
	connect := func(certs ...tls.Certificate) *http.Client {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certs}}}
		t.Cleanup(c.CloseIdleConnections)
		return c
	}
	before := connect()
	if got := get(before); got != http.StatusUnauthorized {
		t.Errorf("without a token: %d", got)
	}
	r.mustReload(file(", client_ca: " + ca.File() + "}"))
	if got := get(before); got != http.StatusUnauthorized {
		t.Errorf("without a certificate, on a connection of before: %d", got)
	}
	with := connect(operator)
	if got := get(with); got != http.StatusOK {
		t.Errorf("with a certificate: %d", got)
	}
	r.mustReload(file(", client_ca: " + other.File() + "}"))
	if got := get(with); got != http.StatusUnauthorized {
		t.Errorf("with a certificate of an authority that was replaced: %d", got)
	}
}

// --admin is checked like the address of the file.
func TestAdminFlagBeyondThisMachine(t *testing.T) {
	at, err := config.ParseAdmin("--admin", "0.0.0.0:9900")
	if err != nil {
		t.Fatal(err)
	}
	_, err = app.Start(app.Options{Admin: at, Load: func() (*config.Config, error) { return yaml.Parse("f", []byte(adminFile(""))) }, LogTo: &testkit.Log{}})
	if err == nil || !strings.HasPrefix(err.Error(), `--admin 0.0.0.0:9900: "0.0.0.0:9900" can be reached from other machines`) {
		t.Errorf("%v", err)
	}
}

// Requests to the admin interface are counted by endpoint.
func TestAdminRequestsAreCounted(t *testing.T) {
	r := start(t, adminFile(`socket: off, address: "127.0.0.1:0"`))
	get("http://" + r.AdminAddr() + "/v1/pools/a")
	get("http://" + r.AdminAddr() + "/v1/nothing")
	_, metrics := get("http://" + r.AdminAddr() + "/metrics")
	for _, want := range []string{`holdfast_admin_requests_total{code="2xx",endpoint="GET /v1/pools/{pool}"} 1`, `code="4xx"`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
}

// A file of tokens that can't be used is an error of holdfast check, too.
func TestCheckReadsTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte("# none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{path: path + ": there is no token", path + "x": "no such file"} {
		c, err := yaml.Parse("f", []byte(adminFile(`address: "127.0.0.1:0", token_file: `+file)))
		if err != nil {
			t.Fatal(err)
		}
		if errs, _ := app.CheckFiles(c); len(errs) != 1 || errs[0].Path != "admin.token_file" || errs[0].Line != 3 || !strings.Contains(errs[0].Msg, want) {
			t.Errorf("%v, want %s", errs, want)
		}
	}
}
