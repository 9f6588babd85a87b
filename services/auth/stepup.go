package auth

import (
	"context"
	"errors"

	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Proof is what a person shows to prove who he is: one of these.
type Proof struct {
	Password   string
	Code       string // of the authenticator app, or a recovery code
	Credential []byte // JSON: an authenticator's answer to BeginStepUp
}

var secondFactorRequired = errs.Coded(errs.Forbidden, "second_factor_required", "The password alone is not enough for this account. Use your authenticator app, a recovery code or a passkey.")

// StepUp proves once more who the caller is and answers an access token of the same sign-in that says so. Where there is a second factor, it is
// the second factor that counts. Wrong proofs count as five in fifteen minutes of a known device do, by sign-in.
// Forbidden: the proof is wrong, or a second factor is wanted. Unauthorized: the sign-in has ended. Invalid: not one proof. TooMany: too many attempts.
func (s *Service) StepUp(ctx context.Context, from Visitor, by token.Caller, p Proof) (Session, error) {
	shown := 0
	for _, is := range []bool{p.Password != "", p.Code != "", len(p.Credential) > 0} {
		if is {
			shown++
		}
	}
	if shown != 1 {
		return Session{}, errs.Field("password", "or totp or credential: exactly one of them")
	}
	if err := keepable("password", p.Password); err != nil {
		return Session{}, err
	}
	user, m, err := s.attempted(ctx, from, by)
	if err != nil {
		return Session{}, err
	}
	if p.Code != "" {
		return s.stepUpByCode(ctx, from, by, user, m, p.Code)
	}
	if len(p.Credential) > 0 {
		return s.stepUpByKey(ctx, from, by, user, m, p.Credential)
	}
	if user.secondFactor() {
		s.forgiven(ctx, m)
		return Session{}, secondFactorRequired
	}
	if err := s.rightPassword(ctx, from, by, user, m, p.Password); err != nil {
		return Session{}, err
	}
	return s.proved(ctx, from, by, m, func(postgres.Tx) (string, error) { return "password", nil })
}

func (s *Service) stepUpByCode(ctx context.Context, from Visitor, by token.Caller, user credentials, m meter, code string) (Session, error) {
	what, ok, err := s.spendable(user, code)
	if err != nil {
		return Session{}, err
	}
	var out Session
	if ok {
		out, err = s.proved(ctx, from, by, m, func(tx postgres.Tx) (string, error) { return s.spend(ctx, tx, by.ID, what, wrongCode) })
	}
	if !ok || errors.Is(err, wrongCode) {
		return Session{}, s.wrongly(ctx, from, by, "code.wrong", wrongCode)
	}
	return out, err
}

// proved notes the proof that use made of the caller in his sign-in, and answers an access token that says so.
func (s *Service) proved(ctx context.Context, from Visitor, by token.Caller, m meter, use func(postgres.Tx) (string, error)) (Session, error) {
	var who holder
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		m.forgive(tx)
		kind, err := use(tx)
		if err != nil {
			return err
		}
		if who, err = proveSession(ctx, tx, by.ID, by.Session, s.now()); err != nil {
			return err
		}
		return audit.Add(ctx, tx, audit.Entry{Action: "session.proved", Subject: by.ID, Detail: map[string]string{"session": by.Session.String(), "by": kind, "ip": from.IP.String()}})
	})
	if errs.KindOf(err) == errs.NotFound {
		return Session{}, signInAgain
	}
	if err != nil {
		return Session{}, err
	}
	return s.access(from, who, by.Session)
}
