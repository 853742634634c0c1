//go:build linux

package switching

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// machine is where a file runs.
type machine struct {
	*facts
	path     string // of the file
	recorder *recorder
	client   *tls.Certificate
}

var (
	certificatePath = regexp.MustCompile(`(?m)^[^#\n]*\b(?:proxy_)?(ssl_certificate|ssl_certificate_key|ssl_client_certificate|ssl_trusted_certificate|crt|ca-file)\s+(/[^\s;]+)`)
	wholeNginx      = regexp.MustCompile(`(?m)^\s*(http|stream)\s*\{`)
	ownUser         = regexp.MustCompile(`(?m)^\s*(user|group)\s+[^\n]*$`)
)

// prepare writes the file, and starts the servers and all else that it names.
func prepare(t *testing.T, f *facts) *machine {
	t.Helper()
	m := &machine{facts: f}
	if err := os.RemoveAll("/etc/nginx/sites-enabled"); err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{}
	for name, address := range f.Names {
		names[name] = []string{address}
	}
	serveNames(t, names)
	ca := testca.New(t)
	hosts := f.find().hosts
	pair := ca.Issue(append(hosts, "localhost")...)
	m.client = &ca.Issue("client.example").TLS
	for _, c := range certificatePath.FindAllStringSubmatch(f.Text, -1) {
		text := string(ca.PEM)
		switch c[1] {
		case "ssl_certificate":
			text = string(pair.Cert)
		case "ssl_certificate_key":
			text = string(pair.Key)
		case "crt":
			text = string(pair.Cert) + string(pair.Key)
		}
		path := c[2]
		if strings.HasSuffix(path, "/") {
			path += "site.pem"
		}
		write(t, path, text)
	}
	for i := 0; i+1 < len(f.Hints["file"]); i += 2 {
		write(t, f.Hints["file"][i], f.Hints["file"][i+1]+"\n")
	}
	dead := f.Hints["dead"]
	alive := slices.DeleteFunc(f.addresses(), func(a string) bool { return slices.Contains(dead, a) })
	m.recorder = startRecorder(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue(serverNames(f)...).TLS}}, alive)
	switch {
	case f.Format == "haproxy":
		m.path = "/etc/haproxy/haproxy.cfg"
		write(t, m.path, f.Text)
	case wholeNginx.MatchString(f.Text):
		m.path = "/etc/nginx/nginx.conf"
		write(t, m.path, f.Text)
	default: // a file for Debian's conf.d
		m.path = "/etc/nginx/nginx.conf"
		write(t, "/etc/nginx/conf.d/site.conf", f.Text)
	}
	return m
}

// serverNames are the names that the certificates of TLS servers have.
func serverNames(f *facts) (all []string) {
	for name := range f.Names {
		all = append(all, name)
	}
	for group := range f.Servers {
		all = append(all, group)
	}
	for _, address := range f.addresses() {
		host, _, _ := net.SplitHostPort(address)
		all = append(all, host)
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" || strings.ContainsAny(s, " :/") })
}

// theirs starts the real server.
func (m *machine) theirs(t *testing.T) *process.Process {
	t.Helper()
	path := m.path
	if unprivileged() {
		// In a user namespace of an ordinary user, there are no other users to change to.
		path += ".unprivileged"
		text := ownUser.ReplaceAllString(m.mustRead(t, m.path), "")
		if m.Format == "nginx" {
			text = "user root;\n" + text
		}
		write(t, path, text)
	}
	args := []string{"-f", path, "-db"}
	if m.Format == "nginx" {
		args = []string{"-c", path, "-g", "daemon off;"}
	}
	program, err := exec.LookPath(m.Format)
	if err != nil {
		program = "/usr/sbin/" + m.Format // not in the PATH of ordinary users
	}
	p := process.Start(t, m.Format, exec.Command(program, args...))
	t.Cleanup(func() {
		if t.Failed() && m.Format == "nginx" {
			log, _ := os.ReadFile("/var/log/nginx/error.log")
			t.Logf("nginx's error log:\n%s", log)
		}
	})
	for _, l := range m.Listeners {
		testkit.Eventually(t, m.Format+" listens at "+l.dial()+": "+p.Stderr.String(), func() bool {
			conn, err := net.Dial("tcp", l.dial())
			if err != nil {
				if syscall.Kill(p.Cmd.Process.Pid, 0) != nil || p.Cmd.ProcessState != nil {
					t.Fatalf("%s doesn't run this file:\n%s", m.Format, p.Stderr)
				}
				return false
			}
			conn.Close()
			return true
		})
	}
	return p
}

func (m *machine) mustRead(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// unprivileged reports whether this namespace has only one user.
func unprivileged() bool {
	text, _ := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(text))
	return len(f) == 3 && f[2] == "1"
}

// writtenPath is where an import is written to.
const writtenPath = "/run/holdfast.yaml"

// report imports the file, and returns what holdfast says about it.
func (m *machine) report(t *testing.T, args ...string) (text string, ok bool) {
	t.Helper()
	o := kit.Run(t, append([]string{"import", m.Format, m.path, "-o", writtenPath}, args...)...)
	return o.Stdout + o.Stderr, o.Status == 0
}

// ours starts holdfast.
func (m *machine) ours(t *testing.T, args ...string) *process.Process {
	t.Helper()
	b := &kit.Balancer{Process: kit.StartHoldfast(t, append([]string{"run", "--admin", "127.0.0.1:0"}, args...)...)}
	b.AwaitReady(t)
	return b.Process
}

// play sends requests to what runs now, and then ends it.
func (m *machine) play(t *testing.T, p *process.Process, requests []request) (all []result) {
	t.Helper()
	began := time.Now()
	for i, r := range requests {
		all = append(all, m.send(r, i))
	}
	t.Logf("%s: %d requests in %v", p.Name, len(requests), time.Since(began))
	stop := syscall.SIGTERM
	if p.Name == "holdfast" {
		stop = syscall.SIGKILL // it would wait for shutdown.delay
	}
	p.Signal(t, stop)
	p.Wait(t, testkit.Patience)
	return all
}
