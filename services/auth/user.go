package auth

import (
	"context"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/text"
	"tulifo/platform/token"
)

const (
	active    = "active"
	suspended = "suspended"
)

// User is an account as its owner sees it.
type User struct {
	ID            uuid.UUID `json:"id"`
	Email         string    `json:"email"`
	Name          string    `json:"name"`
	Role          string    `json:"role"`
	EmailVerified bool      `json:"emailVerified"`
	CreatedAt     time.Time `json:"createdAt"`
}

// Account is a user as other services see it.
type Account struct {
	User
	Status string `json:"status"` // active, suspended, leaving or deleted
}

// credentials are an account with what is compared with at sign-in, which never leaves this package.
type credentials struct {
	Account
	PasswordHash string
	TOTPSecret   []byte // sealed; nil: no authenticator app
	TOTPStep     int64  // the latest that was used
	HasPasskey   bool
}

// newUser is an account to be made.
type newUser struct {
	Account
	hash string
	link link // that verifies the address; zero when it is verified already
}

var mailbox = regexp.MustCompile(`^[A-Za-z0-9.!#$%&'*+/=?^_{|}~` + "`" + `-]{1,64}@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// address is an e-mail address as it is kept. It is ASCII only, so that two that look alike are alike.
func address(field, email string) (string, error) {
	email = strings.TrimSpace(email)
	if len(email) > 254 || !mailbox.MatchString(email) {
		return "", errs.Field(field, "must be an e-mail address, such as ada@example.com")
	}
	return email, nil
}

// line is a text of one line, without the spaces around it.
func line(field, sent string, most int) (string, error) {
	s, shows := text.Line(sent)
	if !shows || s == "" || utf8.RuneCountInString(s) > most {
		return "", errs.Field(field, "must be one line of readable text")
	}
	return s, nil
}

// called is a name to be addressed by.
func called(field, sent string) (string, error) {
	name, err := line(field, sent, 120)
	if err == nil && !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
		err = errs.Field(field, "must have a letter")
	}
	return name, err
}

func (s *Service) account(email, name, role string, verified bool) (Account, error) {
	email, err := address("email", email)
	if err != nil {
		return Account{}, err
	}
	if name, err = called("name", name); err != nil {
		return Account{}, err
	}
	return Account{User{uuid.Must(uuid.NewV7()), email, name, role, verified, s.clock.Now()}, active}, nil
}

var taken = errs.Coded(errs.Conflict, "email_taken", "There is an account with this e-mail address. Sign in, or set a new password.").With("email", "has an account already")

// Register makes the account of a worker or a client and signs it in; a mail asks to verify the address.
// Conflict: the address has an account. Invalid: address, name or password are not acceptable. TooMany: too many passwords are being hashed.
func (s *Service) Register(ctx context.Context, from Visitor, email, name, role, password string) (Session, error) {
	if role != token.Worker && role != token.Client {
		return Session{}, errs.Field("role", "must be worker or client")
	}
	a, err := s.account(email, name, role, false)
	if err != nil {
		return Session{}, err
	}
	if err := acceptable("password", password, a.Email); err != nil {
		return Session{}, err
	}
	if known, err := hasAccount(ctx, s.db, a.Email); err != nil || known {
		return Session{}, orErr(err, taken)
	}
	hash, err := s.hashes.hash(ctx, password)
	if err != nil {
		return Session{}, err
	}
	u := newUser{a, hash, s.newLink(a.ID, verify, a.Email)}
	fresh := s.newSession(a.ID, from)
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := s.create(ctx, tx, a.ID.String(), u); err != nil {
			return err
		}
		insertSession(tx, fresh.row, u.Role, u.hash)
		return nil
	})
	if err != nil {
		return Session{}, known(err)
	}
	return s.open(from, a.User, fresh)
}

// create is how every account is made: the row, its link, its event and its audit row.
func (s *Service) create(ctx context.Context, tx postgres.Tx, by string, u newUser) error {
	insertUser(tx, u)
	if u.link.ID != uuid.Nil {
		insertLink(tx, u.link)
	}
	e := event.UserCreated{UserID: u.ID, Email: u.Email, Name: u.Name, Role: u.Role, Verified: u.EmailVerified, LinkID: u.link.ID}
	return tell(outbox.WithClock(ctx, s.clock), tx, e, audit.Entry{Actor: by, Action: "user.created", Subject: u.ID, Detail: map[string]string{"role": u.Role}})
}

const operator = "operator" // who acts from the command line

// CreateAdmin makes an account for an admin or a support person, whose address counts as verified. It is for an operator's command only.
// Conflict: the address has an account. Invalid: role, address, name or password are not acceptable.
func (s *Service) CreateAdmin(ctx context.Context, email, name, role, password string) (User, error) {
	if role != token.Admin && role != token.Support {
		return User{}, errs.Field("role", "must be admin or support")
	}
	a, err := s.account(email, name, role, true)
	if err != nil {
		return User{}, err
	}
	if err := acceptable("password", password, a.Email); err != nil {
		return User{}, err
	}
	hash, err := s.hashes.hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		return s.create(ctx, tx, operator, newUser{Account: a, hash: hash})
	})
	return a.User, known(err)
}

// SeedUser is an account of a demo.
type SeedUser struct {
	ID                uuid.UUID
	Email, Name, Role string
	Verified          bool
}

// Hash is the bcrypt hash of a password, for Seed. Invalid: it is not acceptable.
func (s *Service) Hash(ctx context.Context, password string) (string, error) {
	if err := acceptable("password", password, ""); err != nil {
		return "", err
	}
	return s.hashes.hash(ctx, password)
}

// Seed makes the accounts of a demo, all with one password's hash, at the business clock's time. No mail asks them to verify their address.
// Conflict: there are accounts already.
func (s *Service) Seed(ctx context.Context, users []SeedUser, hash string) error {
	taken, err := hasUsers(ctx, s.db)
	if err != nil {
		return err
	}
	if taken {
		return errs.New(errs.Conflict, "There are accounts already.")
	}
	for len(users) > 0 {
		step := users[:min(len(users), 200)]
		users = users[len(step):]
		err := s.db.InTx(ctx, func(tx postgres.Tx) error {
			for _, u := range step {
				a := Account{User{u.ID, u.Email, u.Name, u.Role, u.Verified, s.clock.Now()}, active}
				if err := s.create(ctx, tx, operator, newUser{Account: a, hash: hash}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return known(err)
		}
	}
	return nil
}

// Me is the caller's own account.
func (s *Service) Me(ctx context.Context, by token.Caller) (User, error) {
	a, err := account(ctx, s.db, by.ID)
	return a.User, err
}

// Account is anybody's account, for other services. NotFound: there is none.
func (s *Service) Account(ctx context.Context, id uuid.UUID) (Account, error) {
	return account(ctx, s.db, id)
}

// Suspend keeps the user from signing in and ends all sign-ins at once. Suspending a suspended user changes nothing. by is the admin, when known.
// Conflict (last_admin): nobody would be left to end it.
func (s *Service) Suspend(ctx context.Context, by string, id uuid.UUID, reason string) (Account, error) {
	reason, err := line("reason", reason, 500)
	if err != nil {
		return Account{}, err
	}
	return s.turn(ctx, by, id, suspended, reason, event.UserSuspended{UserID: id, Reason: reason})
}

// Reinstate ends a suspension; the user signs in again. Reinstating an active user changes nothing.
func (s *Service) Reinstate(ctx context.Context, by string, id uuid.UUID) (Account, error) {
	return s.turn(ctx, by, id, active, "", event.UserReinstated{UserID: id})
}

func (s *Service) turn(ctx context.Context, by string, id uuid.UUID, status, reason string, e outbox.Event) (Account, error) {
	var a Account
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		if status == suspended {
			if err := anotherAdmin(ctx, tx, id); err != nil {
				return err
			}
		}
		moved, err := setStatus(ctx, tx, id, status, s.clock.Now())
		if errs.KindOf(err) == errs.NotFound {
			a, err = account(ctx, tx, id)
			return err
		}
		if err != nil {
			return err
		}
		a = moved
		if status == suspended {
			if err := s.revoke(ctx, tx, id, nil); err != nil {
				return err
			}
		}
		return tell(ctx, tx, e, audit.Entry{Actor: by, Action: e.Type(), Subject: id, Detail: detail("reason", reason)})
	})
	return a, err
}

// ChangeRole gives the user another role and ends all sign-ins at once. It is for an operator's command only. NotFound: there is no such user.
// Conflict (last_admin): no administrator would be left.
func (s *Service) ChangeRole(ctx context.Context, id uuid.UUID, role string) error {
	switch role {
	case token.Worker, token.Client, token.Admin, token.Support:
	default:
		return errs.Field("role", "must be worker, client, admin or support")
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		if role != token.Admin {
			if err := anotherAdmin(ctx, tx, id); err != nil {
				return err
			}
		}
		was, err := setRole(ctx, tx, id, role, s.clock.Now())
		if err != nil || was == role {
			return err
		}
		if err := s.revoke(ctx, tx, id, nil); err != nil {
			return err
		}
		return tell(ctx, tx, event.UserRoleChanged{UserID: id, Role: role},
			audit.Entry{Actor: operator, Action: "user.role_changed", Subject: id, Detail: map[string]string{"from": was, "to": role}})
	})
}

// known puts a person's words in place of the constraint that stopped a statement.
func known(err error) error {
	if postgres.Violates(err, "users_email_key") {
		return taken.Because(err)
	}
	return err
}

func orErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// tell tells of what was done to the user who is row's subject, and leaves the row.
func tell(ctx context.Context, tx postgres.Tx, e outbox.Event, row audit.Entry) error {
	if err := outbox.Add(ctx, tx, row.Subject, e); err != nil {
		return err
	}
	return audit.Add(ctx, tx, row)
}

// detail is an audit row's detail of one thing, none when it is empty.
func detail(name, value string) map[string]string {
	if value == "" {
		return nil
	}
	return map[string]string{name: value}
}
