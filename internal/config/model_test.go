package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// built is a Config as a program makes it, without a file.
func built() *Config {
	c := Defaults()
	c.Listeners = []Listener{{Address: hostport.MustParse("127.0.0.1:0")}}
	chat := NewPool("chat", Backend{Address: hostport.MustParse("WS1.internal:3000")}, Backend{Name: "two", Address: hostport.MustParse("10.0.0.2:3000")})
	chat.Balance = "hash"
	admit := &Admit{Rate: 200}
	admit.SetDefaults()
	chat.Admit = admit
	api := NewPool("api", Backend{Address: hostport.MustParse("10.0.0.3:80")})
	api.Health.HTTP = &HTTPCheck{Path: "/health"}
	api.Health.HTTP.SetDefaults()
	c.Pools = []Pool{chat, api}
	path, err := pattern.ParsePath("/ws")
	if err != nil {
		panic(err)
	}
	c.Routes = []Route{{Match: Match{Path: path}, Pool: "chat"}, {Pool: "api"}}
	return &c
}

// TestBuiltByProgram: a Config that a program builds from the defaults is good,
// and Validate completes it.
func TestBuiltByProgram(t *testing.T) {
	c := built()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	chat := c.Pools[0]
	if c.Listeners[0].Name != "127.0.0.1:0" || chat.Backends[0].Name != "ws1.internal:3000" || chat.Backends[0].Weight != 1 ||
		chat.Backends[1].Name != "two" || chat.Admit.Burst != 50 || !reflect.DeepEqual(chat.Hash.Key, []requestkey.Part{requestkey.ClientIP}) {
		t.Errorf("not complete: %+v", c)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings %v", c.Warnings)
	}
}

// inMemory is built with all that only a program can set.
func inMemory() *Config {
	c := built()
	data := func(name string) *PEM { return &PEM{Name: name, Cert: []byte("x"), Key: []byte("y")} }
	t := &ListenerTLS{Certificates: []Certificate{{Data: data("Secret a/b"), Names: []string{"A.example.", "*.b.example", "*"}}, {Data: data("Secret a/b")}},
		ClientCAData: data("ConfigMap a/ca"), ClientHeaders: Headers{{"X-Subject", "subject"}}}
	t.SetDefaults()
	c.Listeners[0].TLS = t
	api := NewPool("api")
	api.Feed = "default/api:80"
	api.TLS = &PoolTLS{CAData: data("ConfigMap a/ca"), CertData: data("Secret a/client"), SANs: []string{"a.example", "*.a.example", "10.0.0.1", "::1", "spiffe://a/b"}}
	c.Pools[1] = api
	return c
}

func TestInMemory(t *testing.T) {
	c := inMemory()
	if err := c.Validate(); err != nil || len(c.Warnings) > 0 {
		t.Fatalf("%v, warnings %v", err, c.Warnings)
	}
	if got := c.Listeners[0].TLS.Certificates[0].Names[0]; got != "a.example" {
		t.Errorf("the name is %s", got)
	}
	for _, tt := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Listeners[0].TLS.Certificates[1].Cert = "/x" }, `listeners[0].tls.certificates[1]: "Secret a/b" is in memory, and a file is named, too: leave one of them out`},
		{func(c *Config) { c.Listeners[0].TLS.Certificates[1].Data.Name = "" }, `listeners[0].tls.certificates[1]: what is in memory needs a name that says where it is from`},
		{func(c *Config) { c.Listeners[0].TLS.Certificates[0].Names[1] = "*.*.x" }, `listeners[0].tls.certificates[0]: bad name "*.*.x" of a certificate: `},
		{func(c *Config) { c.Listeners[0].TLS.ClientCA = "/x" }, `listeners[0].tls.client_ca: "ConfigMap a/ca" is in memory, and`},
		{func(c *Config) { c.Pools[1].TLS.CA = "/x" }, `pools.api.tls.ca: "ConfigMap a/ca" is in memory, and`},
		{func(c *Config) { c.Pools[1].TLS.Key = "/x"; c.Pools[1].TLS.Cert = "/x" }, `pools.api.tls.cert: "Secret a/client" is in memory, and`},
		{func(c *Config) { c.Pools[1].TLS.SANs[1] = "a b" }, `pools.api.tls.server_name: bad name "a b" of a certificate: `},
		{func(c *Config) { c.Pools[1].TLS.SANs[1] = "http:/x:y z%" }, `pools.api.tls.server_name: bad name "http:/x:y z%" of a certificate: write a URI such as`},
		{func(c *Config) { c.Pools[1].Feed = "" }, `pools.api.backends: the pool has no backends`},
	} {
		c := inMemory()
		tt.change(c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

// TestErrorsHavePaths: a program is told which value is wrong.
func TestErrorsHavePaths(t *testing.T) {
	for _, tt := range []struct {
		change func(*Config)
		path   Path
		text   string
	}{
		{func(c *Config) { c.Listeners = nil }, "listeners", "listeners: no listeners: give at least one address to listen on"},
		{func(c *Config) { c.Admin.Address.Port = 9900 }, "admin.address", ""},
		{func(c *Config) { c.Keepalive.Interval = time.Microsecond }, "keepalive.interval", `keepalive.interval: bad duration "1µs": the shortest is 1ms`},
		{func(c *Config) { c.Timeouts = Timeouts{} }, "timeouts.connect", ""},
		{func(c *Config) { c.Engine = "epol" }, "engine", `engine: expected auto, epoll or portable, got "epol" (did you mean "epoll"?)`},
		{func(c *Config) { c.Limits.SendBuffer = 1 }, "limits.send_buffer", ""},
		{func(c *Config) { c.Routes[0].Pool = "chatt" }, "routes[0].pool", `routes[0].pool: unknown pool "chatt" (did you mean "chat"?)`},
		{func(c *Config) { c.Pools[0].Backends[0].Address = hostport.Address{} }, "pools.chat.backends[0].address", "pools.chat.backends[0].address: the backend has no address: write for example address: 10.0.0.1:3000"},
		{func(c *Config) { c.Pools[0].Backends[1].Address = c.Pools[0].Backends[0].Address }, "pools.chat.backends[1].address",
			`pools.chat.backends[1].address: duplicate backend address "ws1.internal:3000" (first at pools.chat.backends[0].address)`},
		{func(c *Config) { c.Pools[0].Backends[0].Weight = 300 }, "pools.chat.backends[0].weight", "pools.chat.backends[0].weight: expected a number from 1 to 256, got 300"},
		{func(c *Config) { c.Pools[0].Health.Timeout = time.Minute }, "pools.chat.health.timeout", ""},
		{func(c *Config) { c.Pools[0].Affinity.Cookie = &Cookie{SameSite: "Lax", Secure: "auto", Path: "/"} }, "pools.chat.affinity.cookie.name", ""},
		{func(c *Config) { c.Pools[0].Drain.Code = 1006 }, "pools.chat.drain.code", ""},
		{func(c *Config) { c.Pools[0].Reattach = &session.Reattach{Timeout: time.Second} }, "pools.chat.reattach.on", ""},
		{func(c *Config) { c.Pools[0].Admit.Rate = 0 }, "pools.chat.admit.rate", ""},
		{func(c *Config) { c.Pools[0].DNS = &DNS{Name: "a b", Type: "srv", Family: "auto", Refresh: time.Second} }, "pools.chat.dns.name", ""},
		{func(c *Config) { c.Pools[1].Name, c.Routes[1].Pool = "v1.2", "v1.2"; c.Pools[1].Balance = "" }, `pools["v1.2"].balance`, ""},
		{func(c *Config) { c.Pools[1].Name, c.Routes[1].Pool = "chat", "chat" }, "pools[1]", ""},
		{func(c *Config) { c.RequestHeaders.Set = Headers{{"X-A", "1"}, {"Host", "x"}} }, "request_headers.set[1]", ""},
		{func(c *Config) { c.Routes[0].ResponseHeaders.Add = Headers{{"X-A", "${client_i}"}} }, "routes[0].response_headers.add[0].value",
			`routes[0].response_headers.add[0].value: bad value of the header "X-A": "${client_i}": there is no such variable (did you mean "${client_ip}"?)`},
		{func(c *Config) { c.Routes[0].Timeouts.Handshake = new(time.Duration) }, "routes[0].timeouts.handshake", ""},
		{func(c *Config) { c.Pools[1].Health.HTTP.Headers = Headers{{"Host", "x"}} }, "pools.api.health.http.headers[0]", ""},
	} {
		c := built()
		tt.change(c)
		err := c.Validate()
		errs, ok := errors.AsType[Errors](err)
		if !ok {
			t.Errorf("%s: error %v", tt.path, err)
			continue
		}
		if errs[0].Path != tt.path || errs[0].Place != (Place{}) || tt.text != "" && errs[0].Error() != tt.text {
			t.Errorf("%s: got the path %s, and %v; want %s", tt.path, errs[0].Path, errs, tt.text)
		}
	}
}

func TestPath(t *testing.T) {
	pools := Path("").Key("pools")
	for p, want := range map[Path][]Path{
		pools.Named("chat").Key("backends").Index(0).Key("address"): {"pools.chat.backends[0].address", "pools.chat.backends[0]", "pools.chat.backends", "pools.chat", "pools", ""},
		pools.Named(`v1.2["`).Key("dns"):                            {`pools["v1.2[\""].dns`, `pools["v1.2[\""]`, "pools", ""},
		pools.Named(""):                                             {`pools[""]`, "pools", ""},
		pools.Named(strings.Repeat(".", 1000)):                      {Path(`pools["` + strings.Repeat(".", maxName) + `…"]`), "pools", ""},
	} {
		var got []Path
		for ok := true; ok; p, ok = p.Parent() {
			got = append(got, p)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
