//go:build !unix

package gateway

// look cannot tell here, so no connection is used twice.
func (w *wire) look(uintptr) bool { return true }
