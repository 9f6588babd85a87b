package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// BeginPasskeyLogin answers what the browser is asked with to sign somebody in, whoever it is.
func (s *Service) BeginPasskeyLogin(ctx context.Context) (PasskeyOptions, error) {
	rp, err := s.relyingParty()
	if err != nil {
		return PasskeyOptions{}, err
	}
	options, data, err := rp.BeginDiscoverableLogin()
	if err != nil {
		return PasskeyOptions{}, fmt.Errorf("ask for a passkey: %w", err)
	}
	return s.askKey(ctx, toLogin, token.Caller{}, data, options.Response)
}

// LoginWithPasskey signs in the owner of a passkey, which counts as both factors: he has it, and his device knows him.
// Unauthorized: it is not a passkey of ours, or no answer to what was asked in the last five minutes. Forbidden: the account is suspended.
func (s *Service) LoginWithPasskey(ctx context.Context, from Visitor, credential []byte) (Session, error) {
	answer, err := protocol.ParseCredentialRequestResponseBytes(credential)
	if err != nil {
		return Session{}, passkeyInvalid.Because(err)
	}
	rp, err := s.relyingParty()
	if err != nil {
		return Session{}, err
	}
	data, err := s.asked(ctx, toLogin, token.Caller{}, answer.Response.CollectedClientData.Challenge)
	if errors.Is(err, passkeyInvalid) {
		return Session{}, passkeyAtLogin.Because(err)
	}
	if err != nil {
		return Session{}, err
	}
	owner, err := ownerOfKey(ctx, s.db, answer.RawID)
	if errs.KindOf(err) == errs.NotFound {
		s.logins.WithLabelValues("wrong").Inc()
		return Session{}, passkeyAtLogin.Because(err)
	}
	if err != nil {
		return Session{}, err
	}
	k := owner.keys[0]
	_, used, err := rp.ValidatePasskeyLogin(func([]byte, []byte) (webauthn.User, error) { return owner, nil }, data, answer)
	if err != nil {
		return Session{}, s.loginFailed(ctx, from, owner.ID, detail("factor", factorPasskey), passkeyAtLogin.Because(err))
	}
	if owner.Status != active {
		return Session{}, s.loginRefused(ctx, from, nil, owner.ID, detail("factor", factorPasskey))
	}
	f := s.newSession(owner.ID, from)
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := s.useKey(ctx, tx, k, used, passkeyAtLogin); err != nil {
			return err
		}
		return signedIn(ctx, tx, f, owner.Role, "", detail("passkey", k.ID.String()))
	})
	switch {
	case errors.Is(err, errCloned):
		s.logins.WithLabelValues("wrong").Inc()
		return Session{}, s.cloned(ctx, from, k, passkeyAtLogin)
	case changedMeanwhile(err):
		return Session{}, lockedUp.Because(err)
	case err != nil:
		return Session{}, err
	}
	s.logins.WithLabelValues("ok").Inc()
	return s.open(from, owner.User, f)
}

// useKey notes in tx that a passkey was used. errCloned: its counter did not move on; a counter that stays 0 does not count.
func (s *Service) useKey(ctx context.Context, tx postgres.Tx, k passkeyRow, used *webauthn.Credential, refused *errs.Error) error {
	if used.Authenticator.CloneWarning {
		return refused.Because(errCloned)
	}
	moved, err := usePasskey(ctx, tx, k.ID, int64(used.Authenticator.SignCount), s.now())
	if err == nil && !moved {
		// It was used or removed since it was read.
		err = refused.Because(errCloned)
	}
	return err
}

// BeginStepUp answers what the browser is asked with to prove once more that it is the caller. Conflict: he has no passkey.
func (s *Service) BeginStepUp(ctx context.Context, by token.Caller) (PasskeyOptions, error) {
	owner, err := s.keyOwner(ctx, by.ID)
	if err != nil {
		return PasskeyOptions{}, err
	}
	if len(owner.keys) == 0 {
		return PasskeyOptions{}, errs.Coded(errs.Conflict, "passkey_absent", "There is no passkey on this account.")
	}
	rp, err := s.relyingParty()
	if err != nil {
		return PasskeyOptions{}, err
	}
	options, data, err := rp.BeginLogin(owner)
	if err != nil {
		return PasskeyOptions{}, fmt.Errorf("ask for a passkey: %w", err)
	}
	return s.askKey(ctx, toStepUp, by, data, options.Response)
}

// stepUpByKey is a step-up with a passkey, in an attempt that m counts.
func (s *Service) stepUpByKey(ctx context.Context, from Visitor, by token.Caller, user credentials, m meter, credential []byte) (Session, error) {
	refused := func(err error) error {
		return s.wrongly(ctx, from, by, "passkey.wrong", passkeyRefused.Because(err))
	}
	answer, err := protocol.ParseCredentialRequestResponseBytes(credential)
	if err != nil {
		return Session{}, refused(err)
	}
	rp, err := s.relyingParty()
	if err != nil {
		return Session{}, err
	}
	data, err := s.asked(ctx, toStepUp, by, answer.Response.CollectedClientData.Challenge)
	if errors.Is(err, passkeyInvalid) {
		return Session{}, refused(err)
	}
	if err != nil {
		return Session{}, err
	}
	keys, err := passkeyRows(ctx, s.db, by.ID)
	if err != nil {
		return Session{}, err
	}
	owner := keyOwner{user.Account, keys}
	used, err := rp.ValidateLogin(owner, data, answer)
	if err != nil {
		return Session{}, refused(err)
	}
	k, ok := owner.key(answer.RawID)
	if !ok {
		return Session{}, refused(noPasskey)
	}
	out, err := s.proved(ctx, from, by, m, func(tx postgres.Tx) (string, error) { return factorPasskey, s.useKey(ctx, tx, k, used, passkeyRefused) })
	if errors.Is(err, errCloned) {
		return Session{}, s.cloned(ctx, from, k, passkeyRefused)
	}
	return out, err
}

func (o keyOwner) key(credentialID []byte) (passkeyRow, bool) {
	i := slices.IndexFunc(o.keys, func(k passkeyRow) bool { return bytes.Equal(k.CredentialID, credentialID) })
	if i < 0 {
		return passkeyRow{}, false
	}
	return o.keys[i], true
}
