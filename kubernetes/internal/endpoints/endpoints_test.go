package endpoints

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

const service = `
apiVersion: v1
kind: Service
metadata: {name: chat, namespace: shop}
spec:
  ipFamilies: [IPv4]
  ports:
  - {name: web, port: 80, targetPort: http}
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53}
`

// slice is an EndpointSlice of chat, with one line for each endpoint.
func slice(name, family string, port int, endpoints ...string) string {
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s, namespace: shop, labels: {kubernetes.io/service-name: chat}}
addressType: %s
ports: [{name: web, port: %d, protocol: TCP}]
endpoints:
%s`, name, family, port, strings.Join(endpoints, "\n"))
}

func endpoint(address, pod, uid, conditions string) string {
	target := ""
	if pod != "" {
		target = fmt.Sprintf(", targetRef: {kind: Pod, name: %q, namespace: shop, uid: %q}", pod, uid)
	}
	return fmt.Sprintf("- {addresses: [%q], conditions: {%s}%s}", address, conditions, target)
}

func pod(name, uid, more string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: shop, uid: %q%s}\n", name, uid, more)
}

const (
	ready       = "ready: true, serving: true, terminating: false"
	unready     = "ready: false, serving: false, terminating: false"
	terminating = "ready: false, serving: true, terminating: true"
)

func TestMembers(t *testing.T) {
	for _, c := range []struct {
		name    string
		objects []string
		feed    string // shop/chat:80 if ""
		options Options
		want    []string
	}{
		{name: "no Service"},
		{name: "no slices", objects: []string{service}},
		{name: "no such port", objects: []string{service, slice("a", "IPv4", 8080, endpoint("10.0.0.1", "chat-1", "1", ready))}, feed: "shop/chat:81"},
		{name: "not a feed", objects: []string{service}, feed: "chat"},
		{name: "pods", objects: []string{service, slice("a", "IPv4", 8080,
			endpoint("10.0.0.2", "chat-2", "2", ready), endpoint("10.0.0.1", "chat-1", "1", ready))},
			want: []string{"chat-1 10.0.0.1:8080 ready", "chat-2 10.0.0.2:8080 ready"}},
		{name: "named target ports differ by slice", objects: []string{service,
			slice("a", "IPv4", 8080, endpoint("10.0.0.1", "chat-1", "1", ready)), slice("b", "IPv4", 9090, endpoint("10.0.0.2", "chat-2", "2", ready))},
			want: []string{"chat-1 10.0.0.1:8080 ready", "chat-2 10.0.0.2:9090 ready"}},
		{name: "conditions", objects: []string{service, slice("a", "IPv4", 80,
			endpoint("10.0.0.1", "chat-1", "1", ""), endpoint("10.0.0.2", "chat-2", "2", unready), endpoint("10.0.0.3", "chat-3", "3", terminating),
			endpoint("10.0.0.4", "chat-4", "4", "ready: false, serving: false, terminating: true"), endpoint("10.0.0.5", "chat-5", "5", "ready: true, serving: true, terminating: true"))},
			want: []string{"chat-1 10.0.0.1:80 ready", "chat-2 10.0.0.2:80 unready", "chat-3 10.0.0.3:80 terminating", "chat-4 10.0.0.4:80 terminating", "chat-5 10.0.0.5:80 terminating"}},
		{name: "the time at which a pod is killed", objects: []string{service, slice("a", "IPv4", 80, endpoint("10.0.0.1", "chat-1", "1", terminating)),
			pod("chat-1", "1", `, deletionTimestamp: "2026-11-29T16:00:30Z", deletionGracePeriodSeconds: 30`)},
			want: []string{"chat-1 10.0.0.1:80 terminating 16:00:30"}},
		{name: "a pod is deleted and its slice not updated yet", objects: []string{service, slice("a", "IPv4", 80, endpoint("10.0.0.1", "chat-1", "1", ready)),
			pod("chat-1", "1", `, deletionTimestamp: "2026-11-29T16:00:30Z"`)},
			want: []string{"chat-1 10.0.0.1:80 terminating 16:00:30"}},
		{name: "another pod of that name is deleted", objects: []string{service, slice("a", "IPv4", 80, endpoint("10.0.0.1", "chat-1", "2", ready)),
			pod("chat-1", "1", `, deletionTimestamp: "2026-11-29T16:00:30Z"`)},
			want: []string{"chat-1 10.0.0.1:80 ready"}},
		{name: "a StatefulSet's pod before and after", objects: []string{service, slice("a", "IPv4", 80,
			endpoint("10.0.0.1", "chat-1", "1", terminating), endpoint("10.0.0.2", "chat-1", "2", ready)), pod("chat-1", "2", "")},
			want: []string{"chat-1 10.0.0.2:80 ready"}},
		{name: "dual stack", objects: []string{service,
			slice("a", "IPv6", 80, endpoint("fd00::1", "chat-1", "1", ready)), slice("b", "IPv4", 80, endpoint("10.0.0.1", "chat-1", "1", ready))},
			want: []string{"chat-1 10.0.0.1:80 ready"}},
		{name: "dual stack, IPv6 first", objects: []string{strings.Replace(service, "[IPv4]", "[IPv6, IPv4]", 1),
			slice("a", "IPv6", 80, endpoint("fd00::1", "chat-1", "1", ready)), slice("b", "IPv4", 80, endpoint("10.0.0.1", "chat-1", "1", ready))},
			want: []string{"chat-1 [fd00::1]:80 ready"}},
		{name: "IPv6 alone", objects: []string{service, slice("a", "IPv6", 80, endpoint("FD00:0::1", "chat-1", "1", ready))},
			want: []string{"chat-1 [fd00::1]:80 ready"}},
		{name: "an endpoint in two slices, one of them out of date", objects: []string{service,
			slice("a", "IPv4", 80, endpoint("10.0.0.1", "chat-1", "1", ready), endpoint("10.0.0.2", "chat-2", "2", unready)),
			slice("b", "IPv4", 80, endpoint("10.0.0.1", "chat-1", "1", terminating), endpoint("10.0.0.2", "chat-2", "2", ready))},
			want: []string{"chat-1 10.0.0.1:80 terminating", "chat-2 10.0.0.2:80 ready"}},
		{name: "an address that another pod has now", objects: []string{service, slice("a", "IPv4", 80,
			endpoint("10.0.0.1", "chat-1", "1", unready), endpoint("10.0.0.1", "chat-2", "2", ready)), pod("chat-2", "2", "")},
			want: []string{"chat-2 10.0.0.1:80 ready"}},
		{name: "without pods", objects: []string{service, slice("a", "IPv4", 80, endpoint("192.0.2.1", "", "", ""), endpoint("192.0.2.2", "", "", "")),
			slice("b", "IPv6", 80, endpoint("2001:db8::1", "", "", ""))},
			want: []string{"192.0.2.1:80 192.0.2.1:80 ready", "192.0.2.2:80 192.0.2.2:80 ready", "[2001:db8::1]:80 [2001:db8::1]:80 ready"}},
		{name: "addresses that no pod has", objects: []string{service, slice("a", "IPv4", 80, endpoint("127.0.0.1", "", "", ""), endpoint("169.254.169.254", "", "", ""),
			endpoint("0.0.0.0", "", "", ""), endpoint("chat", "", "", "")), slice("b", "IPv6", 80, endpoint("::1", "", "", ""), endpoint("::ffff:127.0.0.1", "", "", ""), endpoint("fe80::1%eth0", "", "", ""))}},
		{name: "a name that no pod has, and addresses of metadata services", objects: []string{service, slice("a", "IPv4", 80, endpoint("10.0.0.1", "chat\n\x1b[31m", "1", ready), endpoint("100.100.100.200", "", "", "")),
			slice("b", "IPv6", 80, endpoint("fd00:ec2::254", "", "", ""), endpoint("64:ff9b::a9fe:a9fe", "", "", ""))},
			want: []string{"10.0.0.1:80 10.0.0.1:80 ready"}},
		{name: "a port of another protocol", objects: []string{service, strings.Replace(slice("a", "IPv4", 80, endpoint("10.0.0.1", "chat-1", "1", ready)), "TCP", "UDP", 1)}},
		{name: "a port of another name", objects: []string{service, strings.Replace(slice("a", "IPv4", 80, endpoint("10.0.0.1", "chat-1", "1", ready)), "name: web", "name: metrics", 1)}},
		{name: "headless, with a port without a name", objects: []string{
			"apiVersion: v1\nkind: Service\nmetadata: {name: chat, namespace: shop}\nspec: {clusterIP: None, ports: [{port: 80}]}\n",
			strings.Replace(slice("a", "IPv4", 8080, endpoint("10.0.0.1", "chat-1", "1", ready)), "name: web", `name: ""`, 1),
			strings.Replace(slice("b", "IPv4", 8080, endpoint("10.0.0.2", "chat-2", "2", ready)), "name: web, ", "", 1)},
			want: []string{"chat-1 10.0.0.1:8080 ready", "chat-2 10.0.0.2:8080 ready"}},
		{name: "ExternalName", options: Options{ExternalNames: true}, feed: "shop/chat:443", objects: []string{
			"apiVersion: v1\nkind: Service\nmetadata: {name: chat, namespace: shop}\nspec: {type: ExternalName, externalName: Chat.example.com.}\n"},
			want: []string{"chat.example.com:443 chat.example.com:443 ready"}},
		{name: "ExternalName, which is off", feed: "shop/chat:443", objects: []string{
			"apiVersion: v1\nkind: Service\nmetadata: {name: chat, namespace: shop}\nspec: {type: ExternalName, externalName: chat.example.com}\n"}},
		{name: "names in a slice", options: Options{ExternalNames: true}, objects: []string{service, slice("a", "FQDN", 80, endpoint("chat.example.com", "", "", ""))},
			want: []string{"chat.example.com:80 chat.example.com:80 ready"}},
		{name: "names in a slice, which are off", objects: []string{service, slice("a", "FQDN", 80, endpoint("chat.example.com", "", "", ""))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := cluster.FromYAML(c.objects...)
			if err != nil {
				t.Fatal(err)
			}
			feed := c.feed
			if feed == "" {
				feed = "shop/chat:80"
			}
			if got := texts(Members(s, feed, c.options)); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func texts(members []discovery.Member) (all []string) {
	for _, m := range members {
		text := fmt.Sprintf("%s %s %s", m.Name, m.Address, []string{"ready", "unready", "terminating"}[m.State])
		if !m.Deadline.IsZero() {
			text += " " + m.Deadline.Format(time.TimeOnly)
		}
		if m.Weight != 1 {
			text += " with another weight"
		}
		all = append(all, text)
	}
	return all
}
