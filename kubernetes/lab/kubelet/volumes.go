//go:build linux

package kubelet

import (
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mount fills a folder for each volume of the pod.
func (w *worker) mount(pod *corev1.Pod) error {
	if err := os.MkdirAll(filepath.Join(w.dir, "root"), 0o755); err != nil {
		return err
	}
	for _, v := range pod.Spec.Volumes {
		dir := filepath.Join(w.dir, "volumes", v.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		files, err := w.volume(pod, v.VolumeSource)
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
		for name, data := range files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, data, 0o644); err != nil {
				return err
			}
		}
		w.mu.Lock()
		w.volumes[v.Name] = dir
		w.mu.Unlock()
	}
	return nil
}

// volume returns the files of a volume.
func (w *worker) volume(pod *corev1.Pod, v corev1.VolumeSource) (map[string][]byte, error) {
	switch {
	case v.EmptyDir != nil:
		return nil, nil
	case v.ConfigMap != nil:
		return chosen(w.configMap, pod.Namespace, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.Secret != nil:
		return chosen(w.secret, pod.Namespace, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.DownwardAPI != nil:
		return w.downward(pod, v.DownwardAPI.Items)
	case v.Projected != nil:
		all := map[string][]byte{}
		for _, s := range v.Projected.Sources {
			files, err := w.projection(pod, s)
			if err != nil {
				return nil, err
			}
			for name, data := range files {
				all[name] = data
			}
		}
		return all, nil
	}
	return nil, fmt.Errorf("the laboratory has no volumes of this kind")
}

// projection returns the files of one source of a projected volume.
func (w *worker) projection(pod *corev1.Pod, s corev1.VolumeProjection) (map[string][]byte, error) {
	switch {
	case s.ConfigMap != nil:
		return chosen(w.configMap, pod.Namespace, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
	case s.Secret != nil:
		return chosen(w.secret, pod.Namespace, s.Secret.Name, s.Secret.Items, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return w.downward(pod, s.DownwardAPI.Items)
	case s.ServiceAccountToken != nil:
		t := s.ServiceAccountToken
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: t.ExpirationSeconds,
			BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		}}
		if t.Audience != "" {
			request.Spec.Audiences = []string{t.Audience}
		}
		answer, err := w.k.Client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(w.ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		return map[string][]byte{t.Path: []byte(answer.Status.Token)}, nil
	}
	return nil, fmt.Errorf("the laboratory has no such source of a projected volume")
}

// downward returns the files of the downward API.
func (w *worker) downward(pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, item := range items {
		if item.FieldRef == nil {
			return nil, fmt.Errorf("the laboratory has only fields in files of the downward API, so not %s", item.Path)
		}
		value, err := w.field(pod, item.FieldRef.FieldPath)
		if err != nil {
			return nil, err
		}
		files[item.Path] = []byte(value)
	}
	return files, nil
}

// configMap returns the data of a ConfigMap.
func (w *worker) configMap(namespace, name string) (map[string][]byte, error) {
	m, err := w.k.Client.CoreV1().ConfigMaps(namespace).Get(w.ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	for key, value := range m.Data {
		data[key] = []byte(value)
	}
	for key, value := range m.BinaryData {
		data[key] = value
	}
	return data, nil
}

// secret returns the data of a Secret.
func (w *worker) secret(namespace, name string) (map[string][]byte, error) {
	s, err := w.k.Client.CoreV1().Secrets(namespace).Get(w.ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return s.Data, nil
}

// chosen reads an object and returns its items, or all its data if none are listed.
func chosen(read func(namespace, name string) (map[string][]byte, error), namespace, name string, items []corev1.KeyToPath, may *bool) (map[string][]byte, error) {
	optional := may != nil && *may
	data, err := read(namespace, name)
	if apierrors.IsNotFound(err) && optional {
		return nil, nil
	}
	if err != nil || len(items) == 0 {
		return data, err
	}
	files := map[string][]byte{}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok && !optional {
			return nil, fmt.Errorf("%s has no key %q", name, item.Key)
		}
		if ok {
			files[item.Path] = value
		}
	}
	return files, nil
}
