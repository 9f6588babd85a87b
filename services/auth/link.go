package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// The purposes of a link.
const (
	verify = "verify" // the address is the user's
	reset  = "reset"  // a new password, for one who has forgotten his
	move   = "email"  // another address, which it is sent to
)

var linkLife = map[string]time.Duration{verify: 48 * time.Hour, reset: time.Hour, move: 48 * time.Hour}

// link is something a person can do once by having a mail. Its token is the id and the id's HMAC: nothing that is stored makes one, so the
// database alone lets nobody in, and yet the link can be made again when the mail is sent.
type link struct {
	ID        uuid.UUID
	UserID    uuid.UUID
	Purpose   string
	Email     string
	ExpiresAt time.Time
	UsedAt    *time.Time
	CreatedAt time.Time
}

func (s *Service) newLink(user uuid.UUID, purpose, email string) link {
	now := s.now()
	return link{ID: uuid.Must(uuid.NewV7()), UserID: user, Purpose: purpose, Email: email, ExpiresAt: now.Add(linkLife[purpose]), CreatedAt: now}
}

func (s *Service) linkToken(id uuid.UUID) string {
	return base64.RawURLEncoding.EncodeToString(append(id[:], sum(s.secrets.link, id[:])...))
}

func (s *Service) linkOf(tok string) (uuid.UUID, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(tok)
	if err != nil || len(raw) != len(uuid.UUID{})+sha256.Size {
		return uuid.Nil, false
	}
	id := uuid.UUID(raw[:16])
	return id, subtle.ConstantTimeCompare(raw[16:], sum(s.secrets.link, id[:])) == 1
}

var (
	linkUnknown = errs.New(errs.NotFound, "This link is not one of ours. Perhaps it was cut off in the mail.")
	linkUsed    = errs.Coded(errs.Conflict, "link_used", "This link has been used already, or a newer one took its place.")
	linkExpired = errs.Coded(errs.Conflict, "link_expired", "This link has expired. Ask for a new one.")
)

func (l link) good(now time.Time) error {
	switch {
	case l.UsedAt != nil:
		return linkUsed
	case !now.Before(l.ExpiresAt):
		return linkExpired
	}
	return nil
}

// pressable is the link of a token, when it can still be used.
func (s *Service) pressable(ctx context.Context, tok string) (link, error) {
	id, ours := s.linkOf(tok)
	if !ours {
		return link{}, linkUnknown
	}
	l, err := linkByID(ctx, s.db, id)
	if errs.KindOf(err) == errs.NotFound {
		return link{}, linkUnknown
	}
	if err != nil {
		return link{}, err
	}
	return l, l.good(s.now())
}

// LinkURL is what stands in the mail, for the one who sends it, just before it is sent.
type LinkURL struct {
	URL       string    `json:"url"`
	Purpose   string    `json:"purpose"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// LinkURL is the address of a link. NotFound: there is none. Conflict: it has been used or has expired.
func (s *Service) LinkURL(ctx context.Context, id uuid.UUID) (LinkURL, error) {
	l, err := linkByID(ctx, s.db, id)
	if err != nil {
		return LinkURL{}, err
	}
	if err := l.good(s.now()); err != nil {
		return LinkURL{}, err
	}
	return LinkURL{s.cfg.PublicURL + "/api/auth/links/" + s.linkToken(l.ID), l.Purpose, l.ExpiresAt}, nil
}

// Ask has a mail sent with a link to verify an address or to set a new password. It answers alike, after the same work, whether anybody has
// the address or not; more than five an hour are not sent. TooMany: too many from one place.
func (s *Service) Ask(ctx context.Context, from Visitor, purpose, email string) error {
	email, err := address("email", email)
	if err != nil {
		return err
	}
	m := s.mailMeter(from, purpose, email)
	user, full, err := attemptByEmail(ctx, s.db, m, email, s.now())
	if err != nil {
		return err
	}
	if full.IPN > m.ipMax {
		return m.refusal(full, s.now())
	}
	send := user.ID != uuid.Nil && full.AccountN <= m.accountMax && (purpose != verify || !user.EmailVerified)
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		if send {
			return s.issue(ctx, tx, s.newLink(user.ID, purpose, user.Email))
		}
		return audit.Add(ctx, tx, audit.Entry{Action: "link.not_issued", Subject: user.ID, Detail: detail("purpose", purpose)})
	})
}

func (s *Service) issue(ctx context.Context, tx postgres.Tx, l link) error {
	insertLink(tx, l)
	e := event.LinkIssued{LinkID: l.ID, UserID: l.UserID, Purpose: l.Purpose, Email: l.Email, ExpiresAt: l.ExpiresAt}
	return tell(ctx, tx, e, audit.Entry{Action: "link.issued", Subject: l.UserID, Detail: detail("purpose", l.Purpose)})
}

// ChangeEmail sends a link to the new address; the account moves to it when the link is used. It does not say whether somebody else has
// the address: then nothing is sent. Forbidden: the password is not right. Invalid: the address is not one. TooMany: too many attempts.
func (s *Service) ChangeEmail(ctx context.Context, from Visitor, by token.Caller, email, password string) error {
	email, err := address("newEmail", email)
	if err != nil {
		return err
	}
	if err := keepable("password", password); err != nil {
		return err
	}
	if _, err := s.confirm(ctx, from, by, password); err != nil {
		return err
	}
	known, err := hasAccount(ctx, s.db, email)
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		voidLinks(tx, by.ID, []string{move}, s.now())
		if known {
			return audit.Add(ctx, tx, audit.Entry{Action: "link.not_issued", Subject: by.ID, Detail: detail("purpose", move)})
		}
		return s.issue(ctx, tx, s.newLink(by.ID, move, email))
	})
}

// Press uses a link, once: the address is verified, the account moves to another, or gets the new password.
// NotFound: it is not one of ours. Conflict: it has been used or has expired, or another account has the address meanwhile.
// Invalid: the password is not acceptable; the link stays good.
func (s *Service) Press(ctx context.Context, tok, password string) (purpose string, err error) {
	l, err := s.pressable(ctx, tok)
	if err != nil {
		return l.Purpose, err
	}
	hash := ""
	if l.Purpose == reset {
		if err := acceptable("password", password, l.Email); err != nil {
			return l.Purpose, err
		}
		if hash, err = s.hashes.hash(ctx, password); err != nil {
			return l.Purpose, err
		}
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := useLink(ctx, tx, l.ID, s.now()); err != nil {
			return err
		}
		switch l.Purpose {
		case reset:
			return s.resetPassword(ctx, tx, l, hash)
		case move:
			return s.moveTo(ctx, tx, l)
		default:
			voidLinks(tx, l.UserID, []string{verify}, s.now())
			return s.verified(ctx, tx, l)
		}
	})
	return l.Purpose, known(err)
}

// verified notes that the link's address is its user's, if it still is the account's.
func (s *Service) verified(ctx context.Context, tx postgres.Tx, l link) error {
	was, err := verifyEmail(ctx, tx, l.UserID, l.Email, s.clock.Now())
	if errs.KindOf(err) == errs.NotFound {
		return errs.New(errs.Conflict, "The account has another e-mail address by now.")
	}
	if err != nil || was {
		return err
	}
	return tell(ctx, tx, event.UserVerified{UserID: l.UserID, Email: l.Email}, audit.Entry{Actor: l.UserID.String(), Action: "email.verified", Subject: l.UserID})
}

// resetPassword sets the new password. Who could read the mail has the address, so it is verified as well.
func (s *Service) resetPassword(ctx context.Context, tx postgres.Tx, l link, hash string) error {
	if err := s.verified(ctx, tx, l); err != nil {
		return err
	}
	tx.Later(`DELETE FROM attempts WHERE key = $1`, s.othersCounter(l.Email))
	if err := setPassword(ctx, tx, l.UserID, hash, s.clock.Now()); err != nil {
		return err
	}
	return s.passwordChanged(ctx, tx, l.UserID, "password.reset")
}

func (s *Service) moveTo(ctx context.Context, tx postgres.Tx, l link) error {
	previous, err := setEmail(ctx, tx, l.UserID, l.Email, s.clock.Now())
	if err != nil {
		return err
	}
	// Links that were sent to the old address must not work for who still reads it.
	voidLinks(tx, l.UserID, []string{verify, reset, move}, s.now())
	return tell(ctx, tx, event.UserEmailChanged{UserID: l.UserID, Email: l.Email, Previous: previous},
		audit.Entry{Actor: l.UserID.String(), Action: "email.changed", Subject: l.UserID})
}
