//go:build linux

package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/lab/container"
)

// shortestGrace is what a container has after its preStop, even if that took all of the
// grace period. Kubelets do the same.
const shortestGrace = 2 * time.Second

// box is a container of a pod: a process, and others after it if it is restarted.
type box struct {
	w        *worker
	spec     corev1.Container
	policy   corev1.RestartPolicy
	init     bool
	stopping atomic.Bool   // it is not to be restarted
	done     chan struct{} // closed when it has ended for good

	mu      sync.Mutex // guards the following
	state   corev1.ContainerStatus
	process *exec.Cmd // nil if none runs
}

// launch starts a container.
func (w *worker) launch(spec corev1.Container, policy corev1.RestartPolicy, init bool) *box {
	c := &box{w: w, spec: spec, policy: policy, init: init, done: make(chan struct{})}
	c.state = corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, Started: new(bool)}
	c.state.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	w.mu.Lock()
	w.containers = append(w.containers, c)
	w.mu.Unlock()
	w.k.wg.Go(c.supervise)
	return c
}

// status returns the container's status.
func (c *box) status() corev1.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.state.DeepCopy()
}

// change changes the status, and has it written.
func (c *box) change(f func(s *corev1.ContainerStatus)) {
	c.mu.Lock()
	f(&c.state)
	c.mu.Unlock()
	c.w.touch()
}

// supervise runs the container's process, again and again as its restart policy says.
func (c *box) supervise() {
	defer c.w.touch()
	defer close(c.done)
	for backoff := time.Second; ; backoff = min(2*backoff, 30*time.Second) {
		code, err := c.once()
		again := c.policy == corev1.RestartPolicyAlways || c.policy == corev1.RestartPolicyOnFailure && code != 0
		if err != nil {
			c.w.note("container %s: %v", c.spec.Name, err)
			again = true // as a missing image, it may come
		}
		if c.stopping.Load() || c.w.ctx.Err() != nil || !again {
			return
		}
		c.change(func(s *corev1.ContainerStatus) {
			reason, message := "CrashLoopBackOff", fmt.Sprintf("it ended with code %d", code)
			if err != nil {
				reason, message = "CreateContainerError", err.Error()
			} else {
				s.RestartCount++
			}
			s.LastTerminationState = s.State
			s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
		})
		select {
		case <-time.After(backoff):
		case <-c.w.deleting:
		case <-c.w.ctx.Done():
		}
		if c.w.ctx.Err() != nil || isClosed(c.w.deleting) {
			c.change(func(s *corev1.ContainerStatus) { s.State = s.LastTerminationState })
			return
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// once runs the container's process until its end. The error is about its start.
func (c *box) once() (code int, err error) {
	pod, _ := c.w.get()
	program, err := c.w.k.Image(c.spec.Image)
	if err != nil && len(c.spec.Command) == 0 {
		return 0, err
	}
	spec := container.Spec{Path: program.Path, Args: program.Args}
	if spec.Env, err = c.w.environment(pod, &c.spec); err != nil {
		return 0, err
	}
	if len(c.spec.Command) > 0 {
		command := expandAll(c.spec.Command, spec.Env)
		spec.Path, spec.Args = command[0], command[1:]
	}
	if len(c.spec.Args) > 0 {
		spec.Args = expandAll(c.spec.Args, spec.Env)
		if len(c.spec.Command) > 0 {
			spec.Args = append(expandAll(c.spec.Command[1:], spec.Env), spec.Args...)
		}
	}
	cmd, err := c.w.start(spec, c.spec)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(c.w.ctx)
	began := metav1.Now()
	c.mu.Lock()
	c.process = cmd
	c.mu.Unlock()
	c.change(func(s *corev1.ContainerStatus) {
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}}
		s.ContainerID = fmt.Sprintf("lab://%d", cmd.Process.Pid)
		s.ImageID = s.Image
	})
	if c.stopping.Load() || c.w.ctx.Err() != nil { // meanwhile
		c.kill()
	}
	probes := c.probes(ctx)
	err = cmd.Wait()
	c.mu.Lock()
	c.process = nil
	c.mu.Unlock()
	cancel()
	probes.Wait()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed && !errors.Is(err, exec.ErrWaitDelay) {
		c.w.note("container %s: %v", c.spec.Name, err)
	}
	end := cmd.ProcessState.Sys().(syscall.WaitStatus)
	code, reason := end.ExitStatus(), "Completed"
	if end.Signaled() {
		code = 128 + int(end.Signal())
	}
	if code != 0 {
		reason = "Error"
		c.w.note("container %s ended with code %d", c.spec.Name, code)
	}
	c.change(func(s *corev1.ContainerStatus) {
		s.Ready = c.init && code == 0
		s.Started = new(bool)
		s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: int32(code), Reason: reason, StartedAt: began, FinishedAt: metav1.Now(), ContainerID: s.ContainerID,
		}}
	})
	return code, nil
}

// start starts a process in the pod.
func (w *worker) start(spec container.Spec, c corev1.Container) (*exec.Cmd, error) {
	pod, _ := w.get()
	spec.Dir, spec.Root = c.WorkingDir, filepath.Join(w.dir, "root")
	if !pod.Spec.HostNetwork {
		spec.Hostname = pod.Name
		if pod.Spec.Hostname != "" {
			spec.Hostname = pod.Spec.Hostname
		}
	}
	for _, m := range c.VolumeMounts {
		w.mu.Lock()
		source := w.volumes[m.Name]
		w.mu.Unlock()
		spec.Mounts = append(spec.Mounts, container.Mount{Source: filepath.Join(source, m.SubPath), Target: m.MountPath})
	}
	cmd, err := spec.Command()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w.log, w.log
	cmd.WaitDelay = time.Second // for what its own children still write
	return cmd, w.ns.Do(cmd.Start)
}

// signal sends a signal to the container's processes.
func (c *box) signal(s unix.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil {
		// The error is that it has ended meanwhile.
		_ = unix.Kill(-c.process.Process.Pid, s)
	}
}

func (c *box) kill() { c.signal(unix.SIGKILL) }

// terminate ends the container before a time, with what its lifecycle says.
func (c *box) terminate(end time.Time) {
	c.stopping.Store(true)
	stop := unix.SIGTERM
	if l := c.spec.Lifecycle; l != nil {
		if l.PreStop != nil && c.status().State.Running != nil {
			ctx, cancel := context.WithDeadline(c.w.ctx, end)
			c.preStop(ctx, l.PreStop)
			cancel()
		}
		if l.StopSignal != nil {
			if s := unix.SignalNum(string(*l.StopSignal)); s != 0 {
				stop = s
			}
		}
	}
	c.signal(stop)
	select {
	case <-c.done:
	case <-time.After(max(time.Until(end), shortestGrace)):
		c.w.note("container %s: SIGKILL at the end of the grace period", c.spec.Name)
	case <-c.w.ctx.Done():
	}
	c.kill()
	<-c.done
}

// preStop does what comes before SIGTERM, until ctx ends or the container does.
func (c *box) preStop(ctx context.Context, h *corev1.LifecycleHandler) {
	var err error
	switch {
	case h.Sleep != nil:
		select {
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
		case <-c.done:
		case <-ctx.Done():
		}
	case h.HTTPGet != nil:
		err = c.httpGet(ctx, h.HTTPGet)
	case h.Exec != nil:
		err = c.exec(ctx, h.Exec)
	}
	if err != nil {
		c.w.note("container %s: preStop: %v", c.spec.Name, err)
	}
}

// exec runs a command in the container.
func (c *box) exec(ctx context.Context, a *corev1.ExecAction) error {
	pod, _ := c.w.get()
	env, err := c.w.environment(pod, &c.spec)
	if err != nil || len(a.Command) == 0 {
		return err
	}
	cmd, err := c.w.start(container.Spec{Path: a.Command[0], Args: a.Command[1:], Env: env}, c.spec)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
	defer stop()
	return cmd.Wait()
}
