//go:build linux

// Package podnet is the network of the laboratory: a bridge to which each pod is
// connected from a network namespace of its own, and ranges of addresses that belong to
// the laboratory itself. It is for a process that has a network namespace of its own.
package podnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Addresses. Those of services, load balancers and clients are the laboratory's own: it
// can listen on each of them, and connect from each.
const (
	Bridge        = "10.244.0.1" // the gateway of pods
	Gateway       = "10.246.0.1" // that of nodes; the laboratory's own address
	Pods          = "10.244.0.0/16"
	LoadBalancers = "10.245.0.0/16"
	Nodes         = "10.246.0.0/16"
	Clients       = "10.247.0.0/16"
	Services      = "10.96.0.0/16"

	bridge6   = "fd00:244::1"
	pods6     = "fd00:244::/64"
	Services6 = "fd00:96::/112"
)

// Network is the bridge and the addresses given out.
type Network struct {
	Dual bool // whether pods have IPv6 addresses, too

	host *os.File // the namespace of the laboratory

	mu   sync.Mutex
	last uint16 // of the pods' numbers
	used map[uint16]bool
}

// New sets up the network of this process.
func New() (*Network, error) {
	n := &Network{last: 1, used: map[uint16]bool{}}
	_, err := os.Stat("/proc/sys/net/ipv6")
	n.Dual = err == nil
	commands := []string{
		"link set lo up",
		"link add pods type bridge",
		"addr add " + Bridge + "/16 dev pods",
		"addr add " + Gateway + "/16 dev pods",
		"link set pods up",
	}
	for _, own := range []string{LoadBalancers, Clients, Services} {
		// Connections come from this address unless they are bound to another.
		commands = append(commands, "route add local "+own+" dev lo src "+Gateway)
	}
	if n.Dual {
		commands = append(commands, "-6 addr add "+bridge6+"/64 dev pods nodad", "-6 route add local "+Services6+" dev lo")
	}
	if err := n.ip(commands...); err != nil {
		return nil, err
	}
	// Pods reach nodes, and nodes pods, by the bridge's addresses.
	settings := []string{"ipv4/ip_forward"}
	if n.Dual {
		// With IPv6, a local route isn't enough to listen on an address.
		settings = append(settings, "ipv6/ip_nonlocal_bind")
	}
	for _, name := range settings {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0); err != nil {
			return nil, err
		}
	}
	n.host, err = os.Open("/proc/thread-self/ns/net")
	return n, err
}

// Close closes the files of the network. The network itself ends with the process.
func (n *Network) Close() error { return n.host.Close() }

// host is the namespace of the laboratory for the commands of ip.
const host = "/proc/self/fd/3"

// ip runs commands of ip(8) in the namespace of the calling thread.
func (n *Network) ip(commands ...string) error {
	for _, c := range commands {
		cmd := exec.Command("ip", strings.Fields(c)...)
		if n.host != nil {
			cmd.ExtraFiles = []*os.File{n.host}
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", c, err, out)
		}
	}
	return nil
}

// Namespace is the network namespace of a pod or a node.
type Namespace struct {
	Addresses []netip.Addr // IPv4 first

	network *Network
	number  uint16 // of a pod
	file    *os.File
}

// Node makes the namespace of a node with an address of the range Nodes. Pods with
// hostNetwork are in it.
func (n *Network) Node(address netip.Addr) (*Namespace, error) {
	b := address.As4()
	ns := &Namespace{network: n, Addresses: []netip.Addr{address}}
	return ns, ns.connect(fmt.Sprintf("node%d.%d", b[2], b[3]),
		fmt.Sprintf("addr add %s/16 dev eth0", address), "route add default via "+Gateway)
}

// Pod makes the namespace of a pod.
func (n *Network) Pod() (*Namespace, error) {
	number, err := n.take()
	if err != nil {
		return nil, err
	}
	four := netip.AddrFrom4([4]byte{10, 244, byte(number >> 8), byte(number)})
	ns := &Namespace{network: n, number: number, Addresses: []netip.Addr{four}}
	commands := []string{fmt.Sprintf("addr add %s/16 dev eth0", four), "route add default via " + Bridge}
	if n.Dual {
		prefix := netip.MustParsePrefix(pods6).Addr().As16()
		prefix[14], prefix[15] = byte(number>>8), byte(number)
		six := netip.AddrFrom16(prefix)
		ns.Addresses = append(ns.Addresses, six)
		commands = append(commands, fmt.Sprintf("-6 addr add %s/64 dev eth0 nodad", six), "-6 route add default via "+bridge6)
	}
	return ns, ns.connect(fmt.Sprintf("pod%d", number), commands...)
}

// connect makes the namespace, with an interface on the bridge and these addresses and
// routes. If it fails, it gives the namespace up.
func (ns *Namespace) connect(port string, commands ...string) error {
	err := thread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		if ns.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		commands = append([]string{
			"link set lo up", fmt.Sprintf("link add eth0 type veth peer name %s netns %s", port, host), "link set eth0 up",
		}, commands...)
		return ns.network.ip(commands...)
	})
	if err == nil {
		err = ns.network.ip("link set " + port + " master pods up")
	}
	if err != nil {
		return errors.Join(err, ns.Close())
	}
	return nil
}

// take returns a number that no pod has. It goes round, so that an address isn't used
// again soon.
func (n *Network) take() (uint16, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range 1 << 16 {
		n.last++
		// Not the network's own addresses: the first, the bridge's, the broadcast one.
		if n.last > 1 && n.last < 0xffff && !n.used[n.last] {
			n.used[n.last] = true
			return n.last, nil
		}
	}
	return 0, errors.New("all addresses of the pods' network are in use")
}

// Do calls f on a thread in the namespace. Processes that f starts are in it, and sockets
// that it opens.
func (ns *Namespace) Do(f func() error) error {
	return thread(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering the network namespace of a pod: %w", err)
		}
		return f()
	})
}

// Close gives the namespace up. It ends with the last of its processes.
func (ns *Namespace) Close() error {
	var err error
	if ns.file != nil {
		err = ns.file.Close()
	}
	ns.network.mu.Lock()
	delete(ns.network.used, ns.number)
	ns.network.mu.Unlock()
	return err
}

// thread calls f on a thread of its own, which ends with it, since f changes the thread's
// namespaces.
func thread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // without unlocking, so that the thread ends
		done <- f()
	}()
	return <-done
}
