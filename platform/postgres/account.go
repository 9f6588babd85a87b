package postgres

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user that Postgres runs as: another one when we are root, which it refuses to be.
type account struct {
	name     string
	uid, gid int
	other    bool
}

// accountFor is the owner of an existing data directory, else postgres or nobody when we are root, else ourselves.
func accountFor(dir string) (*account, error) {
	if os.Geteuid() != 0 {
		return &account{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	if fi, err := os.Stat(dir); err == nil {
		if uid := fi.Sys().(*syscall.Stat_t).Uid; uid != 0 {
			u, err := user.LookupId(strconv.Itoa(int(uid)))
			if err != nil {
				return nil, fmt.Errorf("%s belongs to user %d, who does not exist here; give it to the user postgres or nobody", dir, uid)
			}
			return newAccount(u)
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return newAccount(u)
		}
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is neither a user postgres nor nobody; run tulifo as an ordinary user")
}

func newAccount(u *user.User) (*account, error) {
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Username, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Username, err)
	}
	return &account{name: u.Username, uid: uid, gid: gid, other: true}, nil
}

func (a *account) attributes() *syscall.SysProcAttr {
	// A process group of its own, so that an interrupt from the terminal reaches it through Stop only.
	attr := &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(attr)
	if a.other {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

func (a *account) give(path string) error {
	if !a.other {
		return nil
	}
	if err := os.Chown(path, a.uid, a.gid); err != nil {
		return fmt.Errorf("%s cannot be given to user %s: %w", path, a.name, err)
	}
	return nil
}

// passes tells in a sentence which folder on the way to path keeps the account out.
func (a *account) passes(path string) error {
	if !a.other {
		return nil
	}
	for p := path; ; p = filepath.Dir(p) {
		fi, err := os.Stat(p)
		if err != nil {
			return fmt.Errorf("%s cannot be looked at: %w", p, err)
		}
		owner := fi.Sys().(*syscall.Stat_t)
		need := os.FileMode(0o001)
		switch {
		case int(owner.Uid) == a.uid:
			need = 0o100
		case int(owner.Gid) == a.gid:
			need = 0o010
		}
		if fi.Mode()&need == 0 {
			return fmt.Errorf("PostgreSQL runs as user %s here, because root may not, and %s cannot enter %s; choose a directory such as /var/lib/tulifo, or run tulifo as an ordinary user", a.name, a.name, p)
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}

// longestSocket is what fits into the address of a socket, less its file's name.
const longestSocket = 107 - len("/.s.PGSQL."+port+".lock")

// socketDir is dir itself, or a short folder under the temporary directory when its path is too long for a socket.
func (a *account) socketDir(dir string) (string, error) {
	if len(dir) <= longestSocket {
		return dir, nil
	}
	sum := sha256.Sum256([]byte(dir))
	short := filepath.Join(os.TempDir(), fmt.Sprintf("tulifo-%x", sum[:6]))
	if len(short) > longestSocket {
		short = filepath.Join("/tmp", filepath.Base(short))
	}
	// Somebody else may have made a folder of that name to listen in our place.
	if err := os.RemoveAll(short); err != nil {
		return "", fmt.Errorf("the folder of the socket, %s, cannot be replaced: %w", short, err)
	}
	if err := os.Mkdir(short, 0o700); err != nil {
		return "", fmt.Errorf("the folder of the socket cannot be made: %w", err)
	}
	return short, a.give(short)
}
