package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	refreshLife = 7 * 24 * time.Hour
	grace       = 10 * time.Second // in which two tabs may use one refresh token
	clockSkew   = time.Minute      // between the machines that issue and verify access tokens
)

// Visitor is what a request says about where it comes from.
type Visitor struct {
	IP      netip.Addr
	Agent   string // User-Agent
	Device  string // its device cookie
	Cookies bool   // it wants the tokens as cookies and not in the body
}

// Session is what a sign-in answers.
type Session struct {
	User         *User  `json:"user,omitempty"`
	AccessToken  string `json:"accessToken,omitempty"`
	RefreshToken string `json:"refreshToken,omitempty"`
	ExpiresIn    int    `json:"expiresIn" doc:"seconds until the access token expires"`

	cookies http.Header
}

// ResponseHeaders are the cookies of the answer.
func (s Session) ResponseHeaders() http.Header { return s.cookies }

// Device is a live sign-in as its owner sees it.
type Device struct {
	ID         uuid.UUID `json:"id"`
	Device     string    `json:"device"`
	IP         string    `json:"ip"`
	CreatedAt  time.Time `json:"createdAt"`
	LastSeenAt time.Time `json:"lastSeenAt"`
	Current    bool      `json:"current"`
}

// A refresh token is the session's id, 32 bytes that nobody can guess, and a seal that tells one that was ours from one that never was.
// The next one's bytes are the HMAC of the one before, so that everybody who uses a token at the same time gets the same next one.

const sealSize = 16

func (s *Service) refreshToken(session uuid.UUID, secret []byte) string {
	raw := append(session[:], secret...)
	return base64.RawURLEncoding.EncodeToString(append(raw, sum(s.secrets.seal, raw)[:sealSize]...))
}

func (s *Service) firstToken(session uuid.UUID) string {
	secret := make([]byte, sha256.Size)
	rand.Read(secret)
	return s.refreshToken(session, secret)
}

func (s *Service) childToken(session uuid.UUID, parent string) string {
	return s.refreshToken(session, sum(s.secrets.child, []byte(parent)))
}

// sessionOf is the session that a refresh token of ours belongs to, used or not.
func (s *Service) sessionOf(refresh string) (uuid.UUID, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(refresh)
	if err != nil || len(raw) != len(uuid.UUID{})+sha256.Size+sealSize {
		return uuid.Nil, false
	}
	body, seal := raw[:len(raw)-sealSize], raw[len(raw)-sealSize:]
	if subtle.ConstantTimeCompare(seal, sum(s.secrets.seal, body)[:sealSize]) != 1 {
		return uuid.Nil, false
	}
	return uuid.UUID(body[:16]), true
}

// atRest is what is kept of a secret that nobody can guess.
func atRest(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

// fresh is a session that is about to be stored, with the token that its owner will get. It counts as proved just now.
type fresh struct {
	row   sessionRow
	token string
}

func (s *Service) newSession(user uuid.UUID, from Visitor) fresh {
	now, id := s.now(), uuid.Must(uuid.NewV7())
	t := s.firstToken(id)
	return fresh{sessionRow{
		ID: id, UserID: user, TokenHash: atRest(t), ExpiresAt: now.Add(refreshLife),
		Device: describe(from.Agent), IP: from.IP.String(), CreatedAt: now, ProvedAt: &now,
	}, t}
}

// open is the answer for a session that is stored now.
func (s *Service) open(from Visitor, u User, f fresh) (Session, error) {
	out, err := s.pair(from, holder{u.ID, u.Role, f.row.ProvedAt}, f.row.ID, f.token)
	if err != nil {
		return Session{}, err
	}
	out.User = &u
	s.setCookie(out.cookies, deviceCookie, s.introduce(from.Device, u.Email), 365*24*time.Hour)
	return out, nil
}

// pair is an access token with the refresh token, in the body or as cookies.
func (s *Service) pair(from Visitor, who holder, session uuid.UUID, refresh string) (Session, error) {
	out, err := s.access(from, who, session)
	if err != nil {
		return Session{}, err
	}
	if from.Cookies {
		s.setCookie(out.cookies, api.RefreshCookie, refresh, refreshLife)
	} else {
		out.RefreshToken = refresh
	}
	return out, nil
}

// access is an access token, in the body or as a cookie.
func (s *Service) access(from Visitor, who holder, session uuid.UUID) (Session, error) {
	c := token.Caller{ID: who.UserID, Role: who.Role, Session: session}
	if who.ProvedAt != nil {
		c.ProvedAt = *who.ProvedAt
	}
	raw, _, err := s.keys.Renew(c)
	if err != nil {
		return Session{}, err
	}
	out := Session{ExpiresIn: int(token.AccessLife / time.Second), cookies: http.Header{}}
	if from.Cookies {
		s.setCookie(out.cookies, api.AccessCookie, raw, token.AccessLife)
	} else {
		out.AccessToken = raw
	}
	return out, nil
}

var signInAgain = errs.New(errs.Unauthorized, "Sign in again: this sign-in has ended.")

// Refresh exchanges a refresh token, which is good once, for the next pair. Within ten seconds, and until that next token was used itself, a
// second use gets the same one, so that two tabs do not sign each other out. Any later use means that somebody else has a copy:
// the sign-in ends, and its owner is told. Unauthorized: the token is none of ours, or its sign-in has ended.
func (s *Service) Refresh(ctx context.Context, from Visitor, refresh string) (Session, error) {
	id, ours := s.sessionOf(refresh)
	if !ours {
		return Session{}, signInAgain
	}
	now := s.now()
	child := s.childToken(id, refresh)
	turn := rotation{
		Session: id, Used: atRest(refresh), Next: atRest(child), Now: now, ExpiresAt: now.Add(refreshLife),
		Device: describe(from.Agent), IP: from.IP.String(),
	}
	who, err := rotate(ctx, s.db, turn)
	if errs.KindOf(err) == errs.NotFound {
		who, err = s.again(ctx, turn)
	}
	if err != nil {
		return Session{}, err
	}
	return s.pair(from, who, id, child)
}

// again decides about a token of ours that is not the one that is good now.
func (s *Service) again(ctx context.Context, turn rotation) (holder, error) {
	now, err := sessionState(ctx, s.db, turn.Session)
	switch {
	case errs.KindOf(err) == errs.NotFound:
		return holder{}, signInAgain
	case err != nil:
		return holder{}, err
	case now.RevokedAt != nil || !turn.Now.Before(now.ExpiresAt) || now.Status != active:
		return holder{}, signInAgain
	case now.isTwin(turn):
		return now.holder, nil
	case string(now.TokenHash) == string(turn.Used):
		return holder{}, errs.New(errs.Unavailable, "Try again in a moment.")
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := s.revoke(ctx, tx, now.UserID, &turn.Session); err != nil {
			return err
		}
		return tell(ctx, tx, event.SessionStolen{SessionID: turn.Session, UserID: now.UserID},
			audit.Entry{Action: "session.stolen", Subject: now.UserID, Detail: map[string]string{"session": turn.Session.String(), "ip": turn.IP}})
	})
	if err != nil && errs.KindOf(err) != errs.NotFound {
		return holder{}, err
	}
	return holder{}, signInAgain
}

// Logout ends the sign-in of the caller's access token, and that of the refresh token when it is another of his.
func (s *Service) Logout(ctx context.Context, by token.Caller, refresh string) error {
	ids := []uuid.UUID{by.Session}
	if id, ours := s.sessionOf(refresh); ours && id != by.Session {
		ids = append(ids, id)
	}
	for _, id := range ids {
		if err := s.EndSession(ctx, by, id); err != nil && errs.KindOf(err) != errs.NotFound {
			return err
		}
	}
	return nil
}

// EndSession ends one sign-in of the caller's. NotFound: it is not his, or has ended.
func (s *Service) EndSession(ctx context.Context, by token.Caller, id uuid.UUID) error {
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := s.revoke(ctx, tx, by.ID, &id); err != nil {
			return err
		}
		return audit.Add(ctx, tx, audit.Entry{Action: "session.ended", Subject: by.ID, Detail: map[string]string{"session": id.String()}})
	})
}

// LogoutAll ends all sign-ins of the caller.
func (s *Service) LogoutAll(ctx context.Context, by token.Caller) error {
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := s.revoke(ctx, tx, by.ID, nil); err != nil {
			return err
		}
		return audit.Add(ctx, tx, audit.Entry{Action: "session.ended_all", Subject: by.ID})
	})
}

// revoke ends one sign-in of a user in tx, or all when only is nil: it stores that their access tokens are no longer good, tells every process,
// and this one at once. NotFound: the one is not live, or not the user's.
func (s *Service) revoke(ctx context.Context, tx postgres.Tx, user uuid.UUID, only *uuid.UUID) error {
	now := s.now()
	until := now.Add(token.AccessLife + clockSkew)
	ids, err := revokeSessions(ctx, tx, user, only, now, until)
	if err != nil {
		return err
	}
	if only != nil && len(ids) == 0 {
		return errs.New(errs.NotFound, "There is no such sign-in.")
	}
	for _, id := range ids {
		if err := outbox.AddBroadcast(ctx, tx, user, event.SessionRevoked{SessionID: id, UserID: user, Until: until}); err != nil {
			return err
		}
	}
	tx.Committed(func() {
		for _, id := range ids {
			s.revoked.Add(id, until)
		}
		select {
		case s.told <- struct{}{}:
		default:
		}
	})
	return nil
}

// publish copies what was revoked last to where other processes look. When it fails they learn of it as if there were no copy.
func (s *Service) publish(ctx context.Context) {
	recent, err := s.Revocations(ctx, s.now().Add(-token.CopiedFor))
	if err == nil {
		err = token.Publish(ctx, s.shared, recent)
	}
	if err != nil && ctx.Err() == nil {
		slog.DebugContext(ctx, "Revocations are not copied.", "error", err)
	}
}

// Revocations are those made since a time, or all that still count when it is zero.
func (s *Service) Revocations(ctx context.Context, since time.Time) ([]token.Revoked, error) {
	return revocations(ctx, s.db, since, s.now())
}

// describe is a person's word for a device, from its User-Agent.
func describe(agent string) string {
	first := func(of string, names ...string) string {
		for i := 0; i < len(names); i += 2 {
			if strings.Contains(agent, names[i]) {
				return names[i+1]
			}
		}
		return of
	}
	browser := first("", "Edg/", "Edge", "OPR/", "Opera", "Firefox/", "Firefox", "Chrome/", "Chrome", "Safari/", "Safari", "curl/", "curl")
	system := first("", "Android", "Android", "iPhone", "iPhone", "iPad", "iPad", "Windows", "Windows", "Mac OS X", "macOS", "CrOS", "ChromeOS", "Linux", "Linux")
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser+system != "":
		return browser + system
	}
	return "Unknown device"
}
