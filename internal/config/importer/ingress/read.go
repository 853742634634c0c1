package ingress

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/ingress/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// file reads the objects of one file.
type file struct {
	name string
	*Objects
	report *importer.Report
	errs   *config.Errors
}

// read reads a file. Its errors are added to errs.
func read(path string, o *Objects, r *importer.Report, errs *config.Errors) {
	f := file{path, o, r, errs}
	data, err := readAll(path)
	if err != nil {
		if e, ok := errors.AsType[*os.PathError](err); ok {
			err = e.Err
		}
		*errs = append(*errs, config.Error{Place: config.Place{File: path}, Msg: "cannot read it: " + err.Error()})
		return
	}
	f.parse(data)
}

func readAll(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, syntax.MaxSize+1))
}

func (f *file) parse(data []byte) {
	documents, err := syntax.Parse(data)
	if err != nil {
		e, _ := errors.AsType[*syntax.Error](err)
		*f.errs = append(*f.errs, config.Error{Place: f.at(e.Pos), Msg: e.Msg})
		return
	}
	for _, d := range documents {
		f.object(d)
	}
}

func (f *file) at(p syntax.Pos) config.Place {
	return config.Place{File: f.name, Line: p.Line, Col: p.Col}
}

func (f *file) fail(n *syntax.Node, format string, args ...any) {
	*f.errs = append(*f.errs, config.Error{Place: f.at(n.Pos), Msg: fmt.Sprintf(format, args...)})
}

// object reads one object, or those of a list.
func (f *file) object(n *syntax.Node) {
	kind, version := f.text(n, "kind"), f.text(n, "apiVersion")
	if n.Kind != syntax.Map || kind == "" {
		f.fail(n, "this is no object of Kubernetes: it has no kind")
		return
	}
	m := f.meta(n)
	switch {
	case kind == "List" || strings.HasSuffix(kind, "List") && n.Get("items") != nil:
		for _, item := range f.list(n, "items") {
			f.object(item)
		}
	case kind == "Ingress" && (strings.HasPrefix(version, "networking.k8s.io/") || version == "extensions/v1beta1"):
		f.ingress(n, m)
	case kind == "Service" && version == "v1":
		f.service(n, m)
	case kind == "Secret" && version == "v1":
		s := Secret{Meta: m}
		for _, part := range []string{"data", "stringData"} {
			for _, field := range f.fields(n, part) {
				s.Keys = append(s.Keys, field.Key)
			}
		}
		f.Secrets = append(f.Secrets, s)
	case kind == "ConfigMap" && version == "v1":
		c := ConfigMap{Meta: m}
		for _, field := range f.fields(n, "data") {
			c.Data = append(c.Data, [2]string{field.Key, field.Value.Text})
		}
		f.ConfigMaps = append(f.ConfigMaps, c)
	default:
		f.other(kind+" "+m.Name, version, m)
	}
}

// other notes an object of a kind that isn't read.
func (f *file) other(name, version string, m Meta) {
	switch group, _, _ := strings.Cut(version, "/"); group {
	case "gateway.networking.k8s.io", "holdfast.dev":
		f.report.Differ(m.Place, name, "", "it isn't read: this import is about Ingresses. In a cluster, holdfast-kubernetes reads it, see docs/kubernetes.md")
	default:
		f.report.Skip(m.Place, name, "only Ingresses are read, with the Services, Secrets and ConfigMaps that they use")
	}
}

func (f *file) meta(n *syntax.Node) Meta {
	m := Meta{Namespace: f.text(n, "metadata", "namespace"), Name: f.text(n, "metadata", "name"), Place: f.at(n.Pos)}
	if m.Namespace == "" {
		m.Namespace = "default"
	}
	if name := n.Get("metadata", "name"); name != nil {
		m.Place = f.at(name.Pos)
	}
	return m
}

func (f *file) ingress(n *syntax.Node, m Meta) {
	if m.Name == "" {
		f.fail(n, "the Ingress has no name: write metadata: {name: NAME}")
		return
	}
	i := Ingress{Meta: m, Created: f.text(n, "metadata", "creationTimestamp"), Class: f.text(n, "spec", "ingressClassName")}
	for _, field := range f.fields(n, "metadata", "annotations") {
		if field.Value.Kind > syntax.Scalar {
			f.fail(field.Value, "expected a text as the value of the annotation %s, got %s", hint.Quote(field.Key), field.Value.Kind)
			continue
		}
		i.Annotations = append(i.Annotations, Annotation{field.Key, field.Value.Text, f.at(field.Pos)})
	}
	for _, name := range []string{"defaultBackend", "backend"} { // the latter in v1beta1
		if b := n.Get("spec", name); b != nil {
			backend := f.backend(b)
			i.Default = &backend
		}
	}
	for _, r := range f.list(n, "spec", "rules") {
		rule := Rule{Host: strings.ToLower(f.text(r, "host")), Place: f.at(r.Pos)}
		for _, p := range f.list(r, "http", "paths") {
			path := Path{Path: f.text(p, "path"), Type: f.text(p, "pathType"), Place: f.at(p.Pos)}
			if n := p.Get("path"); n != nil {
				path.Place = f.at(n.Pos)
			}
			if t := p.Get("pathType"); t != nil && !slices.Contains(pathTypes, path.Type) {
				f.fail(t, "unknown path type %s%s: write Exact, Prefix or ImplementationSpecific", hint.Quote(path.Type), hint.DidYouMean(path.Type, pathTypes))
				continue
			}
			if path.Path != "" && !strings.HasPrefix(path.Path, "/") {
				f.fail(p.Get("path"), "bad path %s: it must begin with a slash", hint.Quote(path.Path))
				continue
			}
			b := p.Get("backend")
			if b == nil {
				f.fail(p, "the path has no backend: write backend: {service: {name: NAME, port: {number: 80}}}")
				continue
			}
			path.Backend = f.backend(b)
			rule.Paths = append(rule.Paths, path)
		}
		i.Rules = append(i.Rules, rule)
	}
	for _, t := range f.list(n, "spec", "tls") {
		tls := TLS{Secret: f.text(t, "secretName"), Place: f.at(t.Pos)}
		for _, h := range f.list(t, "hosts") {
			tls.Hosts = append(tls.Hosts, strings.ToLower(h.Text))
		}
		i.TLS = append(i.TLS, tls)
	}
	if len(i.Rules) == 0 && i.Default == nil {
		f.fail(n, "the Ingress %s has neither rules nor a defaultBackend", hint.Quote(m.Name))
		return
	}
	f.Ingresses = append(f.Ingresses, i)
}

var pathTypes = []string{exact, prefix, implementationSpecific}

const (
	exact                  = "Exact"
	prefix                 = "Prefix"
	implementationSpecific = "ImplementationSpecific"
)

// backend reads one of v1, with service.name and service.port, or of v1beta1, with
// serviceName and servicePort.
func (f *file) backend(n *syntax.Node) Backend {
	b := Backend{Service: f.text(n, "service", "name"), Place: f.at(n.Pos)}
	if name := n.Get("service", "name"); name != nil {
		b.Place = f.at(name.Pos)
		b.Port = Port{f.number(n, "service", "port", "number"), f.text(n, "service", "port", "name")}
	} else if name := n.Get("serviceName"); name != nil {
		b.Service, b.Place, b.Port = name.Text, f.at(name.Pos), f.port(n, "servicePort")
	} else if r := n.Get("resource"); r != nil {
		f.fail(r, "a backend must be a Service: other resources are not supported, by ingress-nginx neither")
		return b
	}
	if b.Service == "" {
		f.fail(n, "the backend has no Service: write service: {name: NAME, port: {number: 80}}")
	} else if b.Port == (Port{}) {
		f.fail(n, "the backend has no port: write service: {name: %s, port: {number: 80}}", b.Service)
	}
	return b
}

func (f *file) service(n *syntax.Node, m Meta) {
	s := Service{Meta: m, Headless: f.text(n, "spec", "clusterIP") == "None"}
	if f.text(n, "spec", "type") == "ExternalName" {
		s.ExternalName = f.text(n, "spec", "externalName")
	}
	for _, p := range f.list(n, "spec", "ports") {
		if protocol := f.text(p, "protocol"); protocol == "" || protocol == "TCP" {
			s.Ports = append(s.Ports, ServicePort{f.text(p, "name"), f.number(p, "port"), f.port(p, "targetPort")})
		}
	}
	f.Services = append(f.Services, s)
}

// port reads the number or the name of a port.
func (f *file) port(n *syntax.Node, path ...string) Port {
	text := f.text(n, path...)
	if text == "" {
		return Port{}
	}
	if strings.Trim(text, "0123456789") != "" {
		return Port{Name: text}
	}
	return Port{Number: f.number(n, path...)}
}

func (f *file) number(n *syntax.Node, path ...string) int {
	v := n.Get(path...)
	if v == nil {
		return 0
	}
	port, err := strconv.Atoi(v.Text)
	if err != nil || port < 1 || port > 65535 {
		f.fail(v, "expected a port from 1 to 65535, got %s", describe(v))
		return 0
	}
	return port
}

func describe(n *syntax.Node) string {
	if n.Kind == syntax.Scalar {
		return hint.Quote(n.Text)
	}
	return n.Kind.String()
}

// text returns a single value, "" if there is none.
func (f *file) text(n *syntax.Node, path ...string) string {
	v := n.Get(path...)
	if v == nil {
		return ""
	}
	if v.Kind != syntax.Scalar {
		f.fail(v, "expected a text as %s, got %s", strings.Join(path, "."), v.Kind)
		return ""
	}
	return v.Text
}

func (f *file) list(n *syntax.Node, path ...string) []*syntax.Node {
	v := n.Get(path...)
	if v == nil {
		return nil
	}
	if v.Kind != syntax.List {
		f.fail(v, "expected a list as %s, got %s", strings.Join(path, "."), v.Kind)
	}
	return v.Items
}

func (f *file) fields(n *syntax.Node, path ...string) []syntax.Field {
	v := n.Get(path...)
	if v == nil {
		return nil
	}
	if v.Kind != syntax.Map {
		f.fail(v, "expected a mapping as %s, got %s", strings.Join(path, "."), v.Kind)
	}
	return v.Fields
}
