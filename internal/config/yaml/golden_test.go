package yaml

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/testkit/golden"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// TestGolden compares what each file of testdata gives with the golden file
// beside it: the configuration and its warnings, or the errors.
func TestGolden(t *testing.T) {
	for _, kind := range []string{"good", "bad"} {
		files, err := filepath.Glob(filepath.Join("testdata", kind, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in testdata/%s: %v", kind, err)
		}
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".yaml")
			t.Run(kind+"/"+name, func(t *testing.T) {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				c, f, err := parse(filepath.Base(file), data)
				if (err == nil) != (kind == "good") {
					t.Fatalf("a file in %s gave the error %v", kind, err)
				}
				got := ""
				if err != nil {
					got = err.Error() + "\n"
				} else {
					got = dump(c, f)
				}
				golden.Compare(t, strings.TrimSuffix(file, ".yaml")+".golden", got)
			})
		}
	}
}

// dump writes out all of c, in an order that doesn't change, with the places of
// f, if it isn't nil.
func dump(c *config.Config, f *File) string {
	var b strings.Builder
	at := func(p config.Path) string {
		if f == nil {
			return "0:0"
		}
		place := f.Place(p)
		return fmt.Sprintf("%d:%d", place.Line, place.Col)
	}
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for i, l := range c.Listeners {
		line("listener %s at %s (%s)", l.Name, l.Address, at(config.Path("listeners").Index(i)))
		dumpListener(line, l)
		dumpAccess(line, l.Allow, l.Deny, l.Origins)
	}
	for i, r := range c.Routes {
		websocket := "any"
		if r.Match.WebSocket != nil {
			websocket = fmt.Sprint(*r.Match.WebSocket)
		}
		line("route host=%q path=%q websocket=%s to %s (%s)", r.Match.Host.String(), r.Match.Path.String(), websocket, r.Pool, at(config.Path("routes").Index(i)))
		if r.Opaque() {
			line("  sni=%q alpn=%q", r.Match.SNI.String(), r.Match.ALPN)
		}
		if len(r.Upgrades) > 0 {
			line("  upgrades %q", r.Upgrades)
		}
		dumpMatch(line, r.Match)
		dumpAnswer(line, &r)
		dumpAccess(line, r.Allow, r.Deny, r.Origins)
		if r.Subprotocols != nil {
			line("  subprotocols %q", r.Subprotocols)
		}
		dumpLimits(line, &r.Limits, config.RouteLimits{})
		dumpForwarding(line, r)
	}
	for what, e := range edits(&c.RequestHeaders, &c.ResponseHeaders) {
		line("%s %q", what, e)
	}
	for _, p := range c.Pools {
		line("pool %s by %s (%s)", p.Name, p.Balance, at(config.PoolPath(p.Name)))
		dumpPool(line, p)
	}
	line("timeouts %+v", c.Timeouts)
	line("shutdown %+v", c.Shutdown)
	line("keepalive %+v", c.Keepalive)
	line("forwarded %+v", c.Forwarded)
	line("http %+v", c.HTTP)
	line("limits {MaxSessions:%d MaxHandshakes:%d MaxHandshakesPerAddress:%d SendBuffer:%d BacklogMemory:%d}", c.Limits.MaxSessions, c.Limits.MaxHandshakes, c.Limits.MaxHandshakesPerAddress, c.Limits.SendBuffer, c.Limits.BacklogMemory)
	if len(c.Limits.Exempt) > 0 {
		line("  exempt %v", c.Limits.Exempt)
	}
	dumpLimits(line, &c.Limits.RouteLimits, config.Defaults().Limits.RouteLimits)
	admin := ""
	if !c.Admin.Address.IsZero() {
		admin = c.Admin.Address.String()
	}
	line("admin {Address:%s}", admin)
	if rest := c.Admin; rest != (config.Admin{Socket: config.SocketAuto, State: config.StateAuto, Address: rest.Address}) {
		secure := config.AdminTLS{}
		if rest.TLS != nil {
			secure = *rest.TLS
		}
		line("  socket %s mode %s token_file %s tls %+v state %s health %s", rest.Socket, rest.Permissions(), rest.TokenFile, secure, rest.State, rest.Health)
	}
	line("log %+v", c.Log)
	if t := c.Tracing; t != nil {
		shown := *t
		shown.HeadersFile = relative(t.HeadersFile)
		line("tracing %+v", shown)
	}
	line("engine %s", c.Engine)
	for _, w := range c.Warnings {
		line("warning %v", w)
	}
	return b.String()
}

// dumpLimits leaves out limits that are as by default.
func dumpLimits(line func(string, ...any), l *config.RouteLimits, defaults config.RouteLimits) {
	v, usual := reflect.ValueOf(l).Elem(), reflect.ValueOf(defaults)
	for _, f := range reflect.VisibleFields(v.Type()) {
		if field := v.FieldByIndex(f.Index); !f.Anonymous && !field.IsZero() && !reflect.DeepEqual(field.Interface(), usual.FieldByIndex(f.Index).Interface()) {
			line("  %s %+v", f.Name, reflect.Indirect(field))
		}
	}
}

// edits are those that aren't empty, with their keys.
func edits(request, answer *config.HeaderEdits) iter.Seq2[string, config.HeaderEdits] {
	return func(yield func(string, config.HeaderEdits) bool) {
		for i, e := range []*config.HeaderEdits{request, answer} {
			what := []string{"request_headers", "response_headers"}[i]
			if (e.Set != nil || e.Add != nil || e.Remove != nil) && !yield(what, *e) {
				return
			}
		}
	}
}

// dumpForwarding leaves out what a route doesn't change.
func dumpForwarding(line func(string, ...any), r config.Route) {
	for what, e := range edits(&r.RequestHeaders, &r.ResponseHeaders) {
		line("  %s %q", what, e)
	}
	if r.Rewrite.Host != "" {
		line("  rewrite host %q", r.Rewrite.Host)
	}
	if p := r.Rewrite.PathPrefix; p != nil {
		line("  rewrite path_prefix from %q to %q", p.From.String(), p.To.String())
	}
	if r.Rewrite.Path != "" {
		line("  rewrite path %q", r.Rewrite.Path)
	}
	t := r.Timeouts
	for i, d := range []*time.Duration{t.Connect, t.Handshake, t.Idle, t.MaxLifetime, t.Response, t.Request} {
		if d != nil {
			line("  timeouts %s %v", []string{"connect", "handshake", "idle", "max_lifetime", "response", "request"}[i], *d)
		}
	}
}

// dumpPool leaves out what a pool doesn't have.
func dumpPool(line func(string, ...any), p config.Pool) {
	if len(p.Hash.Key) > 0 || p.Hash.Bound != 0 {
		line("  hash %q bound %v", texts(p.Hash.Key), p.Hash.Bound)
	}
	if p.MaxSessions != 0 {
		line("  max_sessions %d", p.MaxSessions)
	}
	if c := p.Affinity.Cookie; c != nil {
		if c.Value != "signed" {
			line("  cookie value %s", c.Value)
		}
		line("  cookie {Name:%s Path:%s Domain:%s SameSite:%s Secure:%s MaxAge:%v Secret:%s}", c.Name, c.Path, c.Domain, c.SameSite, c.Secure, c.MaxAge, c.Secret)
	}
	if t := p.Affinity.Token; t != nil {
		line("  token %q", texts(t.From))
	}
	if l := p.Affinity.Learn; l != nil {
		line("  learn %q answer %q expire %v max %d", texts(l.From), texts(l.Answer), l.Expire, l.Max)
	}
	if p.Affinity.Fallback != "balance" {
		line("  fallback %s", p.Affinity.Fallback)
	}
	h := p.Health
	if h.HTTP != nil {
		line("  http %s %q expect %v host %q body %q headers %q", h.HTTP.Method, h.HTTP.Path, h.HTTP.Expect, h.HTTP.Host, h.HTTP.Body, h.HTTP.Headers)
	}
	if h.WebSocket != nil {
		c := h.WebSocket
		line("  websocket %q send %q expect %q host %q headers %q subprotocol %q", c.Path, c.Send, c.Expect, c.Host, c.Headers, c.Subprotocol)
	}
	if h.TCP {
		line("  tcp")
	}
	if h.Agent != nil {
		line("  agent %d %q", h.Agent.Port, h.Agent.Send)
	}
	if h.Port != 0 || h.OnDown != "keep" {
		line("  health port %d on_down %s", h.Port, h.OnDown)
	}
	line("  health every %v in %v fall %d rise %d, max_fails %d in %v, min_healthy %d %d%%, slow_start %v",
		h.Interval, h.Timeout, h.Fall, h.Rise, h.MaxFails, h.FailTimeout, h.MinHealthy.Count, h.MinHealthy.Percent, h.SlowStart)
	if p.Drain != (config.Drain{Timeout: 300 * time.Second, Spread: 60 * time.Second, Code: 1001, Reason: "going away", Sticky: "move"}) {
		line("  drain in %v, over %v, with %d %q, keep %v", p.Drain.Timeout, p.Drain.Spread, p.Drain.Code, p.Drain.Reason, p.Drain.Sticky == "keep")
	}
	if p.Admit != nil {
		line("  admit %+v", *p.Admit)
	}
	if p.RetryOn != nil {
		line("  retry_on %v", p.RetryOn)
	}
	if p.Reattach != nil {
		line("  reattach %+v", *p.Reattach)
	}
	if p.Rebalance != nil {
		r := p.Rebalance
		line("  rebalance {Above:%d Rate:%v MinAge:%v StickyMove:%v}", r.Above, r.Rate, r.MinAge, r.Sticky == "move")
	}
	if t := p.TLS; t != nil {
		line("  tls ca %q server_name %q cert %q key %q insecure_skip_verify %v", relative(t.CA), t.ServerName, relative(t.Cert), relative(t.Key), t.InsecureSkipVerify)
	}
	for _, s := range p.Backends {
		most := ""
		if s.MaxSessions != 0 {
			most = fmt.Sprintf(" max_sessions %d", s.MaxSessions)
		}
		if s.HealthPort != 0 {
			most += fmt.Sprintf(" health_port %d", s.HealthPort)
		}
		if s.Backup {
			most += " backup"
		}
		line("  backend %s at %s weight %d%s", s.Name, s.Address, s.Weight, most)
	}
	if p.DNS != nil {
		d, server := p.DNS, ""
		if !d.Server.IsZero() {
			server = d.Server.String()
		}
		line("  dns {Name:%s Type:%s Port:%d Family:%s Refresh:%v Server:%s}", d.Name, d.Type, d.Port, d.Family, d.Refresh, server)
	}
	if a := p.AWS; a != nil {
		tag := ""
		if a.EC2Tag != nil {
			tag = fmt.Sprintf("%q=%q", a.EC2Tag.Name, a.EC2Tag.Value)
		}
		line("  aws {Region:%s EC2Tag:%s AutoScalingGroup:%q ECSService:%q ECSCluster:%q Port:%d Address:%s Refresh:%v Endpoint:%s}",
			a.Region, tag, a.AutoScalingGroup, a.ECSService, a.ECSCluster, a.Port, a.Address, a.Refresh, a.Endpoint)
	}
	if p.File != "" {
		line("  file %s", relative(p.File))
	}
}

// dumpListener leaves out what a listener doesn't have.
func dumpListener(line func(string, ...any), l config.Listener) {
	if l.MaxSessions != 0 {
		line("  max_sessions %d", l.MaxSessions)
	}
	if l.Redirect != "" {
		line("  redirect %s", l.Redirect)
	}
	if l.Mode != "" || l.Pool != "" {
		line("  mode %q to %q", l.Mode, l.Pool)
	}
	dumpSplit(line, l.Split)
	t := l.TLS
	if t == nil {
		return
	}
	line("  tls from %s strict_sni %v http2 %v ticket_secret %q", t.MinVersion, t.StrictSNI, t.HTTP2, t.TicketSecret)
	if t.Isolate != nil {
		line("    isolate %v", t.Isolate)
	}
	for _, c := range t.Certificates {
		line("    certificate %s key %q", relative(c.Cert), relative(c.Key))
	}
	if t.ClientCA != "" {
		line("    client_ca %s %s headers %q", relative(t.ClientCA), t.ClientAuth, t.ClientHeaders)
	}
	if a := t.ACME; a != nil {
		line("    acme %q email %q directory %s profile %q ca %q storage %s", a.Domains, a.Email, a.Directory, a.Profile, relative(a.CA), relative(a.Storage))
	}
}

// relative is a path that doesn't depend on where the tests run.
func relative(path string) string {
	if working, err := os.Getwd(); err == nil && filepath.IsAbs(path) {
		if relative, err := filepath.Rel(working, path); err == nil && !strings.HasPrefix(relative, "..") {
			return "./" + relative
		}
	}
	return path
}

func texts(parts []requestkey.Part) (list []string) {
	for _, p := range parts {
		list = append(list, p.String())
	}
	return list
}
