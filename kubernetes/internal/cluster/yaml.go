package cluster

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// FromYAML returns a Snapshot of the objects in manifests, each of which may have several
// documents. It is for tests. A field that doesn't exist is an error.
//
// No API server has seen the objects: fields that are left out don't have their defaults,
// and nothing is validated. Namespaced objects without a namespace are in "default".
func FromYAML(manifests ...string) (*Snapshot, error) {
	objects, err := ParseYAML(manifests...)
	if err != nil {
		return nil, err
	}
	return New(objects)
}

// ParseYAML returns the objects that FromYAML puts into a Snapshot.
func ParseYAML(manifests ...string) ([]client.Object, error) {
	decoder := serializer.NewCodecFactory(NewScheme(), serializer.EnableStrict).UniversalDeserializer()
	var objects []client.Object
	for _, manifest := range manifests {
		reader := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifest)))
		for {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			if empty(document) {
				continue
			}
			object, err := decode(decoder, document)
			if err != nil {
				return nil, fmt.Errorf("%w, in:\n%s", err, document)
			}
			objects = append(objects, object)
		}
	}
	return objects, nil
}

// empty reports whether a document has only comments.
func empty(document []byte) bool {
	for line := range bytes.Lines(document) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) {
			return false
		}
	}
	return true
}

func decode(decoder runtime.Decoder, document []byte) (client.Object, error) {
	decoded, kind, err := decoder.Decode(document, nil, nil)
	if err != nil {
		return nil, err
	}
	object, ok := decoded.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%s isn't an object with metadata", kind)
	}
	switch kind.Kind {
	case "Namespace", "IngressClass", "GatewayClass":
	default:
		if object.GetNamespace() == "" {
			object.SetNamespace(metav1.NamespaceDefault)
		}
	}
	if pod, ok := object.(*corev1.Pod); ok {
		return &metav1.PartialObjectMetadata{TypeMeta: pod.TypeMeta, ObjectMeta: pod.ObjectMeta}, nil
	}
	return object, nil
}
