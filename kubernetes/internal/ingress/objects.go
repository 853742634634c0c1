package ingress

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-ws/holdfast/internal/config"
	importing "github.com/holdfast-ws/holdfast/internal/config/importer/ingress"
)

// source is an Ingress, as if it were a file: its parts have numbers in place of lines, so
// that notes and errors about them can be told apart.
type source struct {
	object      *networkingv1.Ingress
	lines       int
	annotations map[int]string // their names, by number
	paths       map[int]int    // numbers of paths, by number
	events      int
}

func (s *source) next() config.Place {
	s.lines++
	return config.Place{File: s.object.Namespace + "/" + s.object.Name, Line: s.lines}
}

// objects are the Ingresses and what may belong to them, as the importer understands them.
func (v *translator) objects(ours []*networkingv1.Ingress) *importing.Objects {
	o := &importing.Objects{}
	namespaces := map[string]bool{}
	v.byFile = make(map[string]*source, len(ours))
	for _, i := range ours {
		namespaces[i.Namespace] = true
		s := &source{object: i, annotations: map[int]string{}, paths: map[int]int{}}
		v.sources = append(v.sources, s)
		ing := s.ingress()
		v.byFile[ing.File] = s
		o.Ingresses = append(o.Ingresses, ing)
	}
	for _, s := range v.snapshot.Services {
		if namespaces[s.Namespace] {
			o.Services = append(o.Services, service(s))
		}
	}
	// Only what is asked for by its name is read from the API server.
	secrets, configMaps := map[types.NamespacedName]bool{}, map[types.NamespacedName]bool{}
	for _, i := range ours {
		for _, t := range i.Spec.TLS {
			secrets[types.NamespacedName{Namespace: i.Namespace, Name: t.SecretName}] = true
		}
		for _, name := range []string{"auth-tls-secret", "proxy-ssl-secret"} {
			secrets[referred(i, name)] = true
		}
		configMaps[referred(i, "custom-headers")] = true
	}
	for _, name := range sorted(secrets) {
		if s := v.snapshot.Secret(name.Namespace, name.Name); s != nil {
			o.Secrets = append(o.Secrets, importing.Secret{Meta: importing.Meta{Namespace: s.Namespace, Name: s.Name}, Data: s.Data})
		}
	}
	for _, name := range sorted(configMaps) {
		if m := v.snapshot.ConfigMap(name.Namespace, name.Name); m != nil {
			o.ConfigMaps = append(o.ConfigMaps, configMap(m))
		}
	}
	return o
}

// referred is the object in the namespace of an Ingress that an annotation names.
func referred(i *networkingv1.Ingress, annotation string) types.NamespacedName {
	name := strings.TrimSpace(i.Annotations[importing.AnnotationPrefix+annotation])
	if rest, ok := strings.CutPrefix(name, i.Namespace+"/"); ok {
		name = rest
	}
	return types.NamespacedName{Namespace: i.Namespace, Name: name}
}

// sorted are the names of objects, without those that no object can have.
func sorted(names map[types.NamespacedName]bool) []types.NamespacedName {
	return slices.SortedFunc(func(yield func(types.NamespacedName) bool) {
		for name := range names {
			if name.Name != "" && !strings.Contains(name.Name, "/") && !yield(name) {
				return
			}
		}
	}, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
}

func configMap(m *corev1.ConfigMap) importing.ConfigMap {
	c := importing.ConfigMap{Meta: importing.Meta{Namespace: m.Namespace, Name: m.Name}}
	for _, k := range slices.Sorted(maps.Keys(m.Data)) {
		c.Data = append(c.Data, [2]string{k, m.Data[k]})
	}
	return c
}

func (s *source) ingress() importing.Ingress {
	i := importing.Ingress{
		Meta:    importing.Meta{Namespace: s.object.Namespace, Name: s.object.Name, Place: s.next()},
		Created: s.object.CreationTimestamp.UTC().Format(time.RFC3339),
	}
	for _, name := range slices.Sorted(maps.Keys(s.object.Annotations)) {
		at := s.next()
		s.annotations[at.Line] = name
		i.Annotations = append(i.Annotations, importing.Annotation{Name: name, Value: s.object.Annotations[name], Place: at})
	}
	if b := s.object.Spec.DefaultBackend; b != nil {
		backend := s.backend(b)
		i.Default = &backend
	}
	paths := 0
	for _, r := range s.object.Spec.Rules {
		rule := importing.Rule{Host: strings.ToLower(r.Host), Place: s.next()}
		if r.HTTP != nil {
			for _, p := range r.HTTP.Paths {
				at := s.next()
				path := importing.Path{Path: p.Path, Type: string(networkingv1.PathTypeImplementationSpecific), Place: at}
				if p.PathType != nil {
					path.Type = string(*p.PathType)
				}
				path.Backend = s.backend(&p.Backend)
				s.paths[at.Line], s.paths[path.Backend.Line] = paths, paths
				paths++
				rule.Paths = append(rule.Paths, path)
			}
		}
		i.Rules = append(i.Rules, rule)
	}
	for _, t := range s.object.Spec.TLS {
		tls := importing.TLS{Secret: t.SecretName, Place: s.next()}
		for _, host := range t.Hosts {
			tls.Hosts = append(tls.Hosts, strings.ToLower(host))
		}
		i.TLS = append(i.TLS, tls)
	}
	return i
}

// backend has no Service if b is another resource.
func (s *source) backend(b *networkingv1.IngressBackend) importing.Backend {
	backend := importing.Backend{Place: s.next()}
	if b.Service != nil {
		backend.Service = b.Service.Name
		backend.Port = importing.Port{Number: int(b.Service.Port.Number), Name: b.Service.Port.Name}
	}
	return backend
}

func service(s *corev1.Service) importing.Service {
	to := importing.Service{Meta: importing.Meta{Namespace: s.Namespace, Name: s.Name}}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		to.ExternalName = s.Spec.ExternalName
	}
	for _, p := range s.Spec.Ports {
		if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
			to.Ports = append(to.Ports, importing.ServicePort{Name: p.Name, Number: int(p.Port)})
		}
	}
	return to
}
