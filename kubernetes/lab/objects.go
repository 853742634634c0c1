//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// newNamespace returns a namespace. The API server completes a name that ends with "-".
func newNamespace(name string, labels map[string]string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if strings.HasSuffix(name, "-") {
		ns.Name, ns.GenerateName = "", name
	}
	return ns
}

// decode reads the objects of a YAML text with several documents.
func decode(text []byte) (all []*unstructured.Unstructured, err error) {
	documents := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := documents.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if len(u.Object) > 0 { // not a document with comments only
			all = append(all, u)
		}
	}
}

// Apply creates or changes the objects of manifests, as kubectl apply --server-side does,
// in the order in which they are written. namespace is for those that name none. Objects
// that belong to no namespace are deleted at the end of the test.
func (c *Cluster) Apply(t testing.TB, namespace, manifests string) {
	t.Helper()
	objects, err := decode([]byte(manifests))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if err := c.apply(t, namespace, o); err != nil {
			t.Fatalf("applying %s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

// ApplyErr is like Apply for one object, and returns the API server's answer.
func (c *Cluster) ApplyErr(t testing.TB, namespace, manifest string) error {
	t.Helper()
	objects, err := decode([]byte(manifest))
	if err != nil || len(objects) != 1 {
		t.Fatalf("%d objects instead of one: %v", len(objects), err)
	}
	return c.apply(t, namespace, objects[0])
}

func (c *Cluster) apply(t testing.TB, namespace string, o *unstructured.Unstructured) error {
	t.Helper()
	namespaced, err := c.client.IsObjectNamespaced(o)
	if err != nil {
		return err
	}
	if namespaced && o.GetNamespace() == "" {
		o.SetNamespace(namespace)
	}
	if o.GetKind() == "Namespace" {
		testkit.Eventually(t, "the end of namespace "+o.GetName()+" of an earlier test", func() bool {
			ns := &corev1.Namespace{}
			err := c.client.Get(t.Context(), client.ObjectKeyFromObject(o), ns)
			return err != nil || ns.DeletionTimestamp == nil
		})
		c.beginAudit(t, o.GetName())
	}
	if err := c.send(t.Context(), o); err != nil {
		return err
	}
	switch {
	case namespaced || o.GetKind() == "CustomResourceDefinition":
	case o.GetKind() == "Namespace":
		c.adopt(t, o.GetName())
	default:
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := client.IgnoreNotFound(c.client.Delete(ctx, o)); err != nil {
				t.Errorf("deleting %s %s: %v", o.GetKind(), o.GetName(), err)
			}
		})
	}
	return nil
}

// send applies an object as it is. An API server that is starved gives up after a while,
// and is asked again.
func (c *Cluster) send(ctx context.Context, o *unstructured.Unstructured) (err error) {
	for range 5 {
		err = c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("lab"), client.ForceOwnership)
		if !apierrors.IsTimeout(err) && !apierrors.IsServerTimeout(err) {
			break
		}
	}
	return err
}

// CRDs installs the definitions of resources in the YAML files of folders, and what else
// is there, such as policies, and waits until the API server serves them. They stay for
// all tests of the package.
func (c *Cluster) CRDs(t testing.TB, dirs ...string) {
	t.Helper()
	var names []string
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if filepath.Base(file) == "kustomization.yaml" {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			objects, err := decode(text)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, o := range objects {
				if err := c.send(t.Context(), o); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				if o.GetKind() == "CustomResourceDefinition" {
					names = append(names, o.GetName())
				}
			}
		}
	}
	if len(names) == 0 {
		t.Fatalf("no definitions in %v", dirs)
	}
	for _, name := range names {
		testkit.Eventually(t, "the definition "+name, func() bool { return c.established(t.Context(), name) })
	}
}

// established reports whether the API server serves a resource.
func (c *Cluster) established(ctx context.Context, name string) bool {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if c.client.Get(ctx, client.ObjectKey{Name: name}, u) != nil ||
		runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, crd) != nil {
		return false
	}
	for _, condition := range crd.Status.Conditions {
		if condition.Type == apiextensionsv1.Established {
			return condition.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// GatewayAPI returns the folder with the definitions of a channel of the Gateway API,
// standard or experimental, of the version that this module needs.
func GatewayAPI(t testing.TB, channel string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatalf("go list -m sigs.k8s.io/gateway-api: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "config", "crd", channel)
}

// WaitDeployment waits until a Deployment has rolled out: all its pods are of its newest
// template, and available, and no others are left.
func (c *Cluster) WaitDeployment(t testing.TB, namespace, name string) {
	t.Helper()
	last := ""
	defer func() {
		if t.Failed() {
			t.Logf("the Deployment %s/%s: %s", namespace, name, last)
		}
	}()
	testkit.Eventually(t, fmt.Sprintf("the rollout of %s/%s", namespace, name), func() bool {
		d := &appsv1.Deployment{}
		if err := c.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, d); err != nil {
			last = err.Error()
			return false
		}
		s := d.Status
		last = fmt.Sprintf("%d of its pods, %d updated, %d available, %d terminating", s.Replicas, s.UpdatedReplicas, s.AvailableReplicas, value(s.TerminatingReplicas))
		want := int32(1)
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		return s.ObservedGeneration >= d.Generation && s.Replicas == want && s.UpdatedReplicas == want && s.AvailableReplicas == want
	})
}

func value(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

// WaitLoadBalancer waits until a Service of the type LoadBalancer has an address, and
// returns it.
func (c *Cluster) WaitLoadBalancer(t testing.TB, namespace, name string) (address string) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("the address of %s/%s", namespace, name), func() bool {
		s := &corev1.Service{}
		if err := c.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, s); err != nil {
			return false
		}
		for _, i := range s.Status.LoadBalancer.Ingress {
			address = i.IP
		}
		return address != ""
	})
	return address
}

// Pods lists the pods of a namespace that have all the labels.
func (c *Cluster) Pods(t testing.TB, namespace string, labels map[string]string) []corev1.Pod {
	t.Helper()
	list := &corev1.PodList{}
	if err := c.client.List(t.Context(), list, client.InNamespace(namespace), client.MatchingLabels(labels)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}
