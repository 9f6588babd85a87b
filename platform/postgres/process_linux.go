package postgres

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent has the child shut down in order when we are killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGINT }

// serves tells whether pid is a live server process of the data directory; a number that another process has got since is not.
func serves(pid int, dir string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
	if err != nil || cwd != dir {
		return false
	}
	name, err := os.ReadFile(filepath.Join(proc, "comm"))
	return err == nil && strings.TrimSpace(string(name)) == "postgres"
}

// killProcesses ends what a dead postmaster has left: busy backends would live on and hold the shared memory.
func killProcesses(dir string) {
	_ = await(context.Background(), killWait, func() bool {
		left := false
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			if pid, err := strconv.Atoi(e.Name()); err == nil && serves(pid, dir) {
				left = true
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		return !left
	})
}
