//go:build !linux

package postgres

import "syscall"

// dieWithParent does nothing: this system has no death signal, so a server outlives a killed tulifo.
func dieWithParent(*syscall.SysProcAttr) {}

func serves(pid int, _ string) bool { return syscall.Kill(pid, 0) == nil }

// killProcesses does nothing: without /proc the backends of a data directory are not told apart; the postmaster waits for them itself.
func killProcesses(string) {}
