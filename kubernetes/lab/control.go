//go:build linux

package lab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/kubernetes/lab/kubelet"
	"github.com/holdfast-ws/holdfast/kubernetes/lab/names"
	"github.com/holdfast-ws/holdfast/kubernetes/lab/podnet"
	"github.com/holdfast-ws/holdfast/kubernetes/lab/services"
)

// server is where the API server listens. Pods reach it by its Service.
const server = "https://" + podnet.Gateway + ":6443"

// patience is how long a start may take. A machine with much else to do needs minutes.
const patience = 5 * time.Minute

// binaries returns the folder where scripts/setup-kubernetes.sh has put the programs. It
// computes the same name as that script.
func binaries() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	module := ""
	for ; ; dir = filepath.Dir(dir) {
		module = filepath.Join(dir, "lab", "server")
		if _, err := os.Stat(filepath.Join(module, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the folder lab/server isn't above the test's working directory")
		}
	}
	sources, err := filepath.Glob(filepath.Join(module, "*.go"))
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, name := range append([]string{filepath.Join(module, "go.mod"), filepath.Join(module, "go.sum")}, sources...) {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		hash.Write(text)
	}
	fmt.Fprintln(hash, runtime.Version())
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache")
	}
	found := filepath.Join(cache, "holdfast-test", "kube", fmt.Sprintf("%x", hash.Sum(nil)))
	if _, err := os.Stat(filepath.Join(found, "kube-apiserver")); err != nil {
		return "", fmt.Errorf("there is no %s: run scripts/setup-kubernetes.sh, which builds the API server for tests", found)
	}
	return found, nil
}

// start starts everything.
func (c *Cluster) start() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	programs, err := binaries()
	if err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp("", "holdfast-lab-"); err != nil {
		return err
	}
	if c.network, err = podnet.New(); err != nil {
		return err
	}
	if err := c.writeFiles(); err != nil {
		return err
	}
	c.config.QPS, c.config.Burst = -1, -1
	if c.kube, err = kubernetes.NewForConfig(c.config); err != nil {
		return err
	}
	if err := c.Kubeconfig(c.file("admin.kubeconfig")); err != nil {
		return err
	}
	if err := c.run(filepath.Join(programs, "etcd"),
		"--data-dir="+c.file("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380"); err != nil {
		return err
	}
	ranges := podnet.Services
	if c.network.Dual {
		ranges += "," + podnet.Services6
	}
	if err := c.run(filepath.Join(programs, "kube-apiserver"),
		"--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0", "--secure-port=6443", "--advertise-address="+podnet.Gateway,
		"--service-cluster-ip-range="+ranges, "--authorization-mode=RBAC", "--allow-privileged",
		"--cert-dir="+c.file("generated"), "--client-ca-file="+c.file("ca.crt"),
		"--tls-cert-file="+c.file("server.crt"), "--tls-private-key-file="+c.file("server.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+c.file("accounts.key"), "--service-account-signing-key-file="+c.file("accounts.key"),
		"--audit-policy-file="+c.file("audit.yaml"), "--audit-log-path="+c.file("audit.log"),
		"--enable-priority-and-fairness=false", "--profiling=false", "--v=0"); err != nil {
		return err
	}
	if err := c.waitReady(); err != nil {
		return err
	}
	if err := c.run(filepath.Join(programs, "kube-controllers"), "-kubeconfig="+c.file("admin.kubeconfig")); err != nil {
		return err
	}
	c.kubelet, err = kubelet.Start(kubelet.Options{
		Client: c.kube, Network: c.network, Dir: c.file("pods"), Image: c.image,
		Nodes: []kubelet.Node{
			{Name: "node-1", Zone: "zone-1", Address: netip.MustParseAddr("10.246.0.11")},
			{Name: "node-2", Zone: "zone-2", Address: netip.MustParseAddr("10.246.0.12")},
		},
	})
	if err != nil {
		return err
	}
	if c.services, err = services.Start(c.kube, c.note); err != nil {
		return err
	}
	if c.names, err = names.Start(c.kube); err != nil {
		return err
	}
	c.client, err = client.New(c.config, client.Options{})
	return err
}

// file returns the path of a file of the cluster.
func (c *Cluster) file(name string) string { return filepath.Join(c.dir, name) }

// writeFiles writes the files of the API server, and makes the administrator's
// configuration.
func (c *Cluster) writeFiles() error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	certificate, key, err := ca.issue("kube-apiserver", []string{
		podnet.Gateway, "10.96.0.1", "127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
	})
	if err != nil {
		return err
	}
	_, accounts, err := newKey()
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"ca.crt": ca.pem, "server.crt": certificate, "server.key": key, "accounts.key": accounts, "audit.yaml": []byte(auditPolicy),
	} {
		if err := os.WriteFile(c.file(name), text, 0o600); err != nil {
			return err
		}
	}
	certificate, key, err = ca.issue("admin", nil, "system:masters")
	c.config = &rest.Config{Host: server, TLSClientConfig: rest.TLSClientConfig{CAData: ca.pem, CertData: certificate, KeyData: key}}
	return err
}

// writeKubeconfig writes a configuration as a kubeconfig file.
func writeKubeconfig(path string, config *rest.Config) error {
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"lab": {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"lab": {
			ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken,
		}},
		Contexts:       map[string]*clientcmdapi.Context{"lab": {Cluster: "lab", AuthInfo: "lab"}},
		CurrentContext: "lab",
	}, path)
}

// waitReady waits until the API server is ready, or one of the programs has ended.
func (c *Cluster) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		answer, err := c.kube.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil {
			return nil
		}
		for _, p := range c.programs {
			select {
			case <-p.ended:
				return fmt.Errorf("%s has ended: %v:\n%s", p.name, p.cmd.ProcessState, p.log.last())
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server isn't ready: %w: %s", err, answer)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// program is a process of the cluster.
type program struct {
	name  string
	cmd   *exec.Cmd
	log   *tail
	ended chan struct{}
}

// run starts a program of the cluster.
func (c *Cluster) run(path string, args ...string) error {
	p := &program{name: filepath.Base(path), cmd: exec.Command(path, args...), log: &tail{}, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // its state is in cmd
	}()
	c.programs = append(c.programs, p)
	return nil
}

// stop ends everything. Nothing is kept, so nobody needs time to end well.
func (c *Cluster) stop() error {
	if c.names != nil {
		c.names.Stop()
	}
	if c.services != nil {
		c.services.Stop()
	}
	if c.kubelet != nil {
		c.kubelet.Stop()
	}
	for _, p := range c.programs {
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.ended
	}
	var err error
	if c.network != nil {
		err = c.network.Close()
	}
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}

// tail keeps the last part of a log.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > 2*tailSize {
		t.text = append(t.text[:0], t.text[len(t.text)-tailSize:]...)
	}
	return len(p), nil
}

// last returns the last lines, without those of klog that only inform.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(t.text)), "\n"), func(line string) bool {
		return len(line) > 1 && line[0] == 'I' && line[1] >= '0' && line[1] <= '9'
	})
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}
