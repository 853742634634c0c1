// Package ingress reads Kubernetes objects, an Ingress above all, as the controller
// ingress-nginx understands them. Import reads files; Convert takes the objects
// themselves, for programs that watch a cluster.
//
// ingress-nginx writes an nginx.conf, and what its annotations mean is what that file
// does. Convert goes the same way: Ingresses become servers with locations, in the order
// in which nginx finds them, and these become routes.
package ingress

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
)

// Format is the name of the format.
const Format = "ingress"

// Import reads Ingresses and the Services that they lead to. The error is a config.Errors.
func Import(paths []string, o importer.Options) (*importer.Result, error) {
	r := importer.Report{AcceptLoss: o.AcceptLoss}
	var objects Objects
	var errs config.Errors
	order := map[string]int{}
	for i, path := range paths {
		order[path] = i
		read(path, &objects, &r, &errs)
	}
	if len(errs) == 0 && len(objects.Ingresses) == 0 && len(paths) > 0 {
		errs = append(errs, config.Error{Place: config.Place{File: paths[0]}, Msg: "there is no Ingress in it"})
	}
	if len(errs) > 0 {
		return &importer.Result{Format: Format, Notes: r.Notes}, errs
	}
	folder := "."
	if len(paths) > 0 {
		folder = filepath.Dir(paths[0])
	}
	if abs, err := filepath.Abs(folder); err == nil {
		folder = abs
	}
	c := Convert(&objects, Options{Folder: folder}, &r)
	slices.SortStableFunc(r.Notes, func(a, b importer.Note) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return r.Finish(Format, c)
}

var (
	apiVersion = regexp.MustCompile(`(?m)^[ \t]*(?:- )?[{ \t]*"?apiVersion"?[ \t]*:`)
	ingressOf  = regexp.MustCompile(`(?m)(?:^[ \t]*(?:- )?[{ \t]*|,[ \t]*)"?kind"?[ \t]*:[ \t]*["']?(?:Ingress|IngressList)["']?[ \t]*(?:,|}|#|\r?$)`)
)

// Detect reports whether a text has an Ingress in it.
func Detect(_ string, data []byte) bool { return apiVersion.Match(data) && ingressOf.Match(data) }
