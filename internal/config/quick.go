package config

import (
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
)

// Flags are those of a command line without a file.
type Flags struct {
	Listen  []string // addresses
	Backend []string // addresses, or URLs such as wss://chat.internal

	// The listeners speak TLS if one of these is set.
	TLSCert, TLSKey string // files
	TLSSelfSigned   bool

	// Origins are the pages that may open WebSockets, as in the key origins; empty is
	// any.
	Origins []string

	// These need backends with wss:// or https://.
	BackendCA         string // a file
	BackendServerName string
	BackendInsecure   bool
}

// Quick is the configuration of a command line without a file: one pool
// "default" of the backends, served on all addresses to listen on. Its errors
// name the flag.
func Quick(f Flags) (*Config, error) {
	q := quick{config: Defaults(), pool: NewPool("default"), flags: flags{given: map[Path]given{}, wrong: map[Path]bool{}}}
	q.listeners(f)
	q.backends(f)
	c := &q.config
	c.Pools = []Pool{q.pool}
	Check(c, q.flags, &q.report)
	if errs := q.report.Errors(); len(errs) > 0 {
		return nil, errs
	}
	c.Warnings = q.report.Warnings()
	return c, nil
}

// quick builds a Config from Flags.
type quick struct {
	config Config
	pool   Pool
	flags  flags
	report Report
}

// fail reports an error about a flag. value may be "".
func (q *quick) fail(p Path, flag, value, msg string) {
	q.flags.wrong[p] = true
	q.give(p, flag, value)
	q.report.Fail(Error{p, q.flags.Place(p), msg})
}

func (q *quick) give(p Path, flag, value string) { q.flags.given[p] = given{flag, value} }

func (q *quick) address(p Path, flag, text, example string, parse func(s, example string) (hostport.Address, error)) hostport.Address {
	a, err := parse(text, example)
	q.give(p, flag, text)
	if err != nil {
		q.fail(p, flag, text, err.Error())
	}
	return a
}

func (q *quick) listeners(f Flags) {
	tls, origins := q.listenerTLS(f), q.origins(f.Origins)
	for i, text := range f.Listen {
		p := Path("listeners").Index(i)
		l := Listener{Address: q.address(p.Key("address"), "--listen", text, ":8080 or 127.0.0.1:8080", hostport.ParseListen)}
		l.Origins = origins
		if tls != nil {
			own := *tls
			l.TLS = &own
			certificate := p.Key("tls").Key("certificates").Index(0)
			if f.TLSCert != "" {
				l.TLS.Certificates = []Certificate{{Cert: f.TLSCert, Key: f.TLSKey}}
				q.give(certificate.Key("cert"), "--tls-cert", f.TLSCert)
			}
			if f.TLSKey != "" {
				q.give(certificate.Key("key"), "--tls-key", f.TLSKey)
			}
		}
		q.config.Listeners = append(q.config.Listeners, l)
	}
	if len(f.Listen) == 0 {
		q.fail("listeners", "--listen", "", "give at least one address to listen on, such as --listen :8080")
	}
}

// origins are any by default, unlike in a file: a command line is for trials, often
// with pages and tools of other hosts.
func (q *quick) origins(list []string) *Origins {
	if len(list) == 0 {
		return &Origins{Allow: []origin.Pattern{origin.Any}}
	}
	o := new(Origins)
	for _, text := range list {
		p, err := origin.Parse(text)
		if err != nil {
			q.fail(Path("listeners").Index(0).Key("origins"), "--origins", text, err.Error())
			continue
		}
		o.Allow = append(o.Allow, p)
	}
	return o
}

// listenerTLS returns nil for listeners without TLS.
func (q *quick) listenerTLS(f Flags) *ListenerTLS {
	switch {
	case f.TLSSelfSigned && f.TLSCert+f.TLSKey != "":
		q.fail("--tls-self-signed", "--tls-self-signed", "", "this makes a certificate: leave it out, or --tls-cert and --tls-key")
		return nil
	case f.TLSKey != "" && f.TLSCert == "":
		q.fail("--tls-key", "--tls-key", f.TLSKey, "the certificate of this key is missing: add --tls-cert with its file")
		return nil
	case f.TLSCert == "" && !f.TLSSelfSigned:
		return nil
	}
	tls := &ListenerTLS{SelfSigned: f.TLSSelfSigned}
	tls.SetDefaults()
	return tls
}

func (q *quick) backends(f Flags) {
	list, tls := PoolPath("default").Key("backends"), PoolPath("default").Key("tls")
	for i, text := range f.Backend {
		p := list.Index(i).Key("address")
		q.pool.Backends = append(q.pool.Backends, Backend{Address: q.address(p, "--backend", text, "10.0.0.1:3000", hostport.ParseURL)})
	}
	if len(f.Backend) == 0 {
		q.fail(list, "--backend", "", "give at least one address, such as --backend 127.0.0.1:3000")
	}
	const insecure = "--backend-insecure"
	var last string // of the flags that need TLS
	for _, g := range []struct{ key, flag, value string }{
		{"ca", "--backend-ca", f.BackendCA},
		{"server_name", "--backend-server-name", f.BackendServerName},
	} {
		if g.value != "" {
			q.give(tls.Key(g.key), g.flag, g.value)
			last = g.flag
		}
	}
	if f.BackendInsecure {
		q.give(tls.Key("insecure_skip_verify"), insecure, "")
		last = insecure
	}
	if last == "" {
		return // the scheme alone decides
	}
	if f.BackendCA != "" && f.BackendInsecure {
		q.fail(tls.Key("ca"), "--backend-ca", f.BackendCA, "this does nothing with "+insecure+": leave one of them out")
	}
	q.pool.TLS = &PoolTLS{CA: f.BackendCA, ServerName: f.BackendServerName, InsecureSkipVerify: f.BackendInsecure}
	for i, text := range f.Backend {
		if p := list.Index(i).Key("address"); q.flags.OK(p) && !hostport.IsTLS(hostport.Scheme(text)) {
			q.fail(p, "--backend", text, last+" is for backends with TLS: write "+hint.Quote("wss://"+q.pool.Backends[i].Address.String())+", or leave it out")
		}
	}
}

// flags is the Source of Quick.
type flags struct {
	given map[Path]given
	wrong map[Path]bool
}

// given is a flag with its value.
type given struct{ flag, value string }

func (f flags) Given(p Path) bool { return f.given[p] != given{} }
func (f flags) OK(p Path) bool    { return !f.wrong[p] }

func (f flags) Text(p Path) (string, bool) {
	g := f.given[p]
	return g.value, g.value != ""
}

func (f flags) Place(p Path) Place {
	for ok := true; ok; p, ok = p.Parent() {
		if g, found := f.given[p]; found {
			if g.value == "" {
				return Place{File: g.flag}
			}
			return Place{File: g.flag + " " + g.value}
		}
	}
	return Place{}
}

// ParseAdmin checks an admin address that a flag gives, by the rule for
// admin.address. Its errors name the flag.
func ParseAdmin(flag, s string) (hostport.Address, error) {
	a, err := parseFlag(flag, s, "127.0.0.1:9900")
	if err == nil && a.HostString() == "" {
		err = Errors{{Place: Place{File: flag + " " + s}, Msg: exposesAdmin(s, a)}}
	}
	return a, err
}

// ParseListen checks an address to listen on that a flag gives, by TCP.
func ParseListen(flag, s string) (hostport.Address, error) {
	return parseFlag(flag, s, ":8080 or 127.0.0.1:8080")
}

func parseFlag(flag, s, example string) (hostport.Address, error) {
	a, err := hostport.ParseLike(s, example)
	if err != nil {
		return a, Errors{{Place: Place{File: flag + " " + s}, Msg: err.Error()}}
	}
	return a, nil
}
