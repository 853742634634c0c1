//go:build linux

// Package scaling tests that a Deployment can be scaled out and in while sessions go on.
package scaling

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale/cost"
	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

// TestMain is also the program of the pods.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "chat" {
		chat()
		return
	}
	lab.Main(m)
}

const deploy = "../../deploy"

// TestScaling runs the tests with one installation of holdfast.
func TestScaling(t *testing.T) {
	c := install(t)
	t.Run("out and in", func(t *testing.T) { t.Parallel(); testScaleOutAndIn(t, c) })
	t.Run("a new pod warms up", func(t *testing.T) { t.Parallel(); testNewPodWarmsUp(t, c) })
}

// install installs holdfast as the documents say.
func install(t *testing.T) *lab.Cluster {
	t.Helper()
	c := lab.Start(t)
	c.CRDs(t, lab.GatewayAPI(t, "standard"), filepath.Join(deploy, "chart/holdfast/crds"))
	c.Image("ghcr.io/holdfast-ws/holdfast-kubernetes:0.1.0", lab.Build(t, "github.com/holdfast-ws/holdfast/kubernetes/cmd/holdfast-kubernetes"))
	chatImage(t, c)
	manifest, err := os.ReadFile(filepath.Join(deploy, "manifests/load-balancer.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, "holdfast", string(manifest))
	c.WaitDeployment(t, "holdfast", "holdfast")
	return c
}

// chatImage is the program of the pods: the one of the tests.
func chatImage(t *testing.T, c *lab.Cluster) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Image("example.com/chat", self, "chat")
}

// start starts a chat with that many pods, in a namespace of its own.
func start(t *testing.T, c *lab.Cluster, pods int, policy string) *application {
	t.Helper()
	i := &application{Cluster: c, ns: c.Namespace(t)}
	i.host = i.ns + ".example.com"
	c.Apply(t, i.ns, fmt.Sprintf(manifests, pods, i.host)+policy)
	c.WaitDeployment(t, i.ns, "chat")
	i.url = "ws://" + c.WaitLoadBalancer(t, "holdfast", "holdfast") + "/"
	// The endpoints come later than the Service, and the policy may need checks to pass.
	testkit.Eventually(t, "all pods are up in both replicas", func() bool {
		up := 0
		for _, p := range i.pods(t) {
			series := fmt.Sprintf("holdfast_backend_state{backend=%q,pool=%q,state=\"up\"}", p.Name, i.pool())
			for _, in := range i.scrape(t, series) {
				if in == 1 {
					up++
				}
			}
		}
		return up == 2*pods
	})
	return i
}

// pool is the name of the chat's pool.
func (i *application) pool() string { return "ingress/" + i.ns + "/chat/chat:80" }

const manifests = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  replicas: %d
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      terminationGracePeriodSeconds: 60
      containers:
      - name: chat
        image: example.com/chat
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: chat}
spec:
  selector: {app: chat}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: chat}
spec:
  ingressClassName: holdfast
  rules: [{host: %s, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: chat, port: {number: 80}}}}]}}]
---
`

type application struct {
	*lab.Cluster
	ns, host, url string
}

// browser keeps no connections.
var browser = http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testkit.Patience}

// scrape returns the value of a metric in each replica; NaN in one that doesn't have it.
func (i *application) scrape(t *testing.T, series string) (values []float64) {
	t.Helper()
	for _, p := range i.Pods(t, "holdfast", nil) {
		resp, err := browser.Get("http://" + p.Status.PodIP + ":9901/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		value := math.NaN()
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, series+" "); ok {
				if value, err = strconv.ParseFloat(strings.TrimSpace(rest), 64); err != nil {
					t.Fatal(err)
				}
			}
		}
		values = append(values, value)
	}
	return values
}

// loads asks the replicas about the chat. Those that don't know it are left out.
func (i *application) loads(t *testing.T) (all []scale.ServiceReport) {
	t.Helper()
	for _, p := range i.Pods(t, "holdfast", nil) {
		resp, err := browser.Get("http://" + p.Status.PodIP + ":9901/loads")
		if err != nil {
			t.Fatal(err)
		}
		var r scale.Report
		err = json.NewDecoder(resp.Body).Decode(&r)
		resp.Body.Close()
		if err != nil || r.Replica != p.Name {
			t.Fatalf("the replica %s answers as %q: %v", p.Name, r.Replica, err)
		}
		for _, s := range r.Services {
			if s.Namespace == i.ns {
				all = append(all, s)
			}
		}
	}
	return all
}

// sessions adds up the sessions of each chat pod.
func (i *application) sessions(t *testing.T) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, s := range i.loads(t) {
		for pod, sessions := range s.Pods {
			n[pod] += sessions
		}
	}
	return n
}

func (i *application) pods(t *testing.T) []corev1.Pod {
	t.Helper()
	return i.Pods(t, i.ns, map[string]string{"app": "chat"})
}

const moves = `
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: chat}
spec:
  targetRefs: [{group: "", kind: Service, name: chat}]
  drain: {timeout: 30s, spread: 5s}
  reattach: {"on": [drain, loss, rebalance]}
  rebalance: {rate: 20/s, min_age: 0s}
`

// testScaleOutAndIn: a Deployment of three pods becomes six and then two, while sessions
// exchange numbered messages: none is closed, and no message is lost. New pods get their
// share, KEDA is told the right numbers, and the pods with the fewest sessions go.
func testScaleOutAndIn(t *testing.T, cluster *lab.Cluster) {
	const sessions = 120
	began := time.Now()
	i := start(t, cluster, 3, moves)
	c := newClients(t, i, 200*time.Millisecond)
	c.open(t, sessions)
	t.Logf("%v: %d sessions", time.Since(began).Round(time.Second), sessions)

	scaleTo(t, i.Cluster, i.ns, 6)
	i.WaitDeployment(t, i.ns, "chat")
	testkit.Eventually(t, "even numbers of sessions", func() bool {
		n := slices.Collect(maps.Values(i.sessions(t)))
		return len(n) == 6 && slices.Min(n) >= sessions/6*3/4 && slices.Max(n) <= sessions/6*5/4
	})
	c.wantNoFailure(t)
	t.Logf("%v: scaled out, %v", time.Since(began).Round(time.Second), i.sessions(t))
	i.wantKEDA(t, sessions)
	inAll := 0.0
	for _, n := range i.scrape(t, fmt.Sprintf("holdfast_service_sessions{namespace=%q,service=%q}", i.ns, "chat")) {
		inAll += n
	}
	if inAll != sessions {
		t.Errorf("metrics of all replicas have %v sessions, want %d", inAll, sessions)
	}

	// Each replica has a part of the sessions, and the costs are those of both.
	costs := map[string]int{}
	testkit.Eventually(t, "deletion costs", func() bool {
		clear(costs)
		all := 0
		for _, p := range i.pods(t) {
			n, _ := strconv.Atoi(p.Annotations[cost.Annotation])
			costs[p.Name] = n
			all += n
		}
		return len(costs) == 6 && all >= sessions*9/10 && all <= sessions*11/10
	})
	t.Logf("%v: costs %v", time.Since(began).Round(time.Second), costs)
	scaleTo(t, i.Cluster, i.ns, 2)
	testkit.Eventually(t, "two pods", func() bool { return len(i.pods(t)) == 2 })
	var left []int
	for _, p := range i.pods(t) {
		left = append(left, costs[p.Name])
		delete(costs, p.Name)
	}
	gone := slices.Collect(maps.Values(costs))
	if slices.Max(gone) > slices.Min(left) {
		t.Errorf("pods with the costs %v went, and those with %v are left", gone, left)
	}
	testkit.Eventually(t, "all sessions answered by the two pods", func() bool {
		n := c.byPod()
		return len(n) == 2 && sum(n) == sessions
	})
	testkit.Eventually(t, "all sessions counted at the two pods", func() bool { return sum(i.sessions(t)) == sessions && len(i.sessions(t)) == 2 })
	c.wantNoFailure(t)
	t.Logf("%v: scaled in, %v; %d messages", time.Since(began).Round(time.Second), i.sessions(t), c.messages.Load())
	i.wantKEDA(t, sessions)
}

func sum(n map[string]int) (all int) {
	for _, v := range n {
		all += v
	}
	return all
}

// wantKEDA asks as KEDA does, by the name of the scaler's Service.
func (i *application) wantKEDA(t *testing.T, sessions int) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///holdfast-scaler.holdfast.svc:9902", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	ref := &externalscaler.ScaledObjectRef{Name: "chat", Namespace: i.ns, ScalerMetadata: map[string]string{"service": "chat", "targetValue": "20"}}
	got, err := externalscaler.NewExternalScalerClient(conn).GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: ref, MetricName: "holdfast-sessions"}, grpc.WaitForReady(true))
	if err != nil || len(got.MetricValues) != 1 || got.MetricValues[0].MetricValue != int64(sessions) {
		t.Errorf("KEDA is told %v, %v; want %d sessions", got, err, sessions)
	}
}

const warms = `
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: chat}
spec:
  targetRefs: [{group: "", kind: Service, name: chat}]
  health: {http: {path: /ready}, interval: 5s, timeout: 3s, slow_start: 20s}
`

// testNewPodWarmsUp: a pod that joins while clients arrive gets nothing before it is ready and its
// checks pass, and then a share that grows.
func testNewPodWarmsUp(t *testing.T, cluster *lab.Cluster) {
	i := start(t, cluster, 2, warms)
	c := newClients(t, i, time.Second)
	c.open(t, 40)
	old := map[string]bool{}
	for _, p := range i.pods(t) {
		old[p.Name] = true
	}
	scaleTo(t, i.Cluster, i.ns, 3)
	name := ""
	testkit.Eventually(t, "a third pod", func() bool {
		for _, p := range i.pods(t) {
			if !old[p.Name] {
				name = p.Name
			}
		}
		return name != ""
	})
	share := fmt.Sprintf("holdfast_backend_share{backend=%q,pool=%q}", name, i.pool())
	// The clients that arrive, and those that the new pod gets, while its share is below a half
	// in both replicas, and after that until it is whole.
	var arrived, got [2]int
	least, phase := 1.0, 0
	before, atBefore := 0, int(c.opened.Load())
	testkit.Eventually(t, "a whole share of the new pod", func() bool {
		c.open(t, 3)
		shares := i.scrape(t, share)
		now, at := i.sessions(t)[name], int(c.opened.Load())
		if now > 0 {
			arrived[phase] += at - atBefore
			got[phase] += now - before
		}
		before, atBefore = now, at
		smallest := slices.Min(shares) // NaN is less than all
		if now > 0 && !math.IsNaN(smallest) {
			least = min(least, smallest)
			if slices.Max(shares) >= 0.5 {
				phase = 1
			}
		}
		return now > 0 && smallest == 1
	})
	first := float64(got[0]) / float64(arrived[0])
	t.Logf("at first the pod gets %d of %d, then %d of %d; least share seen %.2f", got[0], arrived[0], got[1], arrived[1], least)
	// Twice its share at most: with less than half of its weight, that is 2 × 0.5/2.5 of the
	// clients. With its whole weight it would get 2 of 3 until it has as many as the others.
	if first > 0.5 || least > 0.9 {
		t.Errorf("it gets %.2f of the clients at first, and the least share is %.2f", first, least)
	}
	// Until then it was unready by its readiness probe, and warming by the checks.
	for _, p := range i.Pods(t, "holdfast", nil) {
		log := i.Log("holdfast", p.Name).String()
		for _, change := range []string{"ready, was unready", "warming, was up", "up, was warming"} {
			if !strings.Contains(log, "backend "+name+" is "+change) {
				t.Errorf("%s: the log doesn't say that the new pod is %s", p.Name, change)
			}
		}
	}
	c.wantNoFailure(t)
}
