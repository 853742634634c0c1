//go:build linux

package kubelet

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// status returns what is known about the pod, in the form of its status.
func (w *worker) status(pod *corev1.Pod) *corev1.PodStatus {
	node, _ := w.k.node(pod.Spec.NodeName)
	w.mu.Lock()
	started := w.started
	w.mu.Unlock()
	s := &corev1.PodStatus{
		ObservedGeneration: pod.Generation,
		StartTime:          &started,
		HostIP:             node.Address.String(),
		HostIPs:            []corev1.HostIP{{IP: node.Address.String()}},
		PodIP:              w.ns.Addresses[0].String(),
	}
	for _, a := range w.ns.Addresses {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: a.String()})
	}
	states := map[string]corev1.ContainerStatus{}
	for _, c := range w.all() {
		states[c.spec.Name] = c.status()
	}
	initialized := true
	for _, c := range pod.Spec.InitContainers {
		state := stateOf(states, c)
		s.InitContainerStatuses = append(s.InitContainerStatuses, state)
		initialized = initialized && state.State.Terminated != nil && state.State.Terminated.ExitCode == 0
	}
	running, failed, ready := 0, 0, true
	for _, c := range pod.Spec.Containers {
		state := stateOf(states, c)
		s.ContainerStatuses = append(s.ContainerStatuses, state)
		ready = ready && state.Ready
		ended := state.State.Terminated
		if ended == nil || pod.Spec.RestartPolicy == corev1.RestartPolicyAlways && pod.DeletionTimestamp == nil {
			running++
		} else if ended.ExitCode != 0 {
			failed++
		}
	}
	switch {
	case !initialized:
		s.Phase = corev1.PodPending
	case running > 0:
		s.Phase = corev1.PodRunning
	case failed > 0:
		s.Phase = corev1.PodFailed
	default:
		s.Phase = corev1.PodSucceeded
	}
	gates := ready
	for _, g := range pod.Spec.ReadinessGates {
		c := condition(pod, g.ConditionType)
		gates = gates && c != nil && c.Status == corev1.ConditionTrue
	}
	for _, c := range []struct {
		kind corev1.PodConditionType
		is   bool
		why  string
	}{
		{corev1.PodReadyToStartContainers, true, ""},
		{corev1.PodInitialized, initialized, "ContainersNotInitialized"},
		{corev1.ContainersReady, ready, "ContainersNotReady"},
		{corev1.PodReady, gates, "ContainersNotReady"},
	} {
		now := corev1.PodCondition{Type: c.kind, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation, LastTransitionTime: metav1.Now()}
		if !c.is {
			now.Status, now.Reason = corev1.ConditionFalse, c.why
		}
		if c.kind == corev1.PodReady && ready && !gates {
			now.Reason = "ReadinessGatesNotReady"
		}
		if before := w.conditions[c.kind]; before.Status == now.Status {
			now.LastTransitionTime = before.LastTransitionTime
		}
		w.conditions[c.kind] = now
		s.Conditions = append(s.Conditions, now)
	}
	return s
}

// stateOf returns the state of a container, which may not have been made yet.
func stateOf(states map[string]corev1.ContainerStatus, c corev1.Container) corev1.ContainerStatus {
	if state, ok := states[c.Name]; ok {
		return state
	}
	waiting := corev1.ContainerStateWaiting{Reason: "PodInitializing"}
	return corev1.ContainerStatus{Name: c.Name, Image: c.Image, Started: new(bool), State: corev1.ContainerState{Waiting: &waiting}}
}

// condition returns a condition of a pod, nil if it isn't there.
func condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}
