package discovery

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/awsstub"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// startInAWS starts backends that have one port, each with an address of its own.
func startInAWS(t testing.TB, n int) (backends []*kit.Backend, port string) {
	t.Helper()
	backends = kit.StartBackends(t, 1)
	_, port, _ = net.SplitHostPort(backends[0].Address)
	for i := 1; i < n; i++ {
		backends = append(backends, kit.StartBackends(t, 1, fmt.Sprintf("HOLDFAST_E2E_LISTEN=127.0.0.%d:%s", i+1, port))...)
	}
	return backends, port
}

func host(b *kit.Backend) string {
	host, _, _ := net.SplitHostPort(b.Address)
	return host
}

// startBalancerInAWS starts a balancer with the pool "main" and the credentials of the
// stub.
func startBalancerInAWS(t testing.TB, pool string) *kit.Balancer {
	t.Helper()
	b := &kit.Balancer{File: filepath.Join(t.TempDir(), "holdfast.yaml")}
	b.WriteConfig(t, kit.ConfigWithPools(pool))
	cmd := exec.Command(kit.Binary, "run", "-c", b.File)
	cmd.Env = append(os.Environ(), awsstub.Environ...)
	b.Process = process.Start(t, "holdfast", cmd)
	b.AwaitReady(t)
	return b
}

// Tasks come and go, as in a deployment. One that is to stop is left by its sessions.
func TestECSChange(t *testing.T) {
	t.Parallel()
	backends, port := startInAWS(t, 4)
	stub := awsstub.Start(t)
	id := func(b *kit.Backend) string { return "task" + host(b)[len("127.0.0."):] }
	tasks := func(some ...*kit.Backend) {
		stopping := awsstub.Task{ID: id(backends[0]), IP: host(backends[0]), Desired: "STOPPED"}
		all := []awsstub.Task{stopping, {ID: "starting", IP: "127.0.0.9", Status: "PENDING"}}
		for _, b := range some {
			if b == backends[0] {
				all = all[1:]
			}
			all = append(all, awsstub.Task{ID: id(b), IP: host(b)})
		}
		stub.SetService("prod", "chat", all...)
	}
	tasks(backends[:3]...)
	b := startBalancerInAWS(t, fmt.Sprintf(`  main:
    drain: {timeout: 400ms}
    aws: {ecs_service: chat, ecs_cluster: prod, port: %s, refresh: 1s, endpoint: %q}`, port, stub.URL))
	const source = "ECS service chat of cluster prod"
	checkDiscovery(t, b, source, "")
	changeOfList(t, b, backends, tasks, 1100*time.Millisecond)
	if got, want := b.Pool(t, "main").Names(), []string{"task2", "task3", "task4"}; !slices.Equal(got, want) {
		t.Errorf("the pool has %v, want %v", got, want)
	}
	checkDiscovery(t, b, source, "")
	b.Stop(t)
}

// An auto-scaling group removes an instance: its hook has it wait, and it is drained
// meanwhile.
func TestAutoScalingChange(t *testing.T) {
	t.Parallel()
	backends, port := startInAWS(t, 4)
	stub := awsstub.Start(t)
	var instances []awsstub.Instance
	for _, b := range backends {
		instances = append(instances, awsstub.Instance{ID: "i-" + host(b), State: "running", Private: host(b)})
	}
	stub.SetInstances(instances...)
	group := func(some ...*kit.Backend) {
		var members []awsstub.Member
		for _, b := range backends {
			m := awsstub.Member{ID: "i-" + host(b), Lifecycle: "Terminating:Wait"}
			if slices.Contains(some, b) {
				m.Lifecycle = "InService"
			}
			members = append(members, m)
		}
		stub.SetGroup("chat", members...)
	}
	group(backends[:3]...)
	b := startBalancerInAWS(t, fmt.Sprintf(`  main:
    drain: {timeout: 400ms}
    aws: {auto_scaling_group: chat, port: %s, refresh: 1s, endpoint: %q}`, port, stub.URL))
	changeOfList(t, b, backends, group, 1100*time.Millisecond)
	b.Stop(t)
}

// While AWS fails, the last list stays, and the status says what to do. Before there is
// a list, clients are refused with a request to come back.
func TestAWSTrouble(t *testing.T) {
	t.Parallel()
	backends, port := startInAWS(t, 2)
	stub := awsstub.Start(t)
	b := startBalancerInAWS(t, fmt.Sprintf(`  main:
    aws: {ec2_tag: {name: Service, value: chat}, port: %s, refresh: 1s, endpoint: %q}`, port, stub.URL))
	const source = "EC2 tag Service=chat"
	checkDiscovery(t, b, source, "no running instance has the tag")
	if _, res, err := wspeer.Dial(b.Address, "/echo"); res == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("a pool without backends: %v, %v, want 503 with Retry-After", res, err)
	}
	var instances []awsstub.Instance
	for i, backend := range backends {
		instances = append(instances, awsstub.Instance{ID: fmt.Sprint("i-", i), State: "running", Private: host(backend), Tags: map[string]string{"Service": "chat"}})
	}
	stub.SetInstances(instances...)
	b.AwaitList(t, 2, 0, 0)
	live := openEcho(t, b)
	awaitTrouble(t, b, "")
	for _, tt := range []struct {
		status     int
		body, want string
	}{
		{http.StatusForbidden, awsstub.XMLError("UnauthorizedOperation", "No."), "the credentials may not call ec2:DescribeInstances: allow this action in their IAM policy"},
		{http.StatusServiceUnavailable, awsstub.XMLError("RequestLimitExceeded", "Request limit exceeded."), "AWS asks for fewer calls (status 503, RequestLimitExceeded"},
		{http.StatusOK, "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>", "no running instance has the tag"},
	} {
		at := b.Stderr.Position()
		stub.Fail(func(string) (int, string) { return tt.status, tt.body })
		awaitTrouble(t, b, tt.want)
		checkDiscovery(t, b, source, tt.want)
		b.Stderr.Find(t, "warning", at, func(line string) bool {
			return strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, tt.want) && strings.Contains(line, "; going on with the last list, 2 backends")
		})
		kit.WantEcho(t, live, "still here")
		openEcho(t, b).Close()
		stub.Fail(nil)
		testkit.Eventually(t, "the end of the trouble", func() bool { return b.Pool(t, "main").Discovery[0].Trouble == "" })
	}
	checkDiscovery(t, b, source, "")
	if got := b.LogEntries("the backends of a pool changed"); len(got) != 1 {
		t.Errorf("the list changed more than the one time it did: %v", got)
	}
	kit.CloseAll(t, b, live)
	b.Stop(t)
}
