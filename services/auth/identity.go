package auth

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Identity is an account at a provider with which its owner signs in here.
type Identity struct {
	Provider   string    `json:"provider"`
	Email      string    `json:"email" doc:"as the provider gave it when it was added"`
	CreatedAt  time.Time `json:"createdAt"`
	LastUsedAt time.Time `json:"lastUsedAt"`
}

var (
	unproven      = errs.Coded(errs.Forbidden, "provider_email_unverified", "The provider does not say that the e-mail address there is yours. Verify it there, or register with a password.")
	notAdded      = errs.Coded(errs.Conflict, "identity_not_linked", "There is an account with this e-mail address. Sign in as you always do, and add this way to sign in there.")
	noAccount     = errs.Coded(errs.Invalid, "role_needed", "There is no account yet. Register as a worker or as a client.").With("role", "is needed to make an account")
	identityTaken = errs.Coded(errs.Conflict, "identity_taken", "That account there belongs to somebody else here already.")
	identityOther = errs.Coded(errs.Conflict, "identity_exists", "Another account with that provider is added already. Remove it first.")
	notIdentified = errs.New(errs.NotFound, "You do not sign in with this provider.")
	lastWay       = errs.Coded(errs.Conflict, "last_sign_in", "This is the only way in which you can sign in. Set a password first.")
	unverified    = errs.Coded(errs.Forbidden, "email_unverified", "Verify your e-mail address first.")
)

// errRaced has a sign-in decided once more: somebody else has changed meanwhile what it was decided on.
var errRaced = errors.New("the account has changed meanwhile")

// signInWith signs in whom a provider has vouched for. Who is known by the provider's name for him gets in, whatever address he has there now. Else his
// address decides, if the provider has proof of it: one that nobody has here gets an account; one of an account that was never verified
// takes it over, as in reclaim; one of a verified account is not let in, for its owner has to add the provider himself.
func (s *Service) signInWith(ctx context.Context, from Visitor, f flow, who person) (Session, error) {
	for range 3 { // others may add the identity or take the address meanwhile
		if out, again, err := s.tryWith(ctx, from, f, who); !again {
			return out, err
		}
	}
	return Session{}, changed
}

func (s *Service) tryWith(ctx context.Context, from Visitor, f flow, who person) (out Session, again bool, err error) {
	a, fresh := Account{}, fresh{}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		var err error
		if a, err = useIdentity(ctx, tx, f.Provider, who.Subject, s.now()); errs.KindOf(err) == errs.NotFound {
			a, err = s.firstTime(ctx, tx, f, who)
		}
		if err != nil {
			return err
		}
		if a.Status != active {
			return lockedUp
		}
		fresh = s.newSession(a.ID, from)
		second, err := hasSecondFactor(ctx, tx, a.ID)
		if err != nil {
			return err
		}
		if second {
			fresh.row.ProvedAt = nil
		}
		return signedIn(ctx, tx, fresh, a.Role, "", detail("provider", f.Provider))
	})
	switch {
	case postgres.Violates(err, "users_email_key"), postgres.Violates(err, "identities_pkey"), postgres.Violates(err, "identities_user"), changedMeanwhile(err), errors.Is(err, errRaced):
		return Session{}, true, err
	case errors.Is(err, lockedUp):
		return Session{}, false, s.loginRefused(ctx, from, nil, a.ID, detail("provider", f.Provider))
	case err != nil:
		return Session{}, false, err
	}
	s.logins.WithLabelValues("ok").Inc()
	out, err = s.open(from, a.User, fresh)
	return out, false, err
}

// firstTime is the account of one whom no identity names yet.
func (s *Service) firstTime(ctx context.Context, tx postgres.Tx, f flow, who person) (Account, error) {
	email, err := address("email", who.Email)
	if err != nil || !who.Verified {
		return Account{}, unproven
	}
	known, err := accountByEmail(ctx, tx, email)
	switch {
	case errs.KindOf(err) == errs.NotFound:
		return s.newcomer(ctx, tx, f, who, email)
	case err != nil:
		return Account{}, err
	case known.EmailVerified:
		// Another sign-in of the same person may have made the account since the identity was looked for.
		a, err := useIdentity(ctx, tx, f.Provider, who.Subject, s.now())
		if errs.KindOf(err) == errs.NotFound {
			err = notAdded
		}
		return a, err
	case known.Status != active:
		return known, lockedUp
	}
	return s.reclaim(ctx, tx, known, f.Provider, who)
}

// newcomer is a new account without a password, whose address counts as verified.
func (s *Service) newcomer(ctx context.Context, tx postgres.Tx, f flow, who person, email string) (Account, error) {
	if f.Role != token.Worker && f.Role != token.Client {
		return Account{}, noAccount
	}
	a, err := s.account(email, nameOf(who, email, f.Role), f.Role, true)
	if err != nil {
		return Account{}, err
	}
	if err := s.create(ctx, tx, a.ID.String(), newUser{Account: a}); err != nil {
		return Account{}, err
	}
	insertIdentity(tx, f.Provider, who, a.ID, s.now())
	return a, nil
}

// nameOf is what to call somebody whom a provider names in a way that can be used, else after his address.
func nameOf(who person, email, role string) string {
	local, _, _ := strings.Cut(email, "@")
	for _, name := range []string{who.Name, local} {
		if n, err := called("name", cut(name, 120)); err == nil {
			return n
		}
	}
	return role
}

func cut(s string, runes int) string {
	if utf8.RuneCountInString(s) > runes {
		return string([]rune(s)[:runes])
	}
	return s
}

// reclaim gives an account whose address was never verified to the one who has proof of the address. Whoever made it may have been somebody else, who
// waits for the owner to come: his password, his sign-ins, his links and all other ways in are gone before the owner gets in.
func (s *Service) reclaim(ctx context.Context, tx postgres.Tx, a Account, provider string, who person) (Account, error) {
	if err := clearUnverified(ctx, tx, a.ID, a.Email, s.clock.Now()); err != nil {
		return Account{}, err
	}
	a.EmailVerified = true
	if err := s.revoke(ctx, tx, a.ID, nil); err != nil {
		return Account{}, err
	}
	dropWaysIn(tx, a.ID)
	voidLinks(tx, a.ID, []string{verify, reset, move}, s.now())
	insertIdentity(tx, provider, who, a.ID, s.now())
	if err := outbox.Add(ctx, tx, a.ID, event.UserVerified{UserID: a.ID, Email: a.Email}); err != nil {
		return Account{}, err
	}
	return a, tell(ctx, tx, event.UserPasswordChanged{UserID: a.ID},
		audit.Entry{Actor: a.ID.String(), Action: "account.reclaimed", Subject: a.ID, Detail: detail("provider", provider)})
}

// link adds a way to sign in to the user's account. Forbidden: his own address is not verified. Conflict: another account has that identity, or this
// one has another with the provider.
func (s *Service) link(ctx context.Context, user uuid.UUID, provider string, who person) error {
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		a, err := lockUser(ctx, tx, user)
		switch {
		case err != nil:
			return err
		case a.Status != active:
			return lockedUp
		case !a.EmailVerified:
			// The address might be somebody else's, whom this would let wait for.
			return unverified
		}
		owner, err := identityOwner(ctx, tx, provider, who.Subject)
		switch {
		case err == nil && owner == user:
			return nil
		case err == nil:
			return identityTaken
		case errs.KindOf(err) != errs.NotFound:
			return err
		}
		insertIdentity(tx, provider, who, user, s.now())
		return tell(ctx, tx, event.UserIdentityAdded{UserID: user, Provider: provider},
			audit.Entry{Actor: user.String(), Action: "identity.added", Subject: user, Detail: detail("provider", provider)})
	})
	switch {
	case postgres.Violates(err, "identities_pkey"):
		return identityTaken.Because(err)
	case postgres.Violates(err, "identities_user"):
		return identityOther.Because(err)
	}
	return err
}

// Identities are the caller's accounts at providers.
func (s *Service) Identities(ctx context.Context, by token.Caller) ([]Identity, error) {
	return identities(ctx, s.db, by.ID)
}

// RemoveIdentity has the caller no longer sign in with a provider. NotFound: he does not. Conflict: he has no other way to sign in.
func (s *Service) RemoveIdentity(ctx context.Context, by token.Caller, provider string) error {
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		// The lock keeps two who remove two ways at once from removing both.
		if _, err := lockUser(ctx, tx, by.ID); err != nil {
			return err
		}
		if gone, err := deleteIdentity(ctx, tx, by.ID, provider); err != nil || !gone {
			return orErr(err, notIdentified)
		}
		if left, err := waysIn(ctx, tx, by.ID); err != nil || left == 0 {
			return orErr(err, lastWay)
		}
		return tell(ctx, tx, event.UserIdentityRemoved{UserID: by.ID, Provider: provider},
			audit.Entry{Action: "identity.removed", Subject: by.ID, Detail: detail("provider", provider)})
	})
}

// useState marks a flow as used. Conflict: it was before.
func (s *Service) useState(ctx context.Context, f flow) error {
	first, err := useState(ctx, s.db, atRest(f.State), f.Expires)
	if err == nil && !first {
		return stateUsed
	}
	return err
}
