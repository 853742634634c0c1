package haproxy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// bindTLS reads how a bind speaks TLS; nil is not at all.
func (m *imp) bindTLS(p *proxy, l *syntax.Line, w bindWords) (t *config.ListenerTLS, ok bool) {
	if !w.has("ssl") {
		return nil, true
	}
	t = new(config.ListenerTLS)
	t.SetDefaults()
	t.HTTP2 = slices.Contains(strings.Split(w.last("alpn")+","+w.last("npn"), ","), "h2") && !p.tcp()
	for _, name := range append(slices.Clone(w["default-crt"]), w["crt"]...) {
		m.certificates(l, t, m.under("crt-base", name))
	}
	for _, name := range w["crt-list"] {
		m.crtList(l, t, name)
	}
	if len(t.Certificates) == 0 && m.marks[l] == nil {
		m.fail(l, "ssl wants a certificate: crt FILE")
		return nil, false
	}
	m.tlsVersions(l, t, w)
	t.StrictSNI = w.has("strict-sni")
	verify := w.last("verify")
	if ca := w.last("ca-file"); ca != "" && verify != "none" {
		t.ClientCA = m.under("ca-base", ca)
		if t.ClientAuth = "required"; verify == "optional" {
			t.ClientAuth = "optional"
		}
		if verify == "" {
			t.ClientCA = "" // HAProxy's default is none
		}
	} else if verify == "required" || verify == "optional" {
		m.fail(l, "verify wants ca-file")
		return nil, false
	}
	return t, true
}

// tlsVersions sets the lowest version of TLS, by the bind and by global.
func (m *imp) tlsVersions(l *syntax.Line, t *config.ListenerTLS, w bindWords) {
	set := func(at *syntax.Line, version string) {
		switch version {
		case "TLSv1.3":
			t.MinVersion = "1.3"
		case "TLSv1.2":
		case "SSLv3", "TLSv1.0", "TLSv1.1":
			m.differ(at, "", "TLS is 1.2 at least")
		}
	}
	if g := m.global["ssl-default-bind-options"]; g != nil {
		m.carry(g, "")
		for i, word := range g.Args(1) {
			switch word {
			case "ssl-min-ver":
				set(g, g.Arg(i+2))
			case "no-tlsv12", "force-tlsv13":
				t.MinVersion = "1.3"
			case "no-tlsv13", "force-tlsv12", "ssl-max-ver":
				m.differ(g, "", "the latest version of TLS is spoken, too")
			case "no-tls-tickets":
				m.differ(g, "", "session tickets are used, with keys that change")
			case "strict-sni":
				t.StrictSNI = true
			}
		}
	}
	if v := w.last("ssl-min-ver"); v != "" {
		t.MinVersion = "1.2"
		set(l, v)
	}
	if w.has("no-tlsv12") || w.has("force-tlsv13") {
		t.MinVersion = "1.3"
	}
}

// under is a file relative to what global says.
func (m *imp) under(base, name string) string {
	if g := m.global[base]; g != nil && !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "@") {
		m.carry(g, "")
		return filepath.Join(g.Arg(1), name)
	}
	return m.path(name)
}

// certificates adds a file, or those of a directory.
func (m *imp) certificates(l *syntax.Line, t *config.ListenerTLS, name string) {
	info, err := os.Stat(name)
	if err != nil || !info.IsDir() {
		m.addCertificate(t, name)
		return
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		m.refuse(l, "the directory %s can't be read: %s", hint.Quote(name), reason(err))
		return
	}
	for _, e := range entries {
		file := e.Name()
		if ext := filepath.Ext(file); !e.IsDir() && file[0] != '.' && !slices.Contains([]string{".issuer", ".ocsp", ".sctl", ".key"}, ext) {
			m.addCertificate(t, filepath.Join(name, file))
		}
	}
	m.differ(l, "", "the certificates in the directory are listed as they are now: add later ones to the file")
}

func (m *imp) addCertificate(t *config.ListenerTLS, name string) {
	c := config.Certificate{Cert: name}
	if key := name + ".key"; exists(key) {
		c.Key = key
	}
	if !slices.ContainsFunc(t.Certificates, func(o config.Certificate) bool { return o.Cert == name }) {
		t.Certificates = append(t.Certificates, c)
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// crtList reads a file with certificates.
func (m *imp) crtList(l *syntax.Line, t *config.ListenerTLS, name string) {
	lines, err := m.readList(m.under("crt-base", name))
	if err != nil {
		m.refuse(l, "the file %s can't be read: %v", hint.Quote(name), err)
		return
	}
	for _, line := range lines {
		words := strings.Fields(line)
		if strings.Contains(line, "verify") || strings.Contains(line, "ca-file") {
			m.refuse(l, "options of single certificates in %s aren't known here: use several listeners", hint.Quote(name))
			return
		}
		m.addCertificate(t, m.under("crt-base", words[0]))
		if len(words) > 1 {
			m.differ(l, "", "certificates are chosen by the names in them, and not by those beside them in %s", hint.Quote(name))
		}
	}
}
