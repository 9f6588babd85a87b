package auth

import (
	"context"
	"errors"
	"maps"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"tulifo/event"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

var (
	wrong        = errs.Coded(errs.Unauthorized, "invalid_credentials", "The e-mail address or the password is not right.")
	lockedUp     = errs.Coded(errs.Forbidden, "suspended", "This account is suspended. Write to support.")
	wrongCurrent = errs.Coded(errs.Forbidden, "wrong_password", "The current password is not right.")
)

// Login signs somebody in. It makes two round trips and one hash, whoever asks, and one and none when there were too many attempts before.
// Where an authenticator app is in force, code is one of its codes or a recovery code; it is looked at after the right password only.
// Unauthorized: address or password are wrong, and which of them is not said; or, after the right password, a code is wanted or wrong.
// Forbidden: the account is suspended. TooMany: too many attempts, or too many passwords being checked.
func (s *Service) Login(ctx context.Context, from Visitor, email, password, code string) (Session, error) {
	email, err := address("email", email)
	if err != nil {
		return Session{}, err
	}
	if err := keepable("password", password); err != nil {
		return Session{}, err
	}
	m := s.loginMeter(from, email)
	user, full, err := attemptByEmail(ctx, s.db, m, email, s.now())
	if err != nil {
		return Session{}, err
	}
	if err := m.refusal(full, s.now()); err != nil {
		s.logins.WithLabelValues("refused").Inc()
		return Session{}, err
	}
	right, err := s.hashes.matches(ctx, user.PasswordHash, password)
	switch {
	case err != nil:
		s.forgiven(ctx, m)
		return Session{}, err
	case !right:
		return Session{}, s.loginFailed(ctx, from, user.ID, nil, wrong)
	case user.Status != active:
		return Session{}, s.loginRefused(ctx, from, &m, user.ID, nil)
	case user.TOTPSecret != nil && code == "":
		s.logins.WithLabelValues("totp_required").Inc()
		s.forgiven(ctx, m)
		return Session{}, totpRequired
	}
	f := s.newSession(user.ID, from)
	var spent *spending
	if user.TOTPSecret != nil {
		what, ok, err := s.spendable(user, code)
		if err != nil {
			return Session{}, err
		}
		if !ok {
			return Session{}, s.loginFailed(ctx, from, user.ID, detail("factor", factorTOTP), wrongAtLogin)
		}
		spent = &what
	} else if user.HasPasskey {
		f.row.ProvedAt = nil
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		m.forgive(tx)
		if spent != nil {
			if _, err := s.spend(ctx, tx, user.ID, *spent, wrongAtLogin); err != nil {
				return err
			}
		}
		return signedIn(ctx, tx, f, user.Role, user.PasswordHash, nil)
	})
	if errors.Is(err, wrongAtLogin) {
		return Session{}, s.loginFailed(ctx, from, user.ID, detail("factor", factorTOTP), wrongAtLogin)
	}
	if changedMeanwhile(err) {
		return Session{}, wrong.Because(err)
	}
	if err != nil {
		return Session{}, err
	}
	s.logins.WithLabelValues("ok").Inc()
	return s.open(from, user.User, f)
}

// signedIn stores a sign-in, with COMMIT, and its audit row; with is what else the row says, such as the provider.
func signedIn(ctx context.Context, tx postgres.Tx, f fresh, role, passwordHash string, with map[string]string) error {
	insertSession(tx, f.row, role, passwordHash)
	said := map[string]string{"ip": f.row.IP, "device": f.row.Device, "session": f.row.ID.String()}
	maps.Copy(said, with)
	return audit.Add(ctx, tx, audit.Entry{Actor: f.row.UserID.String(), Action: "login", Subject: f.row.UserID, Detail: said})
}

// loginFailed counts a sign-in that proved nothing and leaves its audit row, which says with besides; it answers refused.
// The attempt stays counted, also when only the second factor was wrong.
func (s *Service) loginFailed(ctx context.Context, from Visitor, user uuid.UUID, with map[string]string, refused error) error {
	s.logins.WithLabelValues("wrong").Inc()
	return orErr(s.note(ctx, nil, audit.Entry{Actor: "anonymous", Action: "login.failed", Subject: user, Detail: from.seen(with)}), refused)
}

// loginRefused counts a sign-in of somebody who has proved who he is, and is suspended, and leaves its audit row; it forgives m, where there is one.
func (s *Service) loginRefused(ctx context.Context, from Visitor, m *meter, user uuid.UUID, with map[string]string) error {
	s.logins.WithLabelValues("suspended").Inc()
	return orErr(s.note(ctx, m, audit.Entry{Actor: user.String(), Action: "login.refused", Subject: user, Detail: from.seen(with)}), lockedUp)
}

// seen is an audit row's detail of where a request came from, and of what else matters.
func (v Visitor) seen(with map[string]string) map[string]string {
	out := map[string]string{"ip": v.IP.String()}
	maps.Copy(out, with)
	return out
}

// note writes an audit row alone, and forgives the attempt when it was right.
func (s *Service) note(ctx context.Context, m *meter, e audit.Entry) error {
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		if m != nil {
			m.forgive(tx)
		}
		return audit.Add(ctx, tx, e)
	})
}

// changedMeanwhile says that the user whom a session was to be stored for is suspended, or has another password or role, by now: see insertSession.
func changedMeanwhile(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23502" && pg.ColumnName == "user_id"
}

// confirm says whether password is the caller's own. Wrong ones count as five in fifteen minutes of a known device do, by sign-in.
// Forbidden: it is not. TooMany: too many attempts.
func (s *Service) confirm(ctx context.Context, from Visitor, by token.Caller, password string) (credentials, error) {
	user, m, err := s.attempted(ctx, from, by)
	if err != nil {
		return credentials{}, err
	}
	if err := s.rightPassword(ctx, from, by, user, m, password); err != nil {
		return credentials{}, err
	}
	s.forgiven(ctx, m)
	return user, nil
}

// rightPassword compares the password in an attempt that is counted by m. Forbidden: it is not the user's.
func (s *Service) rightPassword(ctx context.Context, from Visitor, by token.Caller, user credentials, m meter, password string) error {
	right, err := s.hashes.matches(ctx, user.PasswordHash, password)
	if err != nil {
		s.forgiven(ctx, m)
		return err
	}
	if !right {
		return s.wrongly(ctx, from, by, "password.wrong", wrongCurrent)
	}
	return nil
}

// ChangePassword puts another password in place of current and ends all sign-ins; the caller gets a new one.
// Forbidden: current is not right. Invalid: the new one is not acceptable. TooMany: too many attempts.
func (s *Service) ChangePassword(ctx context.Context, from Visitor, by token.Caller, current, next string) (Session, error) {
	if err := keepable("currentPassword", current); err != nil {
		return Session{}, err
	}
	user, err := account(ctx, s.db, by.ID)
	if err != nil {
		return Session{}, err
	}
	if err := acceptable("newPassword", next, user.Email); err != nil {
		return Session{}, err
	}
	before, err := s.confirm(ctx, from, by, current)
	if err != nil {
		return Session{}, err
	}
	hash, err := s.hashes.hash(ctx, next)
	if err != nil {
		return Session{}, err
	}
	f := s.newSession(by.ID, from)
	if before.secondFactor() {
		f.row.ProvedAt = nil
		if !by.ProvedAt.IsZero() {
			f.row.ProvedAt = &by.ProvedAt
		}
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := swapPassword(ctx, tx, by.ID, before.PasswordHash, hash, s.clock.Now()); err != nil {
			return err
		}
		if err := s.passwordChanged(ctx, tx, by.ID, "password.changed"); err != nil {
			return err
		}
		insertSession(tx, f.row, user.Role, hash)
		return nil
	})
	if changedMeanwhile(err) {
		return Session{}, lockedUp.Because(err)
	}
	if err != nil {
		return Session{}, err
	}
	return s.open(from, user.User, f)
}

// passwordChanged is what follows a new password: all sign-ins end, pending resets are void, and everybody is told.
func (s *Service) passwordChanged(ctx context.Context, tx postgres.Tx, user uuid.UUID, action string) error {
	if err := s.revoke(ctx, tx, user, nil); err != nil {
		return err
	}
	voidLinks(tx, user, []string{reset}, s.now())
	return tell(ctx, tx, event.UserPasswordChanged{UserID: user}, audit.Entry{Actor: user.String(), Action: action, Subject: user})
}
