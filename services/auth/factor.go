package auth

import (
	"context"
	"errors"
	"strings"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// The kinds of a second factor.
const (
	factorTOTP    = "totp"
	factorPasskey = "passkey"
)

var (
	totpRequired = errs.Coded(errs.Unauthorized, "totp_required", "Enter the code that your authenticator app shows, or one of your recovery codes.")
	wrongAtLogin = errs.Coded(errs.Unauthorized, "wrong_code", "The code is not right, or has been used already.")
	wrongCode    = errs.Coded(errs.Forbidden, "wrong_code", "The code is not right, or has been used already.")
	noTOTP       = errs.Coded(errs.Conflict, "totp_absent", "There is no authenticator app on this account.")
)

// secondFactor says whether the account has one, so that the password alone is no proof.
func (c credentials) secondFactor() bool { return c.TOTPSecret != nil || c.HasPasskey }

// spending is what a code that somebody typed would use up: a step of the authenticator app, or a recovery code.
type spending struct {
	step     int64
	recovery []byte
}

// spendable reads a code: what the app shows, or a recovery code, which is only known to be one when it is spent.
func (s *Service) spendable(user credentials, code string) (spending, bool, error) {
	if user.TOTPSecret == nil {
		return spending{}, false, nil
	}
	if !sixDigits(code) {
		hash, ok := recoveryHash(code)
		return spending{recovery: hash}, ok, nil
	}
	secret, err := s.unseal(user.ID, user.TOTPSecret)
	if err != nil {
		return spending{}, false, err
	}
	step, ok, err := stepOf(secret, code, user.TOTPStep, s.now())
	return spending{step: step}, ok, err
}

// spend uses the code up in tx and answers what it was; refused when it was used before, also just now by somebody else.
func (s *Service) spend(ctx context.Context, tx postgres.Tx, user uuid.UUID, what spending, refused error) (kind string, err error) {
	if what.recovery == nil {
		used, err := useStep(ctx, tx, user, what.step)
		if err == nil && !used {
			err = refused
		}
		return factorTOTP, err
	}
	kind = "recovery code"
	used, left, err := useRecoveryCode(ctx, tx, user, what.recovery)
	if err == nil && !used {
		err = refused
	}
	if err != nil {
		return kind, err
	}
	return kind, tell(ctx, tx, event.UserRecoveryCodeUsed{UserID: user, Left: left}, audit.Entry{Actor: user.String(), Action: "recovery_code.used", Subject: user})
}

// attempted counts an attempt of the caller's to prove who he is, five in fifteen minutes by sign-in as of a known device, and answers his account.
// Sign-ins that were never proved share ten, as unknown devices do: who has the first factor alone can make as many of them as he likes.
// Unauthorized: the sign-in has ended. TooMany: too many attempts.
func (s *Service) attempted(ctx context.Context, from Visitor, by token.Caller) (credentials, meter, error) {
	m := meter{
		ip: counter("login ip", network(from.IP)), ipMax: s.cfg.IPFailures, window: window,
		account: counter("confirm", by.ID.String()+by.Session.String()), accountMax: s.cfg.DeviceFailures,
	}
	if by.ProvedAt.IsZero() {
		m.account, m.accountMax = counter("confirm others", by.ID.String()), s.cfg.OthersFailures
	}
	user, full, err := attemptByID(ctx, s.db, m, by.ID, s.now())
	if err != nil {
		return credentials{}, m, err
	}
	if err := m.refusal(full, s.now()); err != nil {
		return credentials{}, m, err
	}
	if user.Status != active {
		return credentials{}, m, signInAgain
	}
	return user, m, nil
}

// wrongly leaves an audit row of a proof that was wrong, and answers refused.
func (s *Service) wrongly(ctx context.Context, from Visitor, by token.Caller, action string, refused error) error {
	return orErr(s.note(ctx, nil, audit.Entry{Action: action, Subject: by.ID, Detail: from.seen(nil)}), refused)
}

// withCode runs fn in the transaction that uses up the caller's code, which is counted as an attempt.
// Forbidden: the code is not right. Conflict: there is no authenticator app. TooMany: too many attempts.
func (s *Service) withCode(ctx context.Context, from Visitor, by token.Caller, code string, fn func(postgres.Tx) error) error {
	user, m, err := s.attempted(ctx, from, by)
	if err != nil {
		return err
	}
	if user.TOTPSecret == nil {
		s.forgiven(ctx, m)
		return noTOTP
	}
	what, ok, err := s.spendable(user, code)
	if err != nil {
		return err
	}
	if ok {
		err = s.db.InTx(ctx, func(tx postgres.Tx) error {
			m.forgive(tx)
			if _, err := s.spend(ctx, tx, by.ID, what, wrongCode); err != nil {
				return err
			}
			return fn(tx)
		})
	}
	if !ok || errors.Is(err, wrongCode) {
		return s.wrongly(ctx, from, by, "code.wrong", wrongCode)
	}
	return err
}

// factorAdded tells the owner of a factor that is in force from now on.
func factorAdded(ctx context.Context, tx postgres.Tx, user uuid.UUID, kind, name string) error {
	return tell(ctx, tx, event.UserFactorAdded{UserID: user, Factor: kind, Name: name},
		audit.Entry{Action: kind + ".added", Subject: user, Detail: detail("name", name)})
}

func factorRemoved(ctx context.Context, tx postgres.Tx, user uuid.UUID, kind, name string) error {
	return tell(ctx, tx, event.UserFactorRemoved{UserID: user, Factor: kind, Name: name},
		audit.Entry{Action: kind + ".removed", Subject: user, Detail: detail("name", name)})
}

// dropFactors deletes, with COMMIT, all second factors of a user who goes.
func dropFactors(tx postgres.Tx, user uuid.UUID) {
	for _, table := range []string{"totps", "recovery_codes", "passkeys", "challenges"} {
		tx.Later(`DELETE FROM `+table+` WHERE user_id = $1`, user)
	}
}

func sixDigits(code string) bool {
	return len(code) == 6 && strings.Trim(code, "0123456789") == ""
}

// recoveryHash is what is kept of a recovery code, however it is spaced and cased.
func recoveryHash(code string) ([]byte, bool) {
	code = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
	if len(code) != recoverySize || strings.Trim(code, base32Digits) != "" {
		return nil, false
	}
	return atRest(code), true
}
