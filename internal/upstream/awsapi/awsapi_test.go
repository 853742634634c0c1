package awsapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/awsstub"
)

// setenv sets the environment that is meant for the stub.
func setenv(t *testing.T) {
	for _, pair := range awsstub.Environ {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	for _, name := range []string{"AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
}

func list(servers []Server) string {
	var words []string
	for _, s := range servers {
		words = append(words, s.ID+" "+s.IP.String())
	}
	return strings.Join(words, ", ")
}

func fill(s *awsstub.Stub) {
	tag := map[string]string{"Service": "chat", "odd*?\\": "a b&<>"}
	s.SetInstances(
		awsstub.Instance{ID: "i-5", State: "running", Private: "10.0.0.5", Tags: tag},
		awsstub.Instance{ID: "i-1", State: "running", Private: "10.0.0.1", Public: "192.0.2.1", IPv6: "2001:db8::1", Tags: tag},
		awsstub.Instance{ID: "i-2", State: "pending", Private: "10.0.0.2", Tags: tag},
		awsstub.Instance{ID: "i-3", State: "running", Private: "10.0.0.3", Public: "192.0.2.3", Tags: tag},
		awsstub.Instance{ID: "i-4", State: "running", Private: "10.0.0.4", Tags: map[string]string{"Service": "chat2"}},
		awsstub.Instance{ID: "i-6", State: "shutting-down", Tags: tag},
	)
	s.SetGroup("blue", awsstub.Member{ID: "i-1", Lifecycle: "InService"}, awsstub.Member{ID: "i-2", Lifecycle: "InService"}, awsstub.Member{ID: "i-3", Lifecycle: "Terminating:Wait"},
		awsstub.Member{ID: "i-4", Lifecycle: "InService"}, awsstub.Member{ID: "i-5", Lifecycle: "InService"}, awsstub.Member{ID: "i-9", Lifecycle: "Pending"})
	s.SetGroup("empty")
	s.SetService("default", "chat", awsstub.Task{ID: "c", IP: "10.1.0.3"}, awsstub.Task{ID: "a", IP: "10.1.0.1", IPv6: "2001:db8::a"}, awsstub.Task{ID: "b", IP: "10.1.0.2"},
		awsstub.Task{ID: "d", IP: "10.1.0.4", Status: "PENDING"}, awsstub.Task{ID: "e", IP: "10.1.0.5", Status: "DEACTIVATING", Desired: "STOPPED"})
	s.SetService("default", "idle")
}

func TestServers(t *testing.T) {
	setenv(t)
	stub := awsstub.Start(t)
	fill(stub)
	for _, tt := range []struct {
		q                   Query
		want, problem, fail string
	}{
		{q: Query{TagName: "Service", TagValue: "chat", Address: Private}, want: "i-1 10.0.0.1, i-3 10.0.0.3, i-5 10.0.0.5"},
		{q: Query{TagName: "Service", TagValue: "chat", Address: Public}, want: "i-1 192.0.2.1, i-3 192.0.2.3", problem: "no public address of i-5"},
		{q: Query{TagName: "Service", TagValue: "chat", Address: IPv6}, want: "i-1 2001:db8::1", problem: "no ipv6 address of i-3, i-5"},
		{q: Query{TagName: "Service", TagValue: "c*", Address: Private}, fail: "no running instance has the tag"},
		{q: Query{Group: "blue", Address: Private}, want: "i-1 10.0.0.1, i-4 10.0.0.4, i-5 10.0.0.5"},
		{q: Query{Group: "empty", Address: Private}, fail: "no instance of the group is InService and running"},
		{q: Query{Group: "green", Address: Private}, fail: "there is no auto-scaling group of that name in eu-test-1"},
		{q: Query{Service: "chat", Cluster: "default", Address: Private}, want: "a 10.1.0.1, b 10.1.0.2, c 10.1.0.3"},
		{q: Query{Service: "chat", Cluster: "default", Address: IPv6}, want: "a 2001:db8::a", problem: "no ipv6 address of b, c"},
		{q: Query{Service: "idle", Cluster: "default", Address: Private}, fail: "no task of the service is running"},
		{q: Query{Service: "chat", Cluster: "other", Address: Private}, fail: `ecs:ListTasks: status 400, ServiceNotFoundException: "Service not found."`},
	} {
		t.Run(fmt.Sprint(tt.q, " ", tt.q.Address), func(t *testing.T) {
			tt.q.Endpoint = stub.URL
			servers, problem, err := New(tt.q).Servers(context.Background())
			text := ""
			if err != nil {
				text = err.Error()
			}
			if list(servers) != tt.want || problem != tt.problem || text != tt.fail {
				t.Errorf("got %q, problem %q, error %q; want %q, %q, %q", list(servers), problem, text, tt.want, tt.problem, tt.fail)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	setenv(t)
	stub := awsstub.Start(t)
	fill(stub)
	tag, group, service := Query{TagName: "Service", TagValue: "chat"}, Query{Group: "blue"}, Query{Service: "chat", Cluster: "default"}
	for _, tt := range []struct {
		q         Query
		status    int
		body      string
		throttled bool
		want      string
	}{
		{tag, 403, awsstub.XMLError("UnauthorizedOperation", "You are not authorized to perform this operation."), false,
			`the credentials may not call ec2:DescribeInstances: allow this action in their IAM policy (status 403, UnauthorizedOperation: "You are not authorized to perform this operation.")`},
		{group, 403, awsstub.QueryError("AccessDenied", "User: x"), false,
			`the credentials may not call autoscaling:DescribeAutoScalingGroups: allow this action in their IAM policy (status 403, AccessDenied: "User: x")`},
		{service, 400, awsstub.JSONError("AccessDeniedException", "User: x"), false,
			`the credentials may not call ecs:ListTasks: allow this action in their IAM policy (status 400, AccessDeniedException: "User: x")`},
		{tag, 503, awsstub.XMLError("RequestLimitExceeded", "Request limit exceeded."), true,
			`ec2:DescribeInstances: AWS asks for fewer calls (status 503, RequestLimitExceeded: "Request limit exceeded."); a longer refresh: helps`},
		{group, 400, awsstub.QueryError("Throttling", "Rate exceeded"), true,
			`autoscaling:DescribeAutoScalingGroups: AWS asks for fewer calls (status 400, Throttling: "Rate exceeded"); a longer refresh: helps`},
		{service, 400, awsstub.JSONError("ThrottlingException", "Rate exceeded"), true,
			`ecs:ListTasks: AWS asks for fewer calls (status 400, ThrottlingException: "Rate exceeded"); a longer refresh: helps`},
		{tag, 401, awsstub.XMLError("AuthFailure", "AWS was not able to validate the provided access credentials"), false,
			`ec2:DescribeInstances: AWS doesn't accept the credentials (status 401, AuthFailure: "AWS was not able to validate the provided access credentials"); also check this machine's clock`},
		{tag, 500, "<html>bad\x1b[2J\ngateway", false, "ec2:DescribeInstances: status 500"},
		{service, 500, `{"message": "x\u001b[2J\ny"}`, false, `ecs:ListTasks: status 500: "x [2J y"`},
		{tag, 302, "", false, "ec2:DescribeInstances: status 302"},
		{tag, 200, "<html></html>", false, "ec2:DescribeInstances: the answer isn't what AWS answers: expected element type <DescribeInstancesResponse> but have <html>"},
		{group, 200, "", false, "autoscaling:DescribeAutoScalingGroups: the answer is empty"},
		{service, 200, "{}", false, "ecs:ListTasks: the answer isn't what AWS answers"},
		{service, 200, "[", false, "ecs:ListTasks: the answer isn't what AWS answers"},
		{tag, 200, "<DescribeInstancesResponse><nextToken>again</nextToken></DescribeInstancesResponse>", false, "ec2:DescribeInstances: a page of the answer names itself as the next"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			stub.Fail(func(string) (int, string) { return tt.status, tt.body })
			tt.q.Endpoint, tt.q.Address = stub.URL, Private
			c := New(tt.q)
			_, _, err := c.Servers(context.Background())
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
			if e, ok := errors.AsType[*Error](err); (ok && e.Throttled()) != tt.throttled {
				t.Errorf("throttled: %v", !tt.throttled)
			}
			stub.Fail(nil)
			if servers, _, err := c.Servers(context.Background()); err != nil || len(servers) != 3 {
				t.Errorf("then: %v, %v", servers, err)
			}
		})
	}
	// A later page or call fails: no list is better than a part of it.
	first := stub.Calls("DescribeInstances")
	stub.Fail(func(action string) (int, string) {
		if action == "DescribeInstances" && stub.CallsLocked(action) > first+1 || action == "DescribeTasks" {
			return http.StatusBadGateway, ""
		}
		return 0, ""
	})
	for _, q := range []Query{tag, service} {
		q.Endpoint, q.Address = stub.URL, Private
		if servers, _, err := New(q).Servers(context.Background()); err == nil {
			t.Errorf("%v: got %v, want an error", q, servers)
		}
	}
}

func TestSettingsErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		env  map[string]string
		want string
	}{
		"no region":      {map[string]string{"AWS_REGION": ""}, "there is no region: add region: to aws, or set AWS_REGION"},
		"bad region":     {map[string]string{"AWS_REGION": "a/b"}, `the environment's region "a/b" isn't one`},
		"no credentials": {map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this instance or task an IAM role ("},
		"half":           {map[string]string{"AWS_ACCESS_KEY_ID": ""}, "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set"},
		"profile":        {map[string]string{"AWS_PROFILE": "x"}, "profile x has no credentials"},
		"nobody":         {nil, "ec2:DescribeInstances at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_, _, err := New(Query{TagName: "a", TagValue: "b", Endpoint: "http://127.0.0.1:1/"}).Servers(ctx)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	for region, want := range map[string]string{
		"eu-central-1": "https://ecs.eu-central-1.amazonaws.com/", "cn-north-1": "https://ecs.cn-north-1.amazonaws.com.cn/", "us-gov-west-1": "https://ecs.us-gov-west-1.amazonaws.com/",
	} {
		if got := serviceURL("ecs", region); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
