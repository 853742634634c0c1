package eventloop

import (
	"net"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// The calls below bypass the scheduler's entersyscall, whose bookkeeping costs as
// much as the call. None of them blocks, since every socket is non-blocking. Only
// epollWaitRaw can block; see Loop.wait.

func epollWaitRaw(ep int, events []unix.EpollEvent, ms int) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	return int(n), e
}

// Recv reads from a non-blocking socket. At EOF, n is 0 without an error.
func Recv(fd int32, p []byte) (int, syscall.Errno) {
	if len(p) == 0 {
		return 0, 0
	}
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
			uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), 0
	}
}

// Send writes to a non-blocking socket as much as it takes at once.
func Send(fd int32, p []byte) (int, syscall.Errno) {
	if len(p) == 0 {
		return 0, 0
	}
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), 0
	}
}

func closeFD(fd int32) { syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// ShutdownWrite sends a FIN after everything that was written.
func ShutdownWrite(fd int32) {
	syscall.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
}

func accept(fd int) (int32, netip.AddrPort, syscall.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	n, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		return -1, netip.AddrPort{}, e
	}
	return int32(n), fromRaw(&sa), 0
}

// epollAdd watches fd, edge-triggered, for all events, so that no later call is
// needed to change them.
func epollAdd(ep int, fd int32, tag unix.EpollEvent) syscall.Errno {
	return epollCtl(ep, unix.EPOLL_CTL_ADD, fd, tag)
}

// epollMod gives a watched fd another tag.
func epollMod(ep int, fd int32, tag unix.EpollEvent) syscall.Errno {
	return epollCtl(ep, unix.EPOLL_CTL_MOD, fd, tag)
}

func epollCtl(ep, op int, fd int32, tag unix.EpollEvent) syscall.Errno {
	tag.Events = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	_, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(ep), uintptr(op),
		uintptr(fd), uintptr(unsafe.Pointer(&tag)), 0, 0)
	return e
}

func epollDel(ep int, fd int32) {
	syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(ep), unix.EPOLL_CTL_DEL, uintptr(fd), 0, 0, 0)
}

func setNoDelay(fd int32) {
	one := int32(1)
	syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY,
		uintptr(unsafe.Pointer(&one)), 4, 0)
}

// LimitUnsent bounds how many unsent bytes a socket accepts (TCP_NOTSENT_LOWAT).
// Bytes that are sent and not acknowledged don't count, so a path with a long
// delay is still filled.
func LimitUnsent(fd int32, n int) {
	most := int32(n)
	syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT,
		uintptr(unsafe.Pointer(&most)), 4, 0)
}

// Probe turns TCP's keepalive on for a socket, see tcp(7). TCP_KEEPIDLE comes last: if
// keepalive is on then, it counts from the last byte instead of from now. It does nothing
// to a unix socket.
func Probe(fd int32, c net.KeepAliveConfig) {
	for _, o := range [4][3]int{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(c.Interval / time.Second)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, c.Count},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(c.Idle / time.Second)},
	} {
		if unix.SetsockoptInt(int(fd), o[0], o[1], o[2]) != nil {
			return
		}
	}
}

// connect starts a non-blocking connect. It returns the error of a connect that
// fails at once; EINPROGRESS isn't an error. EAGAIN is one: the server of a unix socket
// has too many connections that it has not accepted.
func connect(addr hostport.Endpoint) (int32, error) {
	family, protocol := unix.AF_INET, unix.IPPROTO_TCP
	switch {
	case addr.IsUnix():
		family, protocol = unix.AF_UNIX, 0
	case !addr.TCP.Addr().Unmap().Is4():
		family = unix.AF_INET6
	}
	fd, _, e := syscall.RawSyscall(unix.SYS_SOCKET, uintptr(family),
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, uintptr(protocol))
	if e != 0 {
		return -1, e
	}
	var raw unix.RawSockaddrAny
	var size uintptr
	if addr.IsUnix() {
		size = unixToRaw(addr.Path, &raw)
	} else {
		setNoDelay(int32(fd))
		size = toRaw(addr.TCP, &raw)
	}
	_, _, e = syscall.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&raw)), size)
	if e != 0 && e != syscall.EINPROGRESS && e != syscall.EINTR {
		closeFD(int32(fd))
		return -1, e
	}
	return int32(fd), nil
}

// connected returns the result of a connect: 0, EAGAIN while it is under way, or
// the error. Sending nothing is the cheapest way to find out.
func connected(fd int32) syscall.Errno {
	_, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_NOSIGNAL, 0, 0)
	return e
}

func localAddr(fd int32) netip.AddrPort {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	_, _, e := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	if e != 0 {
		return netip.AddrPort{}
	}
	return fromRaw(&sa)
}

// Unsent is how many bytes the peer of a TCP socket has not acknowledged yet.
func Unsent(fd int32) int {
	n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

func fromRaw(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		p := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(p.Addr), swap(p.Port))
	case unix.AF_INET6:
		p := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(p.Addr).Unmap(), swap(p.Port))
	}
	if sa.Addr.Family == unix.AF_UNIX {
		return hostport.UnixPeer
	}
	return netip.AddrPort{}
}

// unixToRaw cuts off what is too long, so that there is no such file.
func unixToRaw(path string, sa *unix.RawSockaddrAny) uintptr {
	p := (*unix.RawSockaddrUnix)(unsafe.Pointer(sa))
	*p = unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	for i := range min(len(path), len(p.Path)-1) {
		p.Path[i] = int8(path[i])
	}
	return unix.SizeofSockaddrUnix
}

func toRaw(a netip.AddrPort, sa *unix.RawSockaddrAny) uintptr {
	if ip := a.Addr().Unmap(); ip.Is4() {
		p := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*p = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swap(a.Port()), Addr: ip.As4()}
		return unix.SizeofSockaddrInet4
	}
	p := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
	*p = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: swap(a.Port()), Addr: a.Addr().As16()}
	if i, ok := zoneIndex(a.Addr().Zone()); ok {
		p.Scope_id = i
	}
	return unix.SizeofSockaddrInet6
}

// swap turns a port between host and network order.
func swap(p uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&p))
	return uint16(b[0])<<8 | uint16(b[1])
}
