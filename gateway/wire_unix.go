//go:build unix

package gateway

import "syscall"

// look reads without waiting: that there is nothing to read means that the connection is whole.
func (w *wire) look(fd uintptr) bool {
	n, err := syscall.Read(int(fd), w.byte[:])
	w.whole = n < 0 && (err == syscall.EAGAIN || err == syscall.EINTR)
	return true
}

// silent says whether an idle socket is whole and nothing has come over it unasked, as the word that it is closed would. What came stays
// there for the one who reads it.
func silent(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	return err == syscall.EAGAIN || err == syscall.EINTR
}
