package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"

	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	maxPasskeys   = 20 // an account
	challengeLife = 5 * time.Minute
)

// What a challenge is for. It is good for that alone, once, and for nobody but the sign-in that asked for it.
const (
	toRegister = "register"
	toLogin    = "login"
	toStepUp   = "step_up"
)

var (
	passkeyTaken   = errs.Coded(errs.Conflict, "passkey_taken", "This passkey is in use already.")
	passkeysFull   = errs.Coded(errs.Conflict, "passkeys_full", "There are twenty passkeys on this account. Remove one first.")
	noPasskeysHere = errs.Coded(errs.Conflict, "passkeys_unavailable", "Passkeys need a host name, and this site has none.")
	passkeyInvalid = errs.Field("credential", "is not an answer to what was asked just before")
	passkeyAtLogin = errs.Coded(errs.Unauthorized, "passkey_refused", "This passkey could not be used. Try again, or sign in another way.")
	passkeyRefused = errs.Coded(errs.Forbidden, "passkey_refused", "This passkey could not be used. Try again, or prove who you are another way.")
	noPasskey      = errs.New(errs.NotFound, "There is no such passkey.")

	errCloned = errors.New("the passkey's counter did not move on, as if there were a copy of it")
)

// Passkey is a passkey as its owner sees it.
type Passkey struct {
	ID         uuid.UUID  `json:"id"`
	Name       string     `json:"name"`
	Synced     bool       `json:"synced" doc:"it may be on several devices"`
	CreatedAt  time.Time  `json:"createdAt"`
	LastUsedAt *time.Time `json:"lastUsedAt,omitempty"`
}

// PasskeyOptions are what the browser is asked with.
type PasskeyOptions struct {
	PublicKey json.RawMessage `json:"publicKey" doc:"for navigator.credentials.create or get, as PublicKeyCredential.parse…FromJSON reads it"`
}

// relyingParty is this site as passkeys know it: host and origin come from PUBLIC_URL and from nowhere else. Conflict: the host is an IP address.
func (s *Service) relyingParty() (*webauthn.WebAuthn, error) {
	u, err := url.Parse(s.cfg.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("read PUBLIC_URL: %w", err)
	}
	asked := webauthn.TimeoutConfig{Timeout: challengeLife, TimeoutUVD: challengeLife}
	rp, err := webauthn.New(&webauthn.Config{
		RPID: u.Hostname(), RPDisplayName: "Tulifo", RPOrigins: []string{s.cfg.PublicURL},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(), UserVerification: protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: asked, Registration: asked},
		// Password managers add outputs that nobody asked for; nothing here reads any.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil, noPasskeysHere.Because(err)
	}
	return rp, nil
}

// keyOwner is an account with its passkeys, as the library asks for it.
type keyOwner struct {
	Account
	keys []passkeyRow
}

func (o keyOwner) WebAuthnID() []byte          { return o.ID[:] }
func (o keyOwner) WebAuthnName() string        { return o.Email }
func (o keyOwner) WebAuthnDisplayName() string { return o.Name }
func (o keyOwner) WebAuthnCredentials() []webauthn.Credential {
	out := make([]webauthn.Credential, len(o.keys))
	for i, k := range o.keys {
		transports := make([]protocol.AuthenticatorTransport, len(k.Transports))
		for j, t := range k.Transports {
			transports[j] = protocol.AuthenticatorTransport(t)
		}
		out[i] = webauthn.Credential{
			ID: k.CredentialID, PublicKey: k.PublicKey, Transport: transports, Flags: webauthn.CredentialFlags{BackupEligible: k.BackupEligible},
			Authenticator: webauthn.Authenticator{SignCount: uint32(k.SignCount)},
		}
	}
	return out
}

func (s *Service) keyOwner(ctx context.Context, user uuid.UUID) (keyOwner, error) {
	a, err := account(ctx, s.db, user)
	if err != nil {
		return keyOwner{}, err
	}
	keys, err := passkeyRows(ctx, s.db, user)
	return keyOwner{a, keys}, err
}

// askKey keeps a challenge for the sign-in that asks for it, and answers what the browser is asked with.
func (s *Service) askKey(ctx context.Context, purpose string, by token.Caller, data *webauthn.SessionData, options any) (PasskeyOptions, error) {
	kept, err := json.Marshal(data)
	if err != nil {
		return PasskeyOptions{}, fmt.Errorf("keep a challenge: %w", err)
	}
	raw, err := json.Marshal(options)
	if err != nil {
		return PasskeyOptions{}, fmt.Errorf("ask for a passkey: %w", err)
	}
	return PasskeyOptions{raw}, insertChallenge(ctx, s.db, atRest(data.Challenge), purpose, by.ID, by.Session, kept, s.now().Add(challengeLife))
}

// asked uses up the challenge that an answer says it answers. passkeyInvalid: it is none of this purpose and sign-in, was used, or is over.
func (s *Service) asked(ctx context.Context, purpose string, by token.Caller, challenge string) (webauthn.SessionData, error) {
	raw, err := takeChallenge(ctx, s.db, atRest(challenge), purpose, by.ID, by.Session, s.now())
	if errs.KindOf(err) == errs.NotFound {
		return webauthn.SessionData{}, passkeyInvalid
	}
	if err != nil {
		return webauthn.SessionData{}, err
	}
	var data webauthn.SessionData
	if err := json.Unmarshal(raw, &data); err != nil {
		return webauthn.SessionData{}, fmt.Errorf("read a challenge: %w", err)
	}
	return data, nil
}

// BeginPasskey answers what the browser is asked with to make a passkey. Forbidden: the address is not verified, so that the account may be
// somebody else's. Conflict: there are too many passkeys.
func (s *Service) BeginPasskey(ctx context.Context, by token.Caller) (PasskeyOptions, error) {
	owner, err := s.keyOwner(ctx, by.ID)
	switch {
	case err != nil:
		return PasskeyOptions{}, err
	case !owner.EmailVerified:
		return PasskeyOptions{}, unverified
	case len(owner.keys) >= maxPasskeys:
		return PasskeyOptions{}, passkeysFull
	}
	rp, err := s.relyingParty()
	if err != nil {
		return PasskeyOptions{}, err
	}
	options, data, err := rp.BeginRegistration(owner, webauthn.WithExclusions(webauthn.Credentials(owner.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return PasskeyOptions{}, fmt.Errorf("ask for a new passkey: %w", err)
	}
	return s.askKey(ctx, toRegister, by, data, options.Response)
}

// AddPasskey keeps the passkey that the browser made. Invalid: it is no answer to what this sign-in was asked in the last five minutes, or the
// name is not one. Conflict: the passkey is in use, or there are too many.
func (s *Service) AddPasskey(ctx context.Context, by token.Caller, name string, credential []byte) (Passkey, error) {
	name, err := line("name", name, 60)
	if err != nil {
		return Passkey{}, err
	}
	answer, err := protocol.ParseCredentialCreationResponseBytes(credential)
	if err != nil {
		return Passkey{}, passkeyInvalid.Because(err)
	}
	data, err := s.asked(ctx, toRegister, by, answer.Response.CollectedClientData.Challenge)
	if err != nil {
		return Passkey{}, err
	}
	rp, err := s.relyingParty()
	if err != nil {
		return Passkey{}, err
	}
	made, err := rp.CreateCredential(keyOwner{Account: Account{User: User{ID: by.ID}}}, data, answer)
	if err != nil {
		return Passkey{}, passkeyInvalid.Because(err)
	}
	k := passkeyRow{
		ID: uuid.Must(uuid.NewV7()), UserID: by.ID, Name: name, CredentialID: made.ID, PublicKey: made.PublicKey,
		SignCount: int64(made.Authenticator.SignCount), BackupEligible: made.Flags.BackupEligible, Transports: []string{}, CreatedAt: s.now(),
	}
	for _, t := range made.Transport {
		k.Transports = append(k.Transports, string(t))
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		// The lock keeps two at once from passing the limit together.
		if a, err := lockUser(ctx, tx, by.ID); err != nil || a.Status != active {
			return orErr(err, signInAgain)
		}
		if n, err := countPasskeys(ctx, tx, by.ID); err != nil || n >= maxPasskeys {
			return orErr(err, passkeysFull)
		}
		insertPasskey(tx, k)
		return factorAdded(ctx, tx, by.ID, factorPasskey, name)
	})
	if postgres.Violates(err, "passkeys_credential") {
		return Passkey{}, passkeyTaken.Because(err)
	}
	return k.shown(), err
}

// Passkeys are the caller's, the oldest first.
func (s *Service) Passkeys(ctx context.Context, by token.Caller) ([]Passkey, error) {
	rows, err := passkeyRows(ctx, s.db, by.ID)
	out := make([]Passkey, len(rows))
	for i, k := range rows {
		out[i] = k.shown()
	}
	return out, err
}

// RenamePasskey gives a passkey of the caller's another name. NotFound: it is not his.
func (s *Service) RenamePasskey(ctx context.Context, by token.Caller, id uuid.UUID, name string) (Passkey, error) {
	name, err := line("name", name, 60)
	if err != nil {
		return Passkey{}, err
	}
	k, err := renamePasskey(ctx, s.db, by.ID, id, name)
	if errs.KindOf(err) == errs.NotFound {
		err = noPasskey
	}
	return k.shown(), err
}

// RemovePasskey takes a passkey off the account. NotFound: it is not the caller's. Conflict: he has no other way to sign in.
func (s *Service) RemovePasskey(ctx context.Context, by token.Caller, id uuid.UUID) error {
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		// The lock keeps two who remove two ways at once from removing both.
		if _, err := lockUser(ctx, tx, by.ID); err != nil {
			return err
		}
		name, err := deletePasskey(ctx, tx, by.ID, id)
		if errs.KindOf(err) == errs.NotFound {
			return noPasskey
		}
		if err != nil {
			return err
		}
		if left, err := waysIn(ctx, tx, by.ID); err != nil || left == 0 {
			return orErr(err, lastWay)
		}
		return factorRemoved(ctx, tx, by.ID, factorPasskey, name)
	})
}

// shown is the passkey as its owner sees it.
func (k passkeyRow) shown() Passkey {
	return Passkey{k.ID, k.Name, k.BackupEligible, k.CreatedAt, k.LastUsedAt}
}

// cloned leaves an audit row of a passkey that may have been copied, and answers refused.
func (s *Service) cloned(ctx context.Context, from Visitor, k passkeyRow, refused *errs.Error) error {
	row := audit.Entry{Actor: "anonymous", Action: "passkey.cloned", Subject: k.UserID, Detail: from.seen(detail("passkey", k.ID.String()))}
	return orErr(s.note(ctx, nil, row), refused.Because(errCloned))
}
