//go:build unix

package gateway

import "syscall"

// look reads without waiting: that there is nothing to read means that the connection is whole.
func (w *wire) look(fd uintptr) bool {
	n, err := syscall.Read(int(fd), w.byte[:])
	w.whole = n < 0 && (err == syscall.EAGAIN || err == syscall.EINTR)
	return true
}

// atEnd says whether the other side has closed a socket. What there is to read stays there for the one who reads it.
func atEnd(fd uintptr) bool {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	return n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
}
