//go:build linux

package kubelet

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// environment returns the environment of a container's process. The API server is where
// its Service is, as for any pod.
func (w *worker) environment(pod *corev1.Pod, c *corev1.Container) ([]string, error) {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOSTNAME=" + pod.Name, "HOME=/root",
		"KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443", "KUBERNETES_SERVICE_PORT_HTTPS=443",
	}
	for _, from := range c.EnvFrom {
		values, err := w.envFrom(pod, from)
		if err != nil {
			return nil, err
		}
		for name, value := range values {
			env = append(env, from.Prefix+name+"="+value)
		}
	}
	for _, e := range c.Env {
		value := expand(e.Value, env)
		if e.ValueFrom != nil {
			var err error
			if value, err = w.valueFrom(pod, c, e.ValueFrom); err != nil {
				return nil, fmt.Errorf("variable %s: %w", e.Name, err)
			}
		}
		env = append(env, e.Name+"="+value)
	}
	return env, nil
}

// envFrom returns the variables of a ConfigMap or Secret.
func (w *worker) envFrom(pod *corev1.Pod, from corev1.EnvFromSource) (map[string]string, error) {
	var (
		name string
		may  *bool
		read func(namespace, name string) (map[string][]byte, error)
	)
	switch {
	case from.ConfigMapRef != nil:
		name, may, read = from.ConfigMapRef.Name, from.ConfigMapRef.Optional, w.configMap
	case from.SecretRef != nil:
		name, may, read = from.SecretRef.Name, from.SecretRef.Optional, w.secret
	default:
		return nil, nil
	}
	data, err := read(pod.Namespace, name)
	if apierrors.IsNotFound(err) && may != nil && *may {
		return nil, nil
	}
	values := map[string]string{}
	for key, value := range data {
		values[key] = string(value)
	}
	return values, err
}

// valueFrom returns the value of a variable that comes from elsewhere.
func (w *worker) valueFrom(pod *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource) (string, error) {
	key := func(data map[string][]byte, err error, key string, may *bool) (string, error) {
		value, ok := data[key]
		if (err == nil || apierrors.IsNotFound(err)) && !ok && may != nil && *may {
			return "", nil
		}
		if err == nil && !ok {
			err = fmt.Errorf("there is no key %q", key)
		}
		return string(value), err
	}
	switch {
	case from.FieldRef != nil:
		return w.field(pod, from.FieldRef.FieldPath)
	case from.ResourceFieldRef != nil:
		return limit(c, from.ResourceFieldRef)
	case from.ConfigMapKeyRef != nil:
		data, err := w.configMap(pod.Namespace, from.ConfigMapKeyRef.Name)
		return key(data, err, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Optional)
	case from.SecretKeyRef != nil:
		data, err := w.secret(pod.Namespace, from.SecretKeyRef.Name)
		return key(data, err, from.SecretKeyRef.Key, from.SecretKeyRef.Optional)
	}
	return "", fmt.Errorf("the laboratory has no such source")
}

// field returns a field of a pod for the downward API.
func (w *worker) field(pod *corev1.Pod, path string) (string, error) {
	node, _ := w.k.node(pod.Spec.NodeName)
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return lines(pod.Labels), nil
	case "metadata.annotations":
		return lines(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return node.Address.String(), nil
	case "status.podIP":
		return w.ns.Addresses[0].String(), nil
	case "status.podIPs":
		var all []string
		for _, a := range w.ns.Addresses {
			all = append(all, a.String())
		}
		return strings.Join(all, ","), nil
	}
	if name, ok := quoted(path, "metadata.labels"); ok {
		return pod.Labels[name], nil
	}
	if name, ok := quoted(path, "metadata.annotations"); ok {
		return pod.Annotations[name], nil
	}
	return "", fmt.Errorf("the downward API has no field %q", path)
}

// quoted returns NAME of a path such as metadata.labels['NAME'].
func quoted(path, of string) (string, bool) {
	rest, ok := strings.CutPrefix(path, of+"['")
	name, end := strings.CutSuffix(rest, "']")
	return name, ok && end
}

// lines writes labels or annotations in the format of the downward API.
func lines(values map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		all = append(all, name+"="+strconv.Quote(values[name]))
	}
	return strings.Join(all, "\n")
}

// limit returns a limit or request of a container, in units of its divisor.
func limit(c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	kind, name, _ := strings.Cut(ref.Resource, ".")
	list := c.Resources.Limits
	if kind == "requests" {
		list = c.Resources.Requests
	}
	quantity, ok := list[corev1.ResourceName(name)]
	if !ok {
		return "", fmt.Errorf("the container has no %s", ref.Resource)
	}
	divisor := ref.Divisor.MilliValue()
	if divisor == 0 {
		divisor = 1000
	}
	value := quantity.MilliValue()
	return strconv.FormatInt((value+divisor-1)/divisor, 10), nil // rounded up
}

// expand replaces $(NAME) by the value of a variable, if there is that variable, and $$
// by $.
func expand(text string, env []string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 || i+1 == len(text) {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:i])
		text = text[i:]
		end := strings.IndexByte(text, ')')
		switch {
		case text[1] == '$':
			b.WriteByte('$')
			text = text[2:]
		case text[1] == '(' && end > 0:
			value, ok := lookup(env, text[2:end])
			if !ok {
				value = text[:end+1]
			}
			b.WriteString(value)
			text = text[end+1:]
		default:
			b.WriteByte('$')
			text = text[1:]
		}
	}
}

// expandAll expands each of several texts.
func expandAll(texts, env []string) []string {
	var all []string
	for _, text := range texts {
		all = append(all, expand(text, env))
	}
	return all
}

// lookup returns the last value of a variable.
func lookup(env []string, name string) (value string, ok bool) {
	for _, e := range env {
		if rest, found := strings.CutPrefix(e, name+"="); found {
			value, ok = rest, true
		}
	}
	return value, ok
}
