// Package awsstub is an HTTP server for tests that answers as the APIs of EC2, Auto
// Scaling, ECS and STS do, in pages.
package awsstub

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Region is where everything is.
const Region = "eu-test-1"

// Environ is the environment of a program that asks the stub. There is no metadata.
var Environ = []string{
	"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_REGION=" + Region, "AWS_EC2_METADATA_DISABLED=true",
	"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PROFILE=", "AWS_SESSION_TOKEN=",
}

// Instance is one of EC2.
type Instance struct {
	ID, State             string // such as running
	Private, Public, IPv6 string
	Tags                  map[string]string
}

// Member is an instance of an auto-scaling group.
type Member struct{ ID, Lifecycle string }

// Task is one of ECS.
type Task struct {
	ID, IP, IPv6    string
	Status, Desired string // "" is RUNNING
}

// Stub is the server. It ends with the test.
type Stub struct {
	URL string

	t         testing.TB
	mu        sync.Mutex // guards the following
	page      int
	instances []Instance
	groups    map[string][]Member
	services  map[string][]Task // by "cluster/service"
	failure   func(action string) (status int, body string)
	calls     map[string]int
}

// Start starts a stub with pages of at most two items.
func Start(t testing.TB) *Stub {
	s := &Stub{t: t, page: 2, groups: map[string][]Member{}, services: map[string][]Task{}, calls: map[string]int{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL + "/"
	return s
}

// SetInstances replaces all instances.
func (s *Stub) SetInstances(all ...Instance) { s.change(func() { s.instances = all }) }

// SetGroup replaces an auto-scaling group.
func (s *Stub) SetGroup(name string, all ...Member) { s.change(func() { s.groups[name] = all }) }

// SetService replaces the tasks of a service.
func (s *Stub) SetService(cluster, name string, all ...Task) {
	s.change(func() { s.services[cluster+"/"+name] = all })
}

// Fail sets how calls are answered; status 0 is as usual. nil ends it.
func (s *Stub) Fail(failure func(action string) (status int, body string)) {
	s.change(func() { s.failure = failure })
}

// Calls returns how often an action was called.
func (s *Stub) Calls(action string) (n int) {
	s.change(func() { n = s.calls[action] })
	return n
}

// CallsLocked is Calls for the function of Fail.
func (s *Stub) CallsLocked(action string) int { return s.calls[action] }

func (s *Stub) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// XMLError is the body of an error of EC2, QueryError of Auto Scaling and STS, and
// JSONError of ECS.
func XMLError(code, message string) string {
	return "<?xml version=\"1.0\"?><Response><Errors><Error><Code>" + code + "</Code><Message>" + message + "</Message></Error></Errors><RequestID>1</RequestID></Response>"
}

// QueryError is described at XMLError.
func QueryError(code, message string) string {
	return "<ErrorResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><Error><Type>Sender</Type><Code>" + code + "</Code><Message>" + message + "</Message></Error></ErrorResponse>"
}

// JSONError is described at XMLError.
func JSONError(code, message string) string {
	return fmt.Sprintf("{\"__type\":\"com.amazonaws.ecs#%s\",\"message\":%q}", code, message)
}

var signature = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/\d{8}/` + Region + `/(\w+)/aws4_request, SignedHeaders=[a-z0-9;-]*host[a-z0-9;-]*, Signature=[0-9a-f]{64}$`)

// ServeHTTP implements http.Handler.
func (s *Stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost {
		s.t.Errorf("the stub got %s: %v", r.Method, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	version, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	form, want := url.Values{}, "ecs"
	if action == "" {
		if form, err = url.ParseQuery(string(body)); err != nil {
			s.t.Error(err)
		}
		action, version = form.Get("Action"), form.Get("Version")
		want = map[string]string{"DescribeInstances": "ec2", "DescribeAutoScalingGroups": "autoscaling"}[action]
	}
	if v := map[string]string{"ec2": "2016-11-15", "autoscaling": "2011-01-01", "ecs": "AmazonEC2ContainerServiceV20141113"}[want]; v != version {
		s.t.Errorf("%s: version %q, want %q", action, version, v)
	}
	if m := signature.FindStringSubmatch(r.Header.Get("Authorization")); m == nil || m[1] != want || r.Header.Get("X-Amz-Date") == "" {
		s.t.Errorf("%s: the signature %q is not for %s in %s", action, r.Header.Get("Authorization"), want, Region)
	}
	s.calls[action]++
	if s.failure != nil {
		if status, text := s.failure(action); status != 0 {
			w.WriteHeader(status)
			io.WriteString(w, text)
			return
		}
	}
	switch action {
	case "DescribeInstances":
		s.describeInstances(w, form)
	case "DescribeAutoScalingGroups":
		s.describeGroups(w, form)
	case "ListTasks":
		s.listTasks(w, body)
	case "DescribeTasks":
		s.describeTasks(w, body)
	default:
		s.t.Errorf("the stub got the action %q", action)
	}
}

// cut returns one page of a list of n, and the token of the next one.
func (s *Stub) cut(n int, token string) (from, to int, next string) {
	if token != "" {
		from, _ = strconv.Atoi(strings.TrimPrefix(token, "page+/="))
	}
	if to = min(n, from+s.page); to < n {
		next = fmt.Sprint("page+/=", to)
	}
	return from, to, next
}

func element(name, value string) string {
	if value == "" {
		return ""
	}
	var text bytes.Buffer
	xml.EscapeText(&text, []byte(value))
	return "<" + name + ">" + text.String() + "</" + name + ">"
}

func (s *Stub) describeInstances(w io.Writer, form url.Values) {
	matches := func(i Instance) bool {
		for n := 1; form.Has(fmt.Sprintf("Filter.%d.Name", n)); n++ {
			var values []string
			for j := 1; form.Has(fmt.Sprintf("Filter.%d.Value.%d", n, j)); j++ {
				values = append(values, form.Get(fmt.Sprintf("Filter.%d.Value.%d", n, j)))
			}
			name := form.Get(fmt.Sprintf("Filter.%d.Name", n))
			is := map[string]string{"instance-id": i.ID, "instance-state-name": i.State}[name]
			if tag, ok := strings.CutPrefix(name, "tag:"); ok {
				is = i.Tags[tag]
			}
			if !slices.Contains(values, is) {
				return false
			}
		}
		return true
	}
	all := slices.DeleteFunc(slices.Clone(s.instances), func(i Instance) bool { return !matches(i) })
	from, to, next := s.cut(len(all), form.Get("NextToken"))
	io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId><reservationSet>`)
	for _, i := range all[from:to] {
		io.WriteString(w, "<item><instancesSet><item>"+element("instanceId", i.ID)+"<instanceState><code>16</code>"+element("name", i.State)+"</instanceState>"+
			element("privateIpAddress", i.Private)+element("ipAddress", i.Public))
		if i.IPv6 != "" {
			io.WriteString(w, "<networkInterfaceSet><item><attachment><deviceIndex>0</deviceIndex></attachment><ipv6AddressesSet><item>"+element("ipv6Address", i.IPv6)+"</item></ipv6AddressesSet></item></networkInterfaceSet>")
		}
		io.WriteString(w, "</item></instancesSet></item>")
	}
	io.WriteString(w, "</reservationSet>"+element("nextToken", next)+"</DescribeInstancesResponse>")
}

func (s *Stub) describeGroups(w io.Writer, form url.Values) {
	io.WriteString(w, `<DescribeAutoScalingGroupsResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><DescribeAutoScalingGroupsResult><AutoScalingGroups>`)
	name := form.Get("AutoScalingGroupNames.member.1")
	if members, ok := s.groups[name]; ok {
		io.WriteString(w, "<member>"+element("AutoScalingGroupName", name)+"<Instances>")
		for _, m := range members {
			io.WriteString(w, "<member>"+element("InstanceId", m.ID)+element("LifecycleState", m.Lifecycle)+"<HealthStatus>Healthy</HealthStatus></member>")
		}
		io.WriteString(w, "</Instances></member>")
	}
	io.WriteString(w, "</AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>")
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func arn(id string) string { return "arn:aws:ecs:" + Region + ":123456789012:task/test/" + id }

func (s *Stub) listTasks(w http.ResponseWriter, body []byte) {
	var q struct{ Cluster, ServiceName, DesiredStatus, NextToken string }
	if err := json.Unmarshal(body, &q); err != nil {
		s.t.Error(err)
	}
	tasks, ok := s.services[q.Cluster+"/"+q.ServiceName]
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"__type":"ServiceNotFoundException","message":"Service not found."}`)
		return
	}
	arns := []string{}
	for _, t := range tasks {
		if or(t.Desired, "RUNNING") == q.DesiredStatus {
			arns = append(arns, arn(t.ID))
		}
	}
	from, to, next := s.cut(len(arns), q.NextToken)
	json.NewEncoder(w).Encode(map[string]any{"taskArns": arns[from:to], "nextToken": next})
}

func (s *Stub) describeTasks(w io.Writer, body []byte) {
	var q struct {
		Cluster string
		Tasks   []string
	}
	if err := json.Unmarshal(body, &q); err != nil {
		s.t.Error(err)
	}
	type object = map[string]any
	found := []object{}
	for key, tasks := range s.services {
		for _, t := range tasks {
			if !strings.HasPrefix(key, q.Cluster+"/") || !slices.Contains(q.Tasks, arn(t.ID)) {
				continue
			}
			found = append(found, object{
				"taskArn": arn(t.ID), "lastStatus": or(t.Status, "RUNNING"), "desiredStatus": or(t.Desired, "RUNNING"),
				"attachments": []object{{"type": "ElasticNetworkInterface", "status": "ATTACHED", "details": []object{{"name": "subnetId", "value": "subnet-1"}, {"name": "privateIPv4Address", "value": t.IP}}}},
				"containers":  []object{{"networkInterfaces": []object{{"privateIpv4Address": t.IP, "ipv6Address": t.IPv6}}}},
			})
		}
	}
	json.NewEncoder(w).Encode(object{"tasks": found, "failures": []object{}})
}
