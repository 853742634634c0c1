// Package formats knows the importers: it recognises in which format a file is and reads
// it, so that a file of another balancer can be used in the place of a configuration
// file.
package formats

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/alb"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy"
	"github.com/holdfast-ws/holdfast/internal/config/importer/ingress"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Format is the format of another balancer's configuration.
type Format struct {
	// Name is its name on the command line.
	Name string
	// What is a file in it, as in "nginx configuration".
	What string
	// Guards matches directives that restrict who gets in, beside those that the importer
	// says itself; nil is none.
	Guards *regexp.Regexp
	// Detect reports whether a text is in this format. It must be quick, and false for
	// the texts of all others and for holdfast.yaml.
	Detect func(name string, data []byte) bool
	// Import reads files. The error is a config.Errors; then there are only notes.
	Import func(paths []string, o importer.Options) (*importer.Result, error)
}

// All lists the formats that are known. An importer is added by its line here, and by a
// line in docs/migrate.md.
var All = []Format{
	{"nginx", "nginx configuration", guards(`allow|deny|satisfy|internal|auth_|limit_|ssl_verify|ssl_client_certificate|ssl_trusted_certificate|ssl_crl|ssl_ocsp|proxy_ssl_verify|proxy_ssl_trusted|proxy_ssl_crl|valid_referers|secure_link|access_by|modsecurity`), nginx.Detect, nginx.Import},
	{"haproxy", "HAProxy configuration", guards(`(http|tcp)-(request|response)( (connection|content|session))? (deny|reject|auth|tarpit|silent-drop|track-sc|sc-|reject)|stick-table|userlist|user |group |block|req(i?deny|i?tarpit|i?allow)|bind .*(verify|ca-file|crl-file)|server .*(verify|ca-file|crl-file)|maxconn|filter`), haproxy.Detect, haproxy.Import},
	{"ingress", "Kubernetes Ingress", guards(`auth-|whitelist|denylist|allowlist|limit-|satisfy|modsecurity|enable-modsecurity|proxy-ssl-|enable-global-auth`), ingress.Detect, ingress.Import},
	{"alb", "description of AWS load balancers", guards(`(Action )?(authenticate|jwt)|MutualAuthentication`), alb.Detect, alb.Import},
}

// guards matches the beginning of directives.
func guards(expression string) *regexp.Regexp { return regexp.MustCompile("^(?:" + expression + ")") }

// Own is the name of the format of holdfast.yaml.
const Own = "holdfast"

// Loader reads configurations of all formats.
type Loader struct {
	Formats []Format // All, but for tests
	// Format is the name of the format of the files; "" recognises it.
	Format string
	importer.Options
}

// Load reads a file. The error is a config.Errors; then the Result has no Config, but notes
// of what was read of another balancer's file. It is never nil.
func (l *Loader) Load(path string) (*importer.Result, error) {
	if l.Format == Own {
		return own(yaml.Load(path))
	}
	if l.Format != "" {
		f, err := l.Find(l.Format)
		if err != nil {
			return &importer.Result{Format: l.Format}, err
		}
		return l.Import(f, []string{path})
	}
	begin, err := head(path)
	if err != nil {
		return own(yaml.Load(path)) // says what is wrong
	}
	f, ok := l.Detect(path, begin)
	if ok {
		return l.Import(f, []string{path})
	}
	res, err := own(yaml.Load(path))
	if errs, _ := err.(config.Errors); len(errs) > 0 && len(l.Formats) > 0 && len(begin) > 0 && !isOwn(begin) {
		err = append(errs, config.Error{Place: config.Place{File: path},
			Msg: fmt.Sprintf("the format of this file isn't recognised: if it is one of %s, add --format with its name", strings.Join(l.names(), ", "))})
	}
	return res, err
}

func own(c *config.Config, err error) (*importer.Result, error) {
	return &importer.Result{Format: Own, Config: c}, err
}

// maxHead is how much of a file is looked at to recognise it, in bytes.
const maxHead = 256 << 10

// head reads the beginning of a file.
func head(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxHead))
}

// Detect recognises the format of a text. A holdfast.yaml has none, however broken it is.
func (l *Loader) Detect(name string, data []byte) (Format, bool) {
	if isOwn(data) {
		return Format{}, false
	}
	for _, f := range l.Formats {
		if f.Detect(name, data) {
			return f, true
		}
	}
	return Format{}, false
}

// ownKey is a line of a holdfast.yaml, of those that every one has: a section in block
// style, or the first one in flow style.
var ownKey = regexp.MustCompile(`(?m)(\A\x{feff}?\s*\{\s*|^)["']?(listeners|pools|routes)["']?\s*:`)

func isOwn(data []byte) bool { return ownKey.Match(data) }

// Find returns the format of a name.
func (l *Loader) Find(name string) (Format, error) {
	i := slices.IndexFunc(l.Formats, func(f Format) bool { return f.Name == name })
	if i < 0 {
		return Format{}, fmt.Errorf("unknown format %s: the formats are %s%s", hint.Quote(name), strings.Join(l.names(), ", "), hint.DidYouMean(name, l.names()))
	}
	return l.Formats[i], nil
}

func (l *Loader) names() []string {
	var names []string
	for _, f := range l.Formats {
		names = append(names, f.Name)
	}
	return append(names, Own)
}

// Import reads files of another balancer.
func (l *Loader) Import(f Format, paths []string) (*importer.Result, error) {
	res, err := f.Import(paths, l.Options)
	if res == nil {
		res = &importer.Result{}
	}
	res.Format = f.Name
	f.guard(res.Notes, err)
	if err == nil {
		about(res, f, paths[0])
		return res, nil
	}
	res.Config = nil
	errs, ok := err.(config.Errors)
	if !ok {
		errs = config.Errors{{Place: config.Place{File: paths[0]}, Msg: err.Error()}}
	}
	if text := refusal(res.Notes); text != "" {
		errs = append(slices.Clip(errs), config.Error{Place: config.Place{File: paths[0]}, Msg: text})
	}
	return res, errs
}

// guard says of refused directives whether they restrict who gets in, in the notes and
// their errors.
func (f *Format) guard(notes []importer.Note, err error) {
	errs, _ := err.(config.Errors)
	for i := range notes {
		n := &notes[i]
		if n.Outcome != importer.Refused || n.Guards || f.Guards == nil || !f.Guards.MatchString(n.Directive) {
			continue
		}
		before := n.Message()
		n.Guards = true
		for j := range errs {
			if errs[j].Place == n.Place && errs[j].Msg == before {
				errs[j].Msg = n.Message()
			}
		}
	}
}

// about puts what the log should say into the Config.
func about(res *importer.Result, f Format, path string) {
	res.Config.Origin = Summary(res, f, path)
	var warnings []config.Error
	for _, n := range res.Notes {
		if n.Outcome == importer.Different || n.Outcome == importer.Refused {
			warnings = append(warnings, config.Error{Path: n.Path, Place: n.Place, Msg: n.Message()})
		}
	}
	res.Reported = len(warnings)
	res.Config.Warnings = append(warnings, res.Config.Warnings...)
}

// Summary says in one line what became of a file.
func Summary(res *importer.Result, f Format, path string) string {
	var counts [4]int
	for _, n := range res.Notes {
		counts[n.Outcome]++
	}
	s := fmt.Sprintf("%s: %s: %s carried over, %d not needed, %d different", path, f.What,
		plural(counts[importer.Carried], "directive"), counts[importer.NotNeeded], counts[importer.Different])
	if n := counts[importer.Refused]; n > 0 {
		s += fmt.Sprintf(", %d refused and left out", n)
	}
	return s
}

// refusal is the last line about a file with refused directives; "" if it has none.
func refusal(notes []importer.Note) string {
	refused := 0
	var guards []string
	for _, n := range notes {
		if n.Outcome != importer.Refused || n.Lost {
			continue
		}
		refused++
		word, _, _ := strings.Cut(n.Directive, " ")
		if n.Guards && !slices.Contains(guards, word) {
			guards = append(guards, word)
		}
	}
	switch {
	case refused == 0:
		return ""
	case len(guards) == 0:
		return fmt.Sprintf("%s refused: change the file, or leave them out with --accept-loss", plural(refused, "directive"))
	}
	return fmt.Sprintf("%s refused, and without some of them more clients get in (%s): change the file, or leave them all out with --accept-loss",
		plural(refused, "directive"), strings.Join(guards, ", "))
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
