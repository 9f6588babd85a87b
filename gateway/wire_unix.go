//go:build unix

package gateway

import "syscall"

// look reads without waiting: that there is nothing to read means that the connection is whole.
func (w *wire) look(fd uintptr) bool {
	n, err := syscall.Read(int(fd), w.byte[:])
	w.whole = n < 0 && (err == syscall.EAGAIN || err == syscall.EINTR)
	return true
}
