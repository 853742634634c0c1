package ingress

import (
	"strconv"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// Objects are the objects of a cluster that routing depends on. A file has them, or a
// program that watches a cluster.
type Objects struct {
	Ingresses  []Ingress
	Services   []Service
	Secrets    []Secret
	ConfigMaps []ConfigMap
}

// Meta is what all objects have.
type Meta struct {
	Namespace, Name string
	config.Place    // of the name; zero if there is none
}

// Ingress is one of networking.k8s.io/v1.
type Ingress struct {
	Meta
	// Created is the time of creation as in RFC 3339, "" if it isn't known. The oldest
	// Ingress gets a host and path that several have.
	Created     string
	Class       string // spec.ingressClassName
	Annotations []Annotation
	Default     *Backend // nil: none
	Rules       []Rule
	TLS         []TLS
}

// Annotation is one annotation with its whole name.
type Annotation struct {
	Name, Value string
	config.Place
}

// Rule has the paths of a host; Host "" is every host.
type Rule struct {
	Host  string
	Paths []Path
	config.Place
}

// Path is a path of a Rule.
type Path struct {
	Path    string
	Type    string // Exact, Prefix or ImplementationSpecific
	Backend Backend
	config.Place
}

// Backend is a port of a Service in the namespace of the Ingress.
type Backend struct {
	Service string
	Port    Port
	config.Place
}

// Port is a port by its number or its name.
type Port struct {
	Number int
	Name   string
}

func (p Port) String() string {
	if p.Name != "" {
		return p.Name
	}
	return strconv.Itoa(p.Number)
}

// TLS names the certificate for hosts. Secret "" is the default certificate of the
// controller.
type TLS struct {
	Hosts  []string
	Secret string
	config.Place
}

// Service is one of v1.
type Service struct {
	Meta
	ExternalName string // of a Service of the type ExternalName
	Headless     bool   // clusterIP: None
	Ports        []ServicePort
}

// ServicePort is a port of a Service, and that of its pods.
type ServicePort struct {
	Name   string
	Number int
	Target Port // zero: the same number
}

// Secret is one of v1.
type Secret struct {
	Meta
	Keys []string // of data and stringData
	// Data has the values for a Cluster. Nothing of it is kept from a file.
	Data map[string][]byte
}

// ConfigMap is one of v1.
type ConfigMap struct {
	Meta
	Data [][2]string
}

func (m *Meta) key() string { return m.Namespace + "/" + m.Name }
