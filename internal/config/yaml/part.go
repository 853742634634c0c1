package yaml

import (
	"reflect"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// Part says how a section is read that isn't from a file of the balancer's operator, such
// as one of a resource in Kubernetes. Whoever wrote it must learn nothing of the machine,
// so that variables such as ${NAME} and ${file:PATH} are errors.
type Part struct {
	// Path is that of the section. Errors have paths below it, and the File is asked by
	// them.
	Path config.Path
	// Refuse returns why a key can't be used there, or "". nil refuses none.
	Refuse func(p config.Path, k *config.Key) string
}

// Read is the function Read for a section of YAML or JSON. Its errors have no name of a
// file and no lines, only paths.
func (o Part) Read(data []byte, expected string, section any) (*File, error) {
	root, err := parseYAML("", data)
	if err != nil {
		return nil, config.Errors{*err}
	}
	f := &File{values: map[config.Path]value{}}
	f.Report.Hider = f
	d := &decoder{File: f, sizes: map[*yaml.Node]int{}, refuse: o.Refuse}
	d.put(o.Path, root)
	d.section(o.Path, root, expected, reflect.ValueOf(section).Elem())
	return f, nil
}

// refused reports a key that can't be used.
func (d *decoder) refused(p config.Path, n *yaml.Node, k *config.Key) bool {
	if d.refuse == nil {
		return false
	}
	why := d.refuse(p, k)
	if why != "" {
		d.fail(p, n, "%s", why)
	}
	return why != ""
}
