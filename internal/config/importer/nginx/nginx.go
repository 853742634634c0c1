// Package nginx reads configurations of nginx as those of holdfast. See
// docs/migrate-nginx.md for what becomes of each directive.
//
// nginx chooses what to do with a request in several steps: the socket, the server by its
// name, the location by the path, and then what maps and ifs say. Here, each way through
// these steps becomes a route, and the routes are in an order in which the first that
// matches is the one that nginx would come to.
package nginx

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Format is the name of the format.
const Format = "nginx"

// converter builds a Config from the directives of one or more files.
type converter struct {
	r     importer.Report
	c     config.Config
	notes map[*syntax.Directive]*note
	// parents has the blocks around directives.
	parents map[*syntax.Directive]*syntax.Directive
	dir     string // where relative names of files begin

	ups         map[string]*upstream
	direct      map[string]*upstream // what a proxy_pass names without a block, by address
	poolNames   map[string]bool
	maps        map[string]*mapping
	parsed      map[string]pattern.Regex
	expressions []string // of locations and names of servers
	connZones   map[string]zone
	reqZones    map[string]zone

	passes     []*route // those to pools
	retryOn    map[string]*retry
	encodings  bool // paths are rewritten
	parameters bool // of the query are looked at
	steps      int  // of variables within variables
}

// Import reads files, and what they include. Relative names of files begin at the
// directory of the first one. The error is a config.Errors.
func Import(paths []string, o importer.Options) (*importer.Result, error) {
	var texts []syntax.Text
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, config.Errors{{Place: config.Place{File: path}, Msg: readError(err)}}
		}
		texts = append(texts, syntax.Text{Name: path, Data: data})
	}
	if len(texts) == 0 {
		return nil, config.Errors{{Msg: "no file is given"}}
	}
	dir := filepath.Dir(texts[0].Name)
	return convert(texts, dir, loader(dir), o)
}

func readError(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// loader reads the files of an include. Like glob(3), a star stands for no name that
// begins with a dot.
func loader(dir string) syntax.Loader {
	return func(glob string) ([]syntax.Text, error) {
		if !filepath.IsAbs(glob) {
			glob = filepath.Join(dir, glob)
		}
		names := []string{glob}
		if strings.ContainsAny(glob, "*?[") {
			var err error
			if names, err = filepath.Glob(glob); err != nil {
				return nil, fmt.Errorf("bad pattern %s", hint.Quote(glob))
			}
			names = slices.DeleteFunc(names, func(s string) bool {
				return strings.HasPrefix(filepath.Base(s), ".") && !strings.HasPrefix(filepath.Base(glob), ".")
			})
		}
		var texts []syntax.Text
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				if filepath.Base(name) == "mime.types" && errors.Is(err, os.ErrNotExist) {
					continue // types of files, which aren't served
				}
				return nil, fmt.Errorf("%s: %s", name, readError(err))
			}
			texts = append(texts, syntax.Text{Name: name, Data: data})
		}
		return texts, nil
	}
}

// convert is Import for texts.
func convert(texts []syntax.Text, dir string, load syntax.Loader, o importer.Options) (*importer.Result, error) {
	var list []*syntax.Directive
	for _, t := range texts {
		more, err := syntax.Parse(t, load)
		if err != nil {
			var e *syntax.Error
			if errors.As(err, &e) {
				return nil, config.Errors{{Place: place(e.Pos), Msg: e.Msg}}
			}
			return nil, err
		}
		list = append(list, more...)
	}
	cv := &converter{
		r: importer.Report{AcceptLoss: o.AcceptLoss}, c: config.Defaults(), dir: dir,
		notes: map[*syntax.Directive]*note{}, parents: map[*syntax.Directive]*syntax.Directive{},
		ups: map[string]*upstream{}, direct: map[string]*upstream{}, parsed: map[string]pattern.Regex{}, poolNames: map[string]bool{}, retryOn: map[string]*retry{},
	}
	cv.family(list, nil)
	err := cv.files(list, texts[0].Name)
	cv.report(list)
	cv.general(texts[0].Name)
	if err != nil {
		return &importer.Result{Format: Format, Notes: cv.r.Notes}, config.Errors{{Place: config.Place{File: texts[0].Name}, Msg: err.Error()}}
	}
	return cv.r.Finish(Format, &cv.c)
}

func (cv *converter) family(list []*syntax.Directive, up *syntax.Directive) {
	for _, d := range list {
		if up != nil {
			cv.parents[d] = up
		}
		if d.Name == "include" {
			cv.carry(d)
		}
		cv.family(d.Block, d)
	}
}

// ofHTTP are directives that stand in http: a file with one of them outside of any block
// is a part of one, as in conf.d.
var ofHTTP = []string{"server", "upstream", "map", "geo", "limit_req_zone", "limit_conn_zone", "proxy_cache_path"}

// files converts the directives of all files.
func (cv *converter) files(list []*syntax.Directive, name string) error {
	main := newLevel(nil, list, nil)
	https := main.own("http")
	var levels []*level
	for _, d := range https {
		cv.carry(d)
		levels = append(levels, main.within(d))
	}
	if slices.ContainsFunc(ofHTTP, main.has) {
		levels = append(levels, main)
	}
	if len(levels) > 1 {
		all := newLevel(nil, nil, nil)
		for _, l := range levels {
			all.list = append(all.list, l.list...)
		}
		levels = []*level{newLevel(nil, all.list, nil)}
	}
	for _, l := range levels {
		if err := cv.http(l); err != nil {
			return err
		}
	}
	for _, d := range main.own("stream") {
		cv.carry(d)
		cv.stream(main.within(d))
	}
	if len(cv.c.Listeners) == 0 && !slices.ContainsFunc(list, func(d *syntax.Directive) bool { return cv.notes[d] != nil && cv.notes[d].outcome == importer.Refused }) {
		return fmt.Errorf("there is no server in it: a configuration has http { server { … } } or stream { server { … } }")
	}
	return nil
}

// http converts the block http.
func (cv *converter) http(l *level) error {
	cv.ups, cv.maps = cv.upstreams(l), cv.mappings(l)
	cv.connZones, cv.reqZones = cv.zones(l, "limit_conn_zone"), cv.zones(l, "limit_req_zone")
	var servers []*server
	for _, d := range l.own("server") {
		if !d.HasBlock {
			cv.refuse(d, "write it as server { … }")
			continue
		}
		servers = append(servers, cv.server(d, l))
	}
	sockets := cv.sockets(servers)
	for _, k := range sockets {
		cv.listenerTLS(k, cv.listener(k))
	}
	cv.realIP(l, servers, sockets)
	cv.whole(l, servers)
	var lists [][]*route
	for _, k := range sockets {
		made, err := cv.socketRoutes(k)
		if err != nil {
			return err
		}
		lists = append(lists, made)
	}
	cv.join()
	for _, u := range cv.ups {
		if len(u.pools) == 0 && !cv.known(u.d) {
			cv.skip(u.d, "nothing sends requests to it")
			cv.skipAll(u.d.Block, "nothing sends requests to it")
		}
	}
	if len(lists) == 0 {
		return nil
	}
	return cv.addRoutes(lists, sockets)
}

func anyOrigin() *config.Origins { return &config.Origins{Allow: []origin.Pattern{origin.Any}} }

// general notes what is different for all that a file has.
func (cv *converter) general(file string) {
	note := func(about, text string) {
		cv.r.Differ(config.Place{File: file}, about, "", "%s", text)
	}
	if len(cv.passes) == 0 {
		return
	}
	note("origins", "pages of any site may open WebSockets, as before: origins: same_site admits only pages of your own")
	note("keepalive", "holdfast pings, so that silent sessions stay open as long as both sides live: keepalive: {interval: 0s} has them closed after proxy_read_timeout, as before")
	note("paths", "a path that servers read in different ways (with //, %2f, .. and the like) is answered with 400 where routes look at paths; where none does, it is passed on, also /../ above the root, which nginx refuses")
	note("header fields", "X-Forwarded-*, Forwarded and X-Real-IP of clients that aren't trusted (set_real_ip_from) are removed, and fields with an underscore in their name are passed on")
	note("sessions", "backends get the field Holdfast-Session with each WebSocket handshake, see docs/config.md")
	note("failures", "if no backend can be used, the answer is 503 or 502; at most three backends are tried, and redirects of backends aren't rewritten")
	if cv.parameters {
		note("parameters", "names in $arg_NAME are compared with their case, and values decoded; a request that has such a parameter twice gets 400")
	}
	if cv.encodings {
		note("rewritten paths", "what is behind the replaced part stays as the client sent it: nginx decodes it, merges slashes, encodes what it must, and leaves out an empty query")
	}
}

// Detect reports whether a text is a configuration of nginx. It looks at how the first
// directive is written, and at its name.
func Detect(name string, data []byte) bool {
	text := data
	for {
		text = bytes.TrimLeft(text, " \t\r\n")
		if !bytes.HasPrefix(text, []byte("#")) {
			break
		}
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	end := bytes.IndexAny(text, ";{\n#")
	if end <= 0 {
		return false
	}
	words := strings.Fields(string(text[:end]))
	if len(words) == 0 {
		return false
	}
	if text[end] == '\n' || text[end] == '#' { // the brace may be on the next line
		rest := bytes.TrimLeft(text[end:], " \t\r\n")
		if !bytes.HasPrefix(rest, []byte("{")) && words[0] != "log_format" {
			return false
		}
	}
	return slices.Contains(firstWords, words[0])
}

// firstWords are the directives that a file begins with: of the outermost level, and of
// http.
var firstWords = strings.Fields(`
	http server upstream events stream map geo include user worker_processes error_log pid
	load_module worker_rlimit_nofile daemon master_process env pcre_jit thread_pool
	limit_req_zone limit_conn_zone proxy_cache_path log_format split_clients mail
	worker_cpu_affinity worker_priority worker_shutdown_timeout working_directory
	ssl_protocols ssl_certificate proxy_set_header proxy_http_version gzip sendfile
	set_real_ip_from real_ip_header resolver access_log keepalive_timeout client_max_body_size server_tokens lua_shared_dict`)
