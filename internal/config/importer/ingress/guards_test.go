package ingress

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
)

// TestGuards: whatever the value of an annotation that guards access, the Ingress is refused
// or each route to a pool has the guard. Values that mean that there is no guard are not
// among these.
func TestGuards(t *testing.T) {
	limited := func(r *config.Route) bool {
		return r.Limits.MaxRequestsPerAddress != nil || r.Limits.NewRequestsPerAddress != nil
	}
	never := func(*config.Route) bool { return false }
	for name, guarded := range map[string]func(r *config.Route) bool{
		"whitelist-source-range": func(r *config.Route) bool { return r.Allow != nil },
		"allowlist-source-range": func(r *config.Route) bool { return r.Allow != nil },
		"denylist-source-range":  func(r *config.Route) bool { return r.Deny != nil },
		"auth-url":               func(r *config.Route) bool { return r.Auth != nil && r.Auth.Request != nil },
		"limit-connections":      limited,
		"limit-rps":              limited,
		"limit-rpm":              limited,
		"auth-type":              never,
		"configuration-snippet":  never,
		"server-snippet":         never,
		"modsecurity-snippet":    never,
		"enable-modsecurity":     never,
		"auth-tls-secret":        never, // the Ingress here has no tls
	} {
		carried := 0
		for _, value := range []string{"10.0.0.0/8", "10.0.0.1, fe80::/10", "::1/200", "x", "1", "30", "-1", "1e3", "true", "yes", "basic", "http://a/b", "https://a/?x=$arg_y", "http://", "$host", "{", "a/b", "\u00e9"} {
			for _, more := range []string{"", "use-regex: \"true\"", "enable-cors: \"true\"", "server-alias: b.example.com", "cors-allow-origin: https://a.b"} {
				text := fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: a
  annotations:
    nginx.ingress.kubernetes.io/%s: %q
`, name, value)
				if more != "" {
					text += "    nginx.ingress.kubernetes.io/" + more + "\n"
				}
				text += `
spec:
  defaultBackend: {service: {name: d, port: {number: 80}}}
  rules:
    - host: a.example.com
      http:
        paths:
          - {path: /x/, pathType: Prefix, backend: {service: {name: x, port: {number: 80}}}}
          - {path: /y, pathType: Exact, backend: {service: {name: y, port: {number: 80}}}}
`
				file := filepath.Join(t.TempDir(), "ingress.yaml")
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				result, err := Import([]string{file}, importer.Options{})
				if err != nil {
					continue
				}
				carried++
				for i := range result.Config.Routes {
					if r := &result.Config.Routes[i]; r.Pool != "" && !guarded(r) {
						t.Errorf("%s: %s (%s): the route %d has no guard", name, value, more, i)
					}
				}
			}
		}
		if unguarded := fmt.Sprintf("%p", guarded) == fmt.Sprintf("%p", never); !unguarded && carried == 0 {
			t.Errorf("%s is never carried over", name)
		}
	}
}
