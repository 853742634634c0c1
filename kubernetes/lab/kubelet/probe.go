//go:build linux

package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probes begins to probe the container's process, until ctx ends.
func (c *box) probes(ctx context.Context) *sync.WaitGroup {
	var wg sync.WaitGroup
	begin := func() {
		c.change(func(s *corev1.ContainerStatus) {
			yes := true
			s.Started = &yes
			s.Ready = c.spec.ReadinessProbe == nil && !c.init
		})
		if p := c.spec.ReadinessProbe; p != nil {
			wg.Go(func() {
				c.probe(ctx, "readiness", p, func(ok bool) bool {
					c.change(func(s *corev1.ContainerStatus) { s.Ready = ok })
					return true
				})
			})
		}
		if p := c.spec.LivenessProbe; p != nil {
			wg.Go(func() { c.probe(ctx, "liveness", p, c.live) })
		}
	}
	p := c.spec.StartupProbe
	if p == nil {
		begin()
		return &wg
	}
	wg.Go(func() {
		c.probe(ctx, "startup", p, func(ok bool) bool {
			if ok {
				begin()
				return false
			}
			return c.live(false)
		})
	})
	return &wg
}

// live acts on the result of a probe that decides whether the container lives. A pod that
// ends has no such probes.
func (c *box) live(ok bool) bool {
	if c.stopping.Load() {
		return false
	}
	if !ok {
		c.kill()
	}
	return ok
}

// probe probes again and again, and calls result each time that the result changes, and
// at first success. It stops when result returns false.
func (c *box) probe(ctx context.Context, name string, p *corev1.Probe, result func(ok bool) bool) {
	or := func(n int32, or int) int {
		if n == 0 {
			return or
		}
		return int(n)
	}
	period := time.Duration(or(p.PeriodSeconds, 10)) * time.Second
	timeout := time.Duration(or(p.TimeoutSeconds, 1)) * time.Second
	enough, tooMany := or(p.SuccessThreshold, 1), or(p.FailureThreshold, 3)
	successes, failures := 0, 0
	said := ""
	for wait := time.Duration(p.InitialDelaySeconds) * time.Second; ; wait = period {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		limited, cancel := context.WithTimeout(ctx, timeout)
		err := c.try(limited, p.ProbeHandler)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			successes, failures, said = successes+1, 0, ""
		} else {
			successes, failures = 0, failures+1
			if text := err.Error(); text != said {
				said = text
				c.w.note("container %s: %s probe: %v", c.spec.Name, name, err)
			}
		}
		if successes == enough && !result(true) || failures == tooMany && !result(false) {
			return
		}
	}
}

// try probes once.
func (c *box) try(ctx context.Context, h corev1.ProbeHandler) error {
	switch {
	case h.HTTPGet != nil:
		return c.httpGet(ctx, h.HTTPGet)
	case h.TCPSocket != nil:
		address, err := c.address(h.TCPSocket.Host, h.TCPSocket.Port)
		if err != nil {
			return err
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	case h.Exec != nil:
		return c.exec(ctx, h.Exec)
	}
	return errors.New("the laboratory has no probe of this kind")
}

// address returns where a port of the container is reached. host may be "".
func (c *box) address(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = c.w.ns.Addresses[0].String()
	}
	if port.Type == intstr.Int {
		return net.JoinHostPort(host, strconv.Itoa(port.IntValue())), nil
	}
	for _, p := range c.spec.Ports {
		if p.Name == port.StrVal {
			return net.JoinHostPort(host, strconv.Itoa(int(p.ContainerPort))), nil
		}
	}
	return "", fmt.Errorf("the container has no port named %q", port.StrVal)
}

// httpClient follows no redirect to elsewhere, and believes any certificate, as kubelets
// do. Each request has a connection of its own.
var httpClient = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// httpGet makes a request. Status codes from 200 to 399 are a success.
func (c *box) httpGet(ctx context.Context, a *corev1.HTTPGetAction) error {
	address, err := c.address(a.Host, a.Port)
	if err != nil {
		return err
	}
	scheme := "http"
	if a.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+a.Path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "kube-probe/lab")
	for _, h := range a.HTTPHeaders {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			r.Host = h.Value
			continue
		}
		r.Header.Add(h.Name, h.Value)
	}
	answer, err := httpClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)); err != nil {
		return err
	}
	if answer.StatusCode < 200 || answer.StatusCode > 399 {
		return fmt.Errorf("%s answered %s", r.URL, answer.Status)
	}
	return nil
}
