// Package translate has what the translators of objects (package ingress, package
// gateway) hand to the program: parts of a config.Config, and what to report about the
// objects.
//
// A translator is a pure function over a cluster.Snapshot. It reads no clock, keeps
// nothing, and changes no object of the Snapshot.
package translate

import (
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// Result is what one translator makes of a Snapshot. Equal snapshots give equal results,
// in the same order.
type Result struct {
	// Listeners have unique names, "ingress/http" or "gateway/NAMESPACE/NAME/PORT".
	Listeners []Listener
	// Routes are in the order in which they are tried. Each matches one of Listeners by
	// name, so that it gets no requests of another translator's listeners.
	Routes []Route
	// Pools have unique names within a Result. Two Results may have the same Pool if it
	// is equal.
	Pools []Pool
	// Exempt are clients without limits by address.
	Exempt []netip.Prefix

	// Statuses are copies of objects of the Snapshot whose status is as it should be.
	// The leader writes those that differ from what the API server has.
	Statuses []client.Object
	// Events are reported once for each generation of their object.
	Events []Event
	// Services are those that should exist beside what users made, such as a
	// LoadBalancer for a Gateway. The leader makes and updates them. It deletes those
	// that have the label ManagedBy and aren't in the list.
	Services []*corev1.Service
}

// Owner is the object that something was made from.
type Owner struct {
	Object   client.Object // of the Snapshot; nil if there is none
	Rule     int           // the number of the rule or path that a route is from, from 0
	RuleName string        // the name of that rule; "" if it has none
}

// Listener is a listener with its owner. If it is at fault, it is left out together with
// the routes that match it.
type Listener struct {
	config.Listener
	Owner Owner
}

// Route is a route with its owner.
type Route struct {
	config.Route
	Owner Owner
	// Sections are the names of the listeners of a Gateway or ListenerSet by which the
	// route is reached, for policies that mean one of them. Which object they are in is
	// the Owner of the Listener that the route matches.
	Sections []string
}

// Pool is a pool whose backends are those of a Service's port, unless it has backends of
// its own.
type Pool struct {
	config.Pool // Feed is set, see Feed
	// Service is the one whose policies hold for the pool; zero if there is none.
	Service types.NamespacedName
	Owner   Owner
}

// Event is something that the owner of an object should know.
type Event struct {
	Object  client.Object // of the Snapshot
	Warning bool
	Reason  string // one word in CamelCase, such as NotCarriedOver
	// Message may quote what a user wrote, with hint.Quote or %q. The program cuts it
	// after 1,024 bytes, which is what the API server takes.
	Message string
}

// Labels of objects that the leader makes.
const (
	// ManagedBy has the value ManagedByValue on all of them.
	ManagedBy      = "app.kubernetes.io/managed-by"
	ManagedByValue = "holdfast"
	// GatewayNamespace and GatewayName say which Gateway a Service is for. The name is
	// in the label only if it has at most 63 characters, which is the limit of labels;
	// the annotation GatewayRef always has "NAMESPACE/NAME".
	GatewayNamespace = "holdfast.dev/gateway-namespace"
	GatewayName      = "holdfast.dev/gateway-name"
	GatewayRef       = "holdfast.dev/gateway"
)

// Feed is the name of the list of a Service's pods, "NAMESPACE/NAME:PORT", with the
// number of the Service's port. The program keeps the lists of all feeds in the current
// configuration up to date (package endpoints).
func Feed(namespace, service string, port int32) string {
	return namespace + "/" + service + ":" + strconv.Itoa(int(port))
}

// ParseFeed is the reverse of Feed.
func ParseFeed(feed string) (service types.NamespacedName, port int32, ok bool) {
	namespace, rest, ok1 := strings.Cut(feed, "/")
	name, number, ok2 := strings.Cut(rest, ":")
	n, err := strconv.ParseInt(number, 10, 32)
	service = types.NamespacedName{Namespace: namespace, Name: name}
	return service, int32(n), ok1 && ok2 && err == nil && namespace != "" && name != "" && feed == Feed(namespace, name, int32(n))
}
