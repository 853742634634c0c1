package cost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pod is one of a ReplicaSet; annotations are "key=value", with "cost" and "written" for short.
func pod(name string, annotations ...string) *metav1.PartialObjectMetadata {
	controller := true
	p := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "chat-1", Controller: &controller}}, Annotations: map[string]string{}}}
	for _, a := range annotations {
		key, value, _ := strings.Cut(a, "=")
		p.Annotations[map[string]string{"cost": Annotation, "written": Written}[key]] = value
	}
	return p
}

func snapshot(t testing.TB, pods ...*metav1.PartialObjectMetadata) *cluster.Snapshot {
	t.Helper()
	var objects []client.Object
	for _, p := range pods {
		objects = append(objects, p)
	}
	s, err := cluster.New(objects)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sessions(byPod map[string]int, missing ...string) scale.Loads {
	l := scale.Loads{Pods: map[types.NamespacedName]int{}, Missing: missing}
	for name, n := range byPod {
		l.Pods[types.NamespacedName{Namespace: "shop", Name: name}] = n
	}
	return l
}

func texts(list []change) (all []string) {
	for _, c := range list {
		if c.remove {
			all = append(all, c.pod.Name+" none")
		} else {
			all = append(all, fmt.Sprint(c.pod.Name, " ", c.cost))
		}
	}
	return all
}

func TestChanges(t *testing.T) {
	terminating, stateful := pod("a"), pod("a")
	terminating.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	stateful.OwnerReferences[0].Kind = "StatefulSet"
	bare := pod("a")
	bare.OwnerReferences = nil
	elsewhere := pod("a")
	elsewhere.Namespace = "other"
	for name, tt := range map[string]struct {
		pod     *metav1.PartialObjectMetadata
		n       int
		missing string
		want    []string
	}{
		"first":                               {pod("a"), 5, "", []string{"a 5"}},
		"none":                                {pod("a"), 0, "", nil},
		"equal":                               {pod("a", "cost=100", "written=100"), 100, "", nil},
		"not noticeable":                      {pod("a", "cost=100", "written=100"), 109, "", nil},
		"more":                                {pod("a", "cost=100", "written=100"), 112, "", []string{"a 112"}},
		"less":                                {pod("a", "cost=100", "written=100"), 89, "", []string{"a 89"}},
		"one more of few":                     {pod("a", "cost=5", "written=5"), 6, "", []string{"a 6"}},
		"empty":                               {pod("a", "cost=5", "written=5"), 0, "", []string{"a none"}},
		"empty, a replica is missing":         {pod("a", "cost=5", "written=5"), 0, "holdfast-1", nil},
		"more, a replica is missing":          {pod("a", "cost=5", "written=5"), 60, "holdfast-1", []string{"a 60"}},
		"somebody else's":                     {pod("a", "cost=-7"), 60, "", nil},
		"somebody else's since":               {pod("a", "cost=-7", "written=5"), 60, "", nil},
		"somebody has removed it":             {pod("a", "written=5"), 60, "", []string{"a 60"}},
		"ours, broken":                        {pod("a", "cost=x", "written=x"), 60, "", []string{"a 60"}},
		"ours, broken and empty":              {pod("a", "cost=x", "written=x"), 0, "", []string{"a none"}},
		"terminating":                         {terminating, 5, "", nil},
		"of a StatefulSet":                    {stateful, 5, "", nil},
		"of nobody":                           {bare, 5, "", nil},
		"of another namespace, with its name": {elsewhere, 5, "", nil},
		"more than there can be":              {pod("a"), 1 << 40, "", []string{"a 2147483647"}},
	} {
		loads := sessions(map[string]int{"a": tt.n})
		if tt.missing != "" {
			loads.Missing = []string{tt.missing}
		}
		if got := texts(changes(snapshot(t, tt.pod), loads)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// Those that have changed most come first.
func TestOrderOfChanges(t *testing.T) {
	s := snapshot(t, pod("a", "cost=1000", "written=1000"), pod("b", "cost=100", "written=100"), pod("c"), pod("d", "cost=40", "written=40"), pod("e", "cost=3", "written=3"))
	got := texts(changes(s, sessions(map[string]int{"a": 1200, "b": 300, "c": 500, "d": 20})))
	if want := []string{"e none", "c 500", "b 300", "d 20", "a 1200"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What is left alone is so little off that the order of costs is right for all pods whose
// sessions differ by more than a fifth.
func TestOrderOfPods(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		costs, now := map[string]int{}, map[string]int{}
		var pods []*metav1.PartialObjectMetadata
		for i := range rapid.IntRange(2, 6).Draw(t, "pods") {
			name := fmt.Sprint("p", i)
			costs[name], now[name] = rapid.IntRange(0, 300).Draw(t, "before"), rapid.IntRange(0, 300).Draw(t, "now")
			p := pod(name)
			if n := costs[name]; n > 0 {
				p = pod(name, fmt.Sprint("cost=", n), fmt.Sprint("written=", n))
			}
			pods = append(pods, p)
		}
		s, err := cluster.New(objects(pods))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes(s, sessions(now)) {
			costs[c.pod.Name] = c.cost
		}
		for a := range now {
			for b := range now {
				if float64(now[a])*1.25 < float64(now[b]) && costs[a] >= costs[b] {
					t.Fatalf("%d sessions have cost %d, and %d have %d", now[a], costs[a], now[b], costs[b])
				}
			}
		}
	})
}

func objects(pods []*metav1.PartialObjectMetadata) (list []client.Object) {
	for _, p := range pods {
		list = append(list, p)
	}
	return list
}

// recorder is a client that records patches.
type recorder struct {
	client.Client
	err error

	mu   sync.Mutex // guards the following
	at   []time.Time
	body []string
}

// written returns how many patches there were, and when the first was.
func (r *recorder) written() (n int, first time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.at), r.at[0]
}

func (r *recorder) Patch(_ context.Context, o client.Object, p client.Patch, _ ...client.PatchOption) error {
	data, _ := p.Data(o)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, time.Now())
	r.body = append(r.body, o.GetNamespace()+"/"+o.GetName()+" "+string(p.Type())+" "+string(data))
	return r.err
}

func TestPatch(t *testing.T) {
	r := &recorder{}
	w := writer{Options: Options{Client: r}}
	w.write(t.Context(), change{pod: pod("a"), cost: 7})
	w.write(t.Context(), change{pod: pod("b"), remove: true})
	want := []string{
		`shop/a application/merge-patch+json {"metadata":{"annotations":{"controller.kubernetes.io/pod-deletion-cost":"7","holdfast.dev/pod-deletion-cost":"7"},"uid":"uid-a"}}`,
		`shop/b application/merge-patch+json {"metadata":{"annotations":{"controller.kubernetes.io/pod-deletion-cost":null,"holdfast.dev/pod-deletion-cost":null},"uid":"uid-b"}}`,
	}
	if !slices.Equal(r.body, want) {
		t.Errorf("%s", strings.Join(r.body, "\n"))
	}
	r.err = apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "a")
	if err := w.write(t.Context(), change{pod: pod("a"), cost: 7}); err != nil {
		t.Errorf("a pod that is gone: %v", err)
	}
	// So the API server answers if another pod has the name by now.
	r.err = apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "a", field.ErrorList{field.Invalid(field.NewPath("metadata", "uid"), "uid-a", "field is immutable")})
	if err := w.write(t.Context(), change{pod: pod("a"), cost: 7}); err != nil {
		t.Errorf("the UID of another pod: %v", err)
	}
	r.err = apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "a", field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations"), "", "")})
	if err := w.write(t.Context(), change{pod: pod("a"), cost: 7}); err == nil {
		t.Error("what the API server finds invalid is no error")
	}
}

// A pod is written once a minute, however its sessions change, and many pods one after the other.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, n, calls := &recorder{}, 0, 0
		var pods []*metav1.PartialObjectMetadata
		for i := range 500 {
			pods = append(pods, pod(fmt.Sprint("p", i)))
		}
		s := snapshot(t, pods...)
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		go Run(ctx, Options{Client: r, Log: slog.New(slog.DiscardHandler), Snapshot: func() *cluster.Snapshot { return s }, Loads: func() (scale.Loads, error) {
			calls++
			if n += 1000; calls == 1 {
				return scale.Loads{}, scale.ErrUnknown
			}
			byPod := map[string]int{}
			for i := range 500 {
				byPod[fmt.Sprint("p", i)] = n
			}
			return sessions(byPod), nil
		}})
		time.Sleep(Interval + time.Second + pause/2)
		synctest.Wait()
		if n, first := r.written(); n != 11 || first.Sub(began) != Interval {
			t.Errorf("%d were written, the first after %v", n, first.Sub(began))
		}
		time.Sleep(Interval - 2*time.Second)
		synctest.Wait()
		if n, _ := r.written(); n != atOnce {
			t.Errorf("%d were written in a minute, want %d", n, atOnce)
		}
		cancel()
		synctest.Wait()
	})
}

func TestFailures(t *testing.T) {
	var log testkit.Log
	r := &recorder{err: apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "a", errors.New("no"))}
	s := snapshot(t, pod("a"), pod("b"))
	w := writer{Options: Options{Client: r, Log: slog.New(slog.NewTextHandler(&log, nil)), Snapshot: func() *cluster.Snapshot { return s },
		Loads: func() (scale.Loads, error) { return sessions(map[string]int{"a": 1, "b": 2}), nil }}}
	w.round(t.Context())
	w.round(t.Context())
	if len(r.body) != 2 {
		t.Errorf("%d requests, want one in each round: the second pod is forbidden, too", len(r.body))
	}
	r.err = nil
	w.round(t.Context())
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "can't be written") || !strings.Contains(lines[1], "written again") {
		t.Errorf("log: %s", log.String())
	}
}
