// Package awsapi asks AWS which servers there are: EC2 instances with a tag, those of
// an auto-scaling group, or the tasks of an ECS service.
//
// The four calls that this takes are made here. The SDK has the signature, and most
// sources of credentials; docs/dependencies.md says what its clients would add.
package awsapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Query says which servers to find. Exactly one of TagName, Group and Service is set.
type Query struct {
	Region string // "" is that of the environment

	TagName, TagValue string // of EC2 instances
	Group             string // an auto-scaling group
	Service, Cluster  string // of ECS

	// Address is Private, Public or IPv6. Public isn't known of tasks.
	Address string
	// Endpoint is the URL that all calls go to; "" is AWS's for the region.
	Endpoint string
}

// Values of Query.Address.
const (
	Private = "private"
	Public  = "public"
	IPv6    = "ipv6"
)

// String names what is found, as in "EC2 tag Service=chat".
func (q Query) String() string {
	switch {
	case q.Group != "":
		return "auto-scaling group " + q.Group
	case q.Service != "":
		return fmt.Sprintf("ECS service %s of cluster %s", q.Service, q.Cluster)
	}
	return fmt.Sprintf("EC2 tag %s=%s", q.TagName, q.TagValue)
}

// Server is an instance or a task.
type Server struct {
	ID string // i-0123456789abcdef0, or the last part of a task's ARN
	IP netip.Addr
}

// maxServers is how many are taken at most.
const maxServers = 10_000

// Client finds what a Query says. It is for one goroutine.
type Client struct {
	query    Query
	http     *http.Client
	signer   *v4.Signer
	settings *settings // nil: to be loaded
}

// New makes a Client. It asks nothing yet, not even for credentials.
func New(q Query) *Client {
	return &Client{
		query: q, signer: v4.NewSigner(),
		http: &http.Client{Timeout: 10 * time.Second, Transport: newTransport(), CheckRedirect: noRedirect},
	}
}

// noRedirect: a signature is for one host.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newTransport makes one of its own, so that its idle connections can be closed.
func newTransport() *http.Transport { return http.DefaultTransport.(*http.Transport).Clone() }

// Servers asks for the servers that run now, by ID. problem says what is wrong with some
// of them, which are left out; "" is nothing. No servers at all is an error.
func (c *Client) Servers(ctx context.Context) (servers []Server, problem string, err error) {
	defer c.http.CloseIdleConnections() // the next call is later than a server waits
	if c.settings == nil {
		if c.settings, err = load(ctx, c.query.Region); err != nil {
			return nil, "", err
		}
	}
	var all []found
	switch {
	case c.query.Group != "":
		all, err = c.group(ctx)
	case c.query.Service != "":
		all, err = c.tasks(ctx)
	default:
		all, err = c.instances(ctx, filter{"tag:" + escape(c.query.TagName), []string{escape(c.query.TagValue)}})
	}
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok && e.credentials() {
			c.settings = nil // the shared files, for example, may have others by now
		}
		return nil, "", err
	}
	return choose(all, c.query)
}

// escape takes the special meaning from what is one in the value of a filter.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(s)
}

// found is a server that runs. Its addresses are as they were answered.
type found struct {
	id                    string
	private, public, ipv6 string
}

// fitID reports whether an ID may be the name of a backend: i-0a1b for an instance, hex
// digits for a task.
func fitID(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.", r))
	})
}

// choose takes the address of each that the query asks for.
func choose(all []found, q Query) (servers []Server, problem string, err error) {
	var without []string
	for _, f := range all {
		text := f.private
		switch q.Address {
		case Public:
			text = f.public
		case IPv6:
			text = f.ipv6
		}
		ip, err := netip.ParseAddr(text)
		if err != nil || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() || !fitID(f.id) {
			without = append(without, oneLine(f.id))
			continue
		}
		servers = append(servers, Server{f.id, ip.Unmap()})
	}
	slices.SortFunc(servers, func(a, b Server) int {
		if c := strings.Compare(a.ID, b.ID); c != 0 {
			return c
		}
		return a.IP.Compare(b.IP)
	})
	servers = slices.CompactFunc(servers, func(a, b Server) bool { return a.ID == b.ID })
	slices.Sort(without)
	if n := len(without); n > 0 {
		if n > 3 {
			without = append(without[:3], fmt.Sprintf("%d more", n-3))
		}
		problem = fmt.Sprintf("no %s address of %s", q.Address, strings.Join(without, ", "))
	}
	if len(servers) == 0 {
		switch {
		case problem != "":
			err = errors.New(problem)
		case q.Service != "":
			err = errors.New("no task of the service is running")
		case q.Group != "":
			err = errors.New("no instance of the group is InService and running")
		default:
			err = errors.New("no running instance has the tag")
		}
		return nil, "", err
	}
	return servers, problem, nil
}
