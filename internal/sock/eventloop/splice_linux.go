package eventloop

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PipeSize is how many bytes a Pipe is made for. It holds more if its sockets'
// pages are larger than 4 KiB, and less if they are partly filled.
const PipeSize = 256 << 10

// Pipe moves bytes from one socket to another without copying them: splice(2)
// moves references to the pages that they arrived in. The zero value is no pipe.
type Pipe struct{ r, w int32 }

// NewPipe makes an empty pipe. It needs two descriptors until Close.
func NewPipe() (Pipe, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return Pipe{}, err
	}
	// If the user's pipes have reached their limit (pipe(7)) it stays smaller,
	// which is only slower.
	unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, PipeSize)
	return Pipe{r: int32(p[0]), w: int32(p[1])}, nil
}

// Close closes its descriptors. Bytes in the pipe are lost.
func (p Pipe) Close() {
	if p == (Pipe{}) {
		return
	}
	closeFD(p.r)
	closeFD(p.w)
}

// Fill moves up to n bytes that the socket has received into p, which is empty. It
// returns as Recv does, but fewer than n bytes may also mean that p is full.
func (p Pipe) Fill(socket int32, n int) (int, syscall.Errno) { return splice(socket, p.w, n) }

// Drain moves up to n bytes that are in p into the socket, as Send does.
func (p Pipe) Drain(socket int32, n int) (int, syscall.Errno) { return splice(p.r, socket, n) }

// Read copies bytes out of p.
func (p Pipe) Read(b []byte) (int, syscall.Errno) {
	if len(b) == 0 {
		return 0, 0
	}
	for {
		n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(p.r), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), 0
	}
}

// splice has no MSG_NOSIGNAL. Go's runtime ignores the SIGPIPE of a socket, so that
// only EPIPE remains.
func splice(from, to int32, n int) (int, syscall.Errno) {
	for {
		m, _, e := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_NONBLOCK)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(m), 0
	}
}
