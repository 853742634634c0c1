package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/bearer"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// texts are the grammars of texts that stay text. Their checks bring a value
// into its normal form.
var texts = map[string]struct {
	want  string
	check func(k *Key, v reflect.Value, text string) error
}{
	"text":          {"a text", plain(checkText)},
	"name":          {"a name", plain(CheckName)},
	"message":       {"ping, pong or the text of a message", plain(checkText)},
	"cookie name":   {"the name of a cookie", plain(checkCookieName)},
	"cookie path":   {"a path such as /", plain(checkCookiePath)},
	"cookie domain": {"a domain such as example.com", normal(parseCookieDomain)},
	"secret":        {"a text of at least 16 characters", plain(checkSecret)},
	"check method":  {"a method such as HEAD", plain(checkMethod)},
	"target":        {"a path such as /health", plain(checkTarget)},
	"path start":    {"the beginning of a path such as /ws", plain(checkPathBeginning)},
	"path template": {"a path such as /rooms/$1", plain(checkPathTemplate)},
	"redirect":      {"a URL such as https://${host}${uri}", plain(checkRedirect)},
	"answer body":   {"a text", plain(checkAnswerBody)},
	"content type":  {"a type such as text/plain", plain(checkContentType)},
	"host header":   {"a host such as ws.example.com", normal(parseHostHeader)},
	"new host":      {"a host such as app.internal", normal(parseNewHost)},
	"subprotocol":   {"a subprotocol such as chat.v1", plain(checkSubprotocol)},
	"close reason":  {"a text", plain(checkReason)},
	"DNS name":      {"a name such as _ws._tcp.chat.internal", normal(parseDNSName)},
	"AWS region":    {"a region such as eu-central-1", plain(checkAWSRegion)},
	"AWS name":      {"a name", plain(checkAWSName)},
	"endpoint":      {"a URL such as https://login.example.com/jwks.json", plain(checkEndpoint)},
	"email":         {"an email address such as ops@example.com", plain(checkEmail)},
	"directory":     {"the URL of a directory", plain(checkDirectory)},
	"protocol":      {"a protocol such as h2", plain(checkProtocol)},
	"profile":       {"a word such as shortlived", plain(checkProfile)},
	"permissions":   {"permissions such as 0660", plain(checkPermissions)},
	"admin socket":  {"auto, off or a path such as /run/holdfast/admin.sock", plain(checkSocket)},
	"state file":    {"auto, off or a path such as /var/lib/holdfast/state.json", plain(checkState)},
	"server name":   {"a name such as chat.internal", normal(parseServerName)},
	"file":          {"the path of a file", absolute(checkFile)},
	"folder":        {"the path of a folder", absolute(checkFolder)},
}

func plain(check func(string) error) func(*Key, reflect.Value, string) error {
	return func(_ *Key, v reflect.Value, _ string) error { return check(v.String()) }
}

func normal(parse func(string) (string, error)) func(*Key, reflect.Value, string) error {
	return func(_ *Key, v reflect.Value, _ string) error {
		s, err := parse(v.String())
		if err == nil {
			setText(v, s)
		}
		return err
	}
}

// absolute makes a path absolute. check gets it as it was written.
func absolute(check func(string) error) func(*Key, reflect.Value, string) error {
	return func(_ *Key, v reflect.Value, text string) error {
		err := check(text)
		if err == nil {
			var path string
			path, err = filepath.Abs(v.String())
			setText(v, path)
		}
		return err
	}
}

// setText changes nothing if the text is in its normal form. So a program may have sections
// in a Config that another, which is in use, has too.
func setText(v reflect.Value, s string) {
	if v.String() != s {
		v.SetString(s)
	}
}

// parserOf returns the parser of values of a type that isn't text or a number;
// nil if there is none.
func parserOf(t reflect.Type) func(k *Key, text string) (reflect.Value, error) {
	switch t {
	case reflect.TypeFor[hostport.Address]():
		return func(k *Key, s string) (reflect.Value, error) {
			switch k.as {
			case "backend":
				return value(hostport.ParseURL(s, k.example))
			case "listener":
				return value(hostport.ParseListen(s, k.example))
			}
			return value(hostport.ParseLike(s, k.example))
		}
	case reflect.TypeFor[pattern.Host]():
		return func(_ *Key, s string) (reflect.Value, error) { return value(pattern.ParseHost(s)) }
	case reflect.TypeFor[pattern.Path]():
		return func(_ *Key, s string) (reflect.Value, error) { return value(pattern.ParsePath(s)) }
	case reflect.TypeFor[pattern.ExactPath]():
		return func(_ *Key, s string) (reflect.Value, error) { return value(pattern.ParseExactPath(s)) }
	case reflect.TypeFor[pattern.Regex]():
		return func(_ *Key, s string) (reflect.Value, error) { return value(pattern.ParseRegex(s)) }
	case reflect.TypeFor[pattern.Text]():
		return func(_ *Key, s string) (reflect.Value, error) { return value(pattern.ParseText(s)) }
	case reflect.TypeFor[clientcert.Print]():
		return func(_ *Key, s string) (reflect.Value, error) { return value(clientcert.ParsePrint(s)) }
	case reflect.TypeFor[origin.Pattern]():
		return func(_ *Key, s string) (reflect.Value, error) { return value(origin.Parse(s)) }
	case reflect.TypeFor[requestkey.Part]():
		return func(k *Key, s string) (reflect.Value, error) {
			switch k.as {
			case "token source":
				return value(requestkey.ParseToken(s))
			case "answer source":
				return value(requestkey.ParseAnswer(s))
			}
			return value(requestkey.Parse(s))
		}
	case reflect.TypeFor[bearer.Source]():
		return func(_ *Key, s string) (reflect.Value, error) { return value(bearer.Parse(s)) }
	case reflect.TypeFor[netip.Prefix]():
		return func(_ *Key, s string) (reflect.Value, error) { return value(parseTrust(s)) }
	case reflect.TypeFor[Peer]():
		return func(_ *Key, s string) (reflect.Value, error) { return value(parsePeer(s)) }
	case reflect.TypeFor[StatusRange]():
		return func(k *Key, s string) (reflect.Value, error) {
			if k.as == "failed status" {
				return value(ParseFailedStatus(s))
			}
			return value(ParseStatus(s))
		}
	case reflect.TypeFor[Share]():
		return func(_ *Key, s string) (reflect.Value, error) { return value(ParseShare(s)) }
	}
	return nil
}

func value[T any](v T, err error) (reflect.Value, error) { return reflect.ValueOf(v), err }

// maxName bounds names, in bytes: every log line and metric has them. An
// address fits: a host of 253, a colon and a port.
const maxName = 260

// CheckName checks the name of a listener, a pool or a backend.
func CheckName(s string) error {
	switch {
	case s == "":
		return errors.New("the name is empty")
	case len(s) > maxName:
		return fmt.Errorf("the name %s is longer than %d bytes", hint.Quote(s), maxName)
	case strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) }):
		return fmt.Errorf("the name %s has spaces or invisible characters in it", hint.Quote(s))
	}
	return nil
}

// maxText bounds the texts that checks send and expect, and the values of
// headers, in bytes.
const maxText = 4096

func checkText(s string) error {
	if len(s) > maxText {
		return fmt.Errorf("the text is longer than %d bytes", maxText)
	}
	return nil
}

// checkTarget checks a path with or without a query, as it is sent.
func checkTarget(s string) error {
	bad := func(why string, args ...any) error {
		return fmt.Errorf("bad path %s: %s", hint.Quote(s), fmt.Sprintf(why, args...))
	}
	if err := pattern.CheckAnyPath(s); err != nil {
		return bad("%v", err)
	}
	for i, c := range s {
		switch {
		case c == '%':
			if len(s) < i+3 {
				return bad("%v", pattern.ErrPercent)
			}
			if _, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err != nil {
				return bad("%v", pattern.ErrPercent)
			}
		case c == '#':
			return bad("leave out what begins with %q, it is never sent", "#")
		case !pattern.IsPathChar(c) && c != '*' && c != ';' && c != '?':
			return bad("%s must be percent-encoded, as in %%20", hint.Quote(string(c)))
		}
	}
	return nil
}

// parseHostHeader reads the value of a Host header: a host, with or without a
// port.
func parseHostHeader(s string) (string, error) {
	a, notAddress := hostport.Parse(s)
	if notAddress == nil && a.HostString() != "" && a.IP.Zone() == "" {
		return a.String(), nil
	}
	if s == "" {
		return "", errors.New("the host is empty: leave the key out to send the backend's address")
	}
	if strings.HasPrefix(s, "*") {
		return "", fmt.Errorf("bad host %s: a request is for one host, write which", hint.Quote(s))
	}
	if _, _, err := net.SplitHostPort(s); err == nil && notAddress != nil && !strings.Contains(s, "/") {
		return "", notAddress // its port is wrong
	}
	host, err := pattern.ParseHost(s)
	return host.String(), err
}

// parseNewHost reads a host that replaces that of a request.
func parseNewHost(s string) (string, error) {
	if s == "" {
		return "", errors.New("the host is empty: leave the key out to keep the one that the client asked for")
	}
	if port, ok := strings.CutPrefix(s, ClientHost); ok {
		if _, err := hostport.Parse("h" + port); port != "" && err != nil {
			return "", fmt.Errorf("bad host %s: after %s comes nothing, or a port as in %s:8080", hint.Quote(s), ClientHost, ClientHost)
		}
		return s, nil
	}
	return parseHostHeader(s)
}

func checkSubprotocol(s string) error {
	if s == "" {
		return errors.New("the subprotocol is empty: leave the key out to offer none")
	}
	if err := requestkey.CheckToken(s); err != nil { // RFC 6455 section 4.1
		return fmt.Errorf("bad subprotocol %s: %w", hint.Quote(s), err)
	}
	return nil
}

// parseDNSName reads a name to look up.
func parseDNSName(s string) (string, error) {
	bad := func(why string, args ...any) (string, error) {
		return "", fmt.Errorf("bad name %s: %s", hint.Quote(s), fmt.Sprintf(why, args...))
	}
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return bad("an address needs no DNS, list it under backends")
	}
	if strings.Contains(s, "://") {
		return bad("write just the name, without scheme and path")
	}
	if name, _, ok := strings.Cut(s, ":"); ok {
		return bad("write it without a port: %s", hint.Quote(name))
	}
	if err := hostport.CheckName(s); err != nil {
		return bad("%v", err)
	}
	return strings.ToLower(s), nil
}

func checkFile(s string) error {
	if err := checkPath("file", s); err != nil {
		return err
	}
	if slices.Contains([]string{"", ".", ".."}, s[strings.LastIndexByte(s, '/')+1:]) {
		return fmt.Errorf("bad path %s: that is a directory, name the file in it", hint.Quote(s))
	}
	return nil
}

func checkFolder(s string) error { return checkPath("folder", s) }

// checkPath checks the path of a file or folder.
func checkPath(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("the path of the %s is empty: write one, or leave the key out", what)
	case len(s) > pattern.MaxPath:
		return fmt.Errorf("the path of the %s is longer than %d bytes", what, pattern.MaxPath)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("bad path %s: it has control characters in it", hint.Quote(s))
	case strings.HasPrefix(s, "-----BEGIN"):
		return errors.New("this is a certificate or key itself: write it to a file, and the path of the file here")
	case strings.Contains(s, "://"):
		return fmt.Errorf("bad path %s: it is a %s of this machine, write its path", hint.Quote(s), what)
	}
	return nil
}

// parseTrust reads "10.0.0.0/8", or an address as the prefix of just that one.
func parseTrust(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("bad network %s: want an address or a network, such as 10.0.0.1 or 10.0.0.0/8", hint.Quote(s))
	}
	if err := checkTrust(p); err != nil {
		return netip.Prefix{}, err
	}
	return p, nil
}

func checkTrust(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("bad network: it is empty")
	case p.Addr().Is4In6():
		// Peers' addresses are compared as IPv4 and would never be in it.
		return fmt.Errorf("bad network %q: write it as an IPv4 network", p)
	case p != p.Masked():
		return fmt.Errorf("bad network %q: the address has bits beyond /%d (did you mean %s or %s?)", p, p.Bits(), p.Masked(), p.Addr())
	}
	return nil
}
