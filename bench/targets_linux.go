package main

import (
	"bytes"
	"embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed holdfast.yaml nginx.conf haproxy.cfg
var configs embed.FS

// target is a balancer to measure. In its command and its configuration, @LISTEN@,
// @B1@, @B2@, @CONF@, @TMP@ and others are replaced.
type target struct {
	name    string
	config  string
	extra   string
	command []string
	version []string // prints its version

	// For workloads with TLS: what replaces @SSL@ and @CERTIFICATE@. In it @PEM@ is the
	// file with the certificate and its key.
	ssl, certificate string
}

// Larger buffers need more memory, but are faster with large messages. So nginx and
// HAProxy are measured with both.
func targets(holdfast string) []target {
	nginx := []string{"/usr/sbin/nginx", "-c", "@CONF@", "-e", "stderr", "-p", "@TMP@"}
	haproxy := []string{"/usr/sbin/haproxy", "-db", "-f", "@CONF@"}
	nginxVersion, haproxyVersion := []string{"/usr/sbin/nginx", "-v"}, []string{"/usr/sbin/haproxy", "-v"}
	return []target{
		{name: "holdfast", config: "holdfast.yaml", command: []string{holdfast, "run", "-c", "@CONF@"}, version: []string{holdfast, "version"}, ssl: holdfastTLS},
		{name: "nginx", config: "nginx.conf", command: nginx, version: nginxVersion, ssl: "ssl", certificate: nginxCertificate},
		{name: "nginx-64k", config: "nginx.conf", extra: "proxy_buffer_size 64k; proxy_buffers 8 64k;", command: nginx, ssl: "ssl", certificate: nginxCertificate},
		{name: "haproxy", config: "haproxy.cfg", command: haproxy, version: haproxyVersion, ssl: haproxySSL},
		{name: "haproxy-64k", config: "haproxy.cfg", extra: "tune.bufsize 65536", command: haproxy, ssl: haproxySSL},
	}
}

const (
	holdfastTLS      = "tls: {certificates: [{cert: @PEM@}]}"
	nginxCertificate = "ssl_certificate @PEM@; ssl_certificate_key @PEM@; ssl_protocols TLSv1.2 TLSv1.3;"
	haproxySSL       = "ssl crt @PEM@ ssl-min-ver TLSv1.2 alpn http/1.1"
)

// process is a running process.
type process struct {
	*exec.Cmd
	address string
	tmp     string
	log     bytes.Buffer
}

// start starts the target with two backends and waits until it accepts connections.
// pem is the file with its certificate and key; "" is without TLS.
func (t target) start(backends []*process, pem string) (*process, error) {
	if pem == "" {
		t.ssl, t.certificate = "", ""
	}
	t.ssl, t.certificate = strings.ReplaceAll(t.ssl, "@PEM@", pem), strings.ReplaceAll(t.certificate, "@PEM@", pem)
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "holdfast-bench-")
	if err != nil {
		return nil, err
	}
	files := descriptors()
	fill := strings.NewReplacer("@LISTEN@", listen, "@B1@", backends[0].address, "@B2@", backends[1].address,
		"@TMP@", tmp, "@PEM@", pem, "@SSL@", t.ssl, "@CERTIFICATE@", t.certificate, "@CONF@", filepath.Join(tmp, "conf"), "@EXTRA@", t.extra, "@CPUS@", strconv.Itoa(runtime.NumCPU()),
		"@NOFILE@", strconv.Itoa(files-100), "@SESSIONS@", strconv.Itoa((files-400)/2))
	if t.config != "" {
		conf, err := configs.ReadFile(t.config)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(tmp, "conf"), []byte(fill.Replace(string(conf))), 0o600); err != nil {
			return nil, err
		}
	}
	var args []string
	for _, a := range t.command {
		args = append(args, fill.Replace(a))
	}
	p := &process{address: listen, tmp: tmp}
	return p, p.run(args)
}

// startBackend starts a bench-server.
func startBackend(holdfast string) (*process, error) {
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p := &process{address: listen}
	return p, p.run([]string{holdfast, "bench-server", "--listen", listen})
}

func (p *process) run(args []string) error {
	p.Cmd = exec.Command(args[0], args[1:]...)
	p.Stdout, p.Stderr = &p.log, &p.log
	if err := p.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", p.address); err == nil {
			c.Close()
			return nil
		}
		if time.Now().After(end) {
			p.end()
			return fmt.Errorf("%s doesn't accept connections:\n%s", strings.Join(args, " "), p.log.String())
		}
	}
}

func (p *process) end() {
	stop(p.Cmd)
	if p.tmp != "" {
		os.RemoveAll(p.tmp)
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// descriptors returns the maximum number of file descriptors of a process.
func descriptors() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	return int(min(l.Max, 1<<20))
}
