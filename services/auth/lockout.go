package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/netip"
	"strings"
	"time"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

const (
	window      = 15 * time.Minute
	nonceSize   = 16
	maxAccounts = 4 // accounts that one browser is a known device of
)

// A device cookie tells a device that has signed in to an account before from one that has not, so that strangers' wrong passwords do not
// lock its owner out (OWASP's device cookie). It holds, for up to four accounts, a nonce and its HMAC with the account's address.

// knownDevice is the nonce under which the device is known to the account.
func (s *Service) knownDevice(cookie, email string) ([]byte, bool) {
	for entry := range strings.SplitSeq(cookie, ".") {
		raw, err := base64.RawURLEncoding.DecodeString(entry)
		if err != nil || len(raw) != nonceSize+sha256.Size {
			continue
		}
		nonce := raw[:nonceSize]
		if subtle.ConstantTimeCompare(raw[nonceSize:], s.deviceMAC(nonce, email)) == 1 {
			return nonce, true
		}
	}
	return nil, false
}

// introduce is the cookie of a device that the account now knows.
func (s *Service) introduce(cookie, email string) string {
	if _, known := s.knownDevice(cookie, email); known {
		return cookie
	}
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	entries := []string{base64.RawURLEncoding.EncodeToString(append(nonce, s.deviceMAC(nonce, email)...))}
	for entry := range strings.SplitSeq(cookie, ".") {
		if len(entries) < maxAccounts && len(entry) == len(entries[0]) {
			entries = append(entries, entry)
		}
	}
	return strings.Join(entries, ".")
}

func (s *Service) deviceMAC(nonce []byte, email string) []byte {
	return sum(s.secrets.device, nonce, []byte(strings.ToLower(email)))
}

// meter is what one attempt is counted by: always the address it comes from, and the account or the known device on it.
// The counters are of what was tried and not yet found right, so many at once cannot pass a limit together.
type meter struct {
	ip, account       []byte
	ipMax, accountMax int
	window            time.Duration
}

// tally is how full the counters are after an attempt was counted.
type tally struct {
	IPN          int       `db:"ip_n"`
	IPUntil      time.Time `db:"ip_until"`
	AccountN     int       `db:"account_n"`
	AccountUntil time.Time `db:"account_until"`
}

// refusal is TooMany when the attempt is over a limit.
func (m meter) refusal(t tally, now time.Time) error {
	until := t.AccountUntil
	switch {
	case t.IPN > m.ipMax:
		until = t.IPUntil
	case t.AccountN <= m.accountMax:
		return nil
	}
	return errs.Coded(errs.TooMany, "too_many_attempts", "There were too many attempts. Wait a while, or set a new password by mail.").After(max(until.Sub(now), time.Second))
}

// forgive takes the attempt off the counters again: it was right, or it was not tried.
func (m meter) forgive(tx postgres.Tx) {
	for _, key := range [][]byte{m.ip, m.account} {
		tx.Later(`UPDATE attempts SET n = greatest(n - 1, 0) WHERE key = $1`, key)
	}
}

// loginMeter counts attempts to sign in to the account of an address, whether anybody has it or not.
func (s *Service) loginMeter(from Visitor, email string) meter {
	m := meter{ip: counter("login ip", network(from.IP)), ipMax: s.cfg.IPFailures, window: window}
	if nonce, known := s.knownDevice(from.Device, email); known {
		m.account, m.accountMax = counter("login device", string(nonce)+strings.ToLower(email)), s.cfg.DeviceFailures
	} else {
		m.account, m.accountMax = s.othersCounter(email), s.cfg.OthersFailures
	}
	return m
}

func (s *Service) othersCounter(email string) []byte {
	return counter("login others", strings.ToLower(email))
}

// mailMeter counts mails that are asked for.
func (s *Service) mailMeter(from Visitor, purpose, email string) meter {
	return meter{
		ip: counter("mail ip", network(from.IP)), ipMax: s.cfg.IPFailures, window: time.Hour,
		account: counter("mail "+purpose, strings.ToLower(email)), accountMax: 5,
	}
}

// network is what an address is counted as: a household has a whole /64 of IPv6.
func network(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

func counter(kind, of string) []byte {
	h := sha256.Sum256([]byte(kind + "\x00" + of))
	return h[:]
}

// forgiven takes an attempt off again that was not tried. The request's own end must not keep it from being done.
func (s *Service) forgiven(ctx context.Context, m meter) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	// When it fails, the attempt stays counted, which is the safe side.
	_ = s.db.InTx(ctx, func(tx postgres.Tx) error {
		m.forgive(tx)
		return nil
	})
}
