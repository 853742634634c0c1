package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	kubeconfig := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(kubeconfig, []byte(`{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}], contexts: [{name: c, context: {cluster: c}}], current-context: c}`), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "holdfast.yaml")
	if err := os.WriteFile(wrong, []byte("listeners: [{address: \":80\"}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"--version", 0, "holdfast-kubernetes "},
		{"--help", 0, "--gateway-service-type"},
		{"", 2, "it is not known where the API server is"},
		{"--foo", 2, "unknown flag --foo"},
		{"serve", 2, "unexpected argument serve"},
		{"--kubeconfig /nowhere/config", 1, "/nowhere/config"},
		{"--kubeconfig " + kubeconfig + " --config " + wrong, 2, "listeners can't be in this file"},
		{"--kubeconfig " + kubeconfig + " --config /nowhere.yaml", 2, "no such file"},
		{"--kubeconfig " + kubeconfig + " --lease-duration 10ms", 2, "at least 1s"},
		{"--kubeconfig " + kubeconfig + " --proxy-protocol-from 10.0.0.1/8", 2, "isn't a network"},
		{"--kubeconfig " + kubeconfig + " --shared-secret x", 2, "--pod-namespace"},
		{"--kubeconfig " + kubeconfig + " --peer-address 192.0.2.1:1", 1, "--peer-address"},
		{"--gateway-service-type Magic", 2, "must be one of"},
		{"sessions --admin 127.0.0.1:1 --min-idle 5", 2, `bad duration "5"`},
		{"events --admin 127.0.0.1:1", 1, "no balancer answers at 127.0.0.1:1"},
		{"status --admin 127.0.0.1:1", 1, "no balancer answers at 127.0.0.1:1"},
	} {
		var out, errOut bytes.Buffer
		status := Main(strings.Fields(c.args), &out, &errOut)
		if text := out.String() + errOut.String(); status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%q exits with %d, want %d with %q:\n%s", c.args, status, c.status, c.want, text)
		}
	}
}
