// Package alb reads what the describe- commands of aws elbv2 print about Application and
// Network Load Balancers. It never talks to AWS.
package alb

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/alb/syntax"
)

// Format is the name of the format.
const Format = "alb"

// object is something in a file.
type object struct {
	*syntax.Node
	file string
}

// at is the place of the value below a path of keys, or else that of o.
func (o object) at(path ...string) config.Place {
	n := o.Node
	if v := o.Get(path...); len(path) > 0 && v != nil {
		n = v
	}
	return config.Place{File: o.file, Line: n.Line, Col: n.Col}
}

// objects are those of all files.
type objects struct {
	balancers, listeners, rules, groups []object
	health, attributes                  []object          // whole answers
	instances                           map[string]string // from ids to addresses
}

// Import reads the outputs of describe-load-balancers, describe-listeners, describe-rules,
// describe-target-groups, describe-target-health, describe-load-balancer-attributes and
// describe-target-group-attributes, in any order, and of ec2 describe-instances. The error
// is a config.Errors.
func Import(paths []string, o importer.Options) (*importer.Result, error) {
	r := importer.Report{AcceptLoss: o.AcceptLoss}
	all := objects{instances: map[string]string{}}
	var errs config.Errors
	order := map[string]int{}
	for i, path := range paths {
		order[path] = i
		errs = append(errs, all.read(path, &r)...)
	}
	if len(errs) == 0 && len(all.listeners) == 0 && len(paths) > 0 {
		errs = append(errs, config.Error{Place: config.Place{File: paths[0]}, Msg: "no file has listeners: add the output of aws elbv2 describe-listeners"})
	}
	if len(errs) > 0 {
		return &importer.Result{Format: Format, Notes: r.Notes}, errs
	}
	folder, err := filepath.Abs(filepath.Dir(paths[0]))
	if err != nil {
		folder = "."
	}
	c := convert(&all, folder, &r)
	slices.SortStableFunc(r.Notes, func(a, b importer.Note) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return r.Finish(Format, c)
}

func (all *objects) read(path string, r *importer.Report) (errs config.Errors) {
	data, err := readAll(path)
	if err != nil {
		if e, ok := errors.AsType[*os.PathError](err); ok {
			err = e.Err
		}
		return config.Errors{{Place: config.Place{File: path}, Msg: "cannot read it: " + err.Error()}}
	}
	values, err := syntax.Parse(data)
	if err != nil {
		e, _ := errors.AsType[*syntax.Error](err)
		return config.Errors{{Place: config.Place{File: path, Line: e.Line, Col: e.Col}, Msg: e.Msg}}
	}
	for _, v := range values {
		if !all.add(object{v, path}, r) {
			errs = append(errs, config.Error{Place: object{v, path}.at(), Msg: "this isn't the output of a describe- command of aws elbv2 (with --output json)"})
		}
	}
	return errs
}

func readAll(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, syntax.MaxSize+1))
}

// add adds the output of one command. ok is false if it isn't one.
func (all *objects) add(o object, r *importer.Report) (ok bool) {
	for _, f := range o.Fields {
		value := object{f.Value, o.file}
		var list *[]object
		switch f.Key {
		case "LoadBalancers":
			list = &all.balancers
		case "Listeners":
			list = &all.listeners
		case "Rules":
			list = &all.rules
		case "TargetGroups":
			list = &all.groups
		case "TargetHealthDescriptions":
			all.health = append(all.health, o)
		case "Attributes":
			all.attributes = append(all.attributes, o)
		case "Reservations":
			for _, reservation := range f.Value.Items {
				for _, i := range reservation.All("Instances") {
					all.instances[i.Str("InstanceId")] = i.Str("PrivateIpAddress")
				}
			}
		case "Certificates", "TagDescriptions", "TrustStores":
			r.Skip(value.at(), f.Key, "names and files of certificates are in the report at each listener")
		default:
			continue
		}
		ok = true
		if list != nil {
			for _, item := range f.Value.Items {
				*list = append(*list, object{item, o.file})
			}
		}
	}
	return ok
}

var outputOf = regexp.MustCompile(`(?m)^\s*\{?\s*"(?:LoadBalancers|Listeners|Rules|TargetGroups|TargetHealthDescriptions)"\s*:\s*\[`)

// Detect reports whether a text is the output of a describe- command.
func Detect(_ string, data []byte) bool { return outputOf.Match(data) }

// of finds the target group or the load balancer that the output of a command without its
// name is about: by a key beside it, by the name of the file, or because there is only one.
func of(o object, key, name string, all []object) (found object, err error) {
	if arn := o.Str(key); arn != "" {
		for _, a := range all {
			if a.Str(key) == arn {
				return a, nil
			}
		}
	}
	base := filepath.Base(o.file)
	for _, a := range all {
		if n := a.Str(name); n != "" && strings.Contains(base, n) && len(n) > len(found.str(name)) {
			found = a
		}
	}
	if found.Node == nil && len(all) == 1 {
		found = all[0]
	}
	if found.Node == nil {
		var names []string
		for _, a := range all {
			names = append(names, a.Str(name))
		}
		return found, fmt.Errorf("what this is about isn't in it: put it into a file with the name of the %s in its name (%s)", strings.TrimSuffix(name, "Name"), strings.Join(names, ", "))
	}
	return found, nil
}

func (o object) str(key string) string {
	if o.Node == nil {
		return ""
	}
	return o.Str(key)
}
