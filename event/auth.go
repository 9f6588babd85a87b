package event

import (
	"time"

	"github.com/google/uuid"
)

// UserCreated says that somebody registered, or was made by an operator.
type UserCreated struct {
	UserID   uuid.UUID `json:"userId"`
	Email    string    `json:"email"`
	Name     string    `json:"name"`
	Role     string    `json:"role"` // worker, client, admin or support
	Verified bool      `json:"verified"`
	LinkID   uuid.UUID `json:"linkId"` // of the link that verifies the e-mail address; nil when it is verified already
}

func (UserCreated) Type() string { return "user.created" }

// UserVerified says that the user's e-mail address is proven to be theirs.
type UserVerified struct {
	UserID uuid.UUID `json:"userId"`
	Email  string    `json:"email"`
}

func (UserVerified) Type() string { return "user.verified" }

// UserEmailChanged says that the user signs in and is written to under another, proven address.
type UserEmailChanged struct {
	UserID   uuid.UUID `json:"userId"`
	Email    string    `json:"email"`
	Previous string    `json:"previous"`
}

func (UserEmailChanged) Type() string { return "user.email_changed" }

// UserPasswordChanged says that the password is another one, by change or by reset.
type UserPasswordChanged struct {
	UserID uuid.UUID `json:"userId"`
}

func (UserPasswordChanged) Type() string { return "user.password_changed" }

// UserFactorAdded says that the user can sign in with another second factor from now on.
type UserFactorAdded struct {
	UserID uuid.UUID `json:"userId"`
	Factor string    `json:"factor"` // totp or passkey
	Name   string    `json:"name"`   // of a passkey
}

func (UserFactorAdded) Type() string { return "user.factor_added" }

// UserFactorRemoved says that a second factor is no longer good.
type UserFactorRemoved struct {
	UserID uuid.UUID `json:"userId"`
	Factor string    `json:"factor"` // totp or passkey
	Name   string    `json:"name"`   // of a passkey
}

func (UserFactorRemoved) Type() string { return "user.factor_removed" }

// UserRecoveryCodeUsed says that a recovery code stood in for the second factor.
type UserRecoveryCodeUsed struct {
	UserID uuid.UUID `json:"userId"`
	Left   int       `json:"left"` // how many codes are left
}

func (UserRecoveryCodeUsed) Type() string { return "user.recovery_code_used" }

// UserRecoveryCodesRenewed says that there are new recovery codes, and that those from before are no longer good.
type UserRecoveryCodesRenewed struct {
	UserID uuid.UUID `json:"userId"`
}

func (UserRecoveryCodesRenewed) Type() string { return "user.recovery_codes_renewed" }

// UserRoleChanged says that the user has another role.
type UserRoleChanged struct {
	UserID uuid.UUID `json:"userId"`
	Role   string    `json:"role"`
}

func (UserRoleChanged) Type() string { return "user.role_changed" }

// UserSuspended says that the user may no longer sign in; all sessions are revoked with it.
type UserSuspended struct {
	UserID uuid.UUID `json:"userId"`
	Reason string    `json:"reason"`
}

func (UserSuspended) Type() string { return "user.suspended" }

// UserReinstated says that a suspension has ended.
type UserReinstated struct {
	UserID uuid.UUID `json:"userId"`
}

func (UserReinstated) Type() string { return "user.reinstated" }

// UserDeleted says that the account is gone; the books about it stay.
type UserDeleted struct {
	UserID uuid.UUID `json:"userId"`
	Email  string    `json:"email"` // that the account had, for the goodbye; nobody keeps it
}

func (UserDeleted) Type() string { return "user.deleted" }

// UserDeletionRefused says that an account that its owner wanted deleted is open again, because something ties him after all.
type UserDeletionRefused struct {
	UserID uuid.UUID `json:"userId"`
	Reason string    `json:"reason"` // sentences for him
}

func (UserDeletionRefused) Type() string { return "user.deletion_refused" }

// SessionRevoked says that access tokens of a session are no longer good. It is broadcast to every process.
type SessionRevoked struct {
	SessionID uuid.UUID `json:"sessionId"`
	UserID    uuid.UUID `json:"userId"`
	Until     time.Time `json:"until"` // system time at which the last such token has expired by itself
}

func (SessionRevoked) Type() string { return "session.revoked" }

// SessionStolen says that a used refresh token came back, so that its whole family was revoked.
type SessionStolen struct {
	SessionID uuid.UUID `json:"sessionId"`
	UserID    uuid.UUID `json:"userId"`
}

func (SessionStolen) Type() string { return "session.stolen" }

// LinkIssued says that a mail with a link is to be sent. The link itself is asked of auth by its id just before sending.
type LinkIssued struct {
	LinkID    uuid.UUID `json:"linkId"`
	UserID    uuid.UUID `json:"userId"`
	Purpose   string    `json:"purpose"` // verify, reset or email
	Email     string    `json:"email"`   // where it is sent
	ExpiresAt time.Time `json:"expiresAt"`
}

func (LinkIssued) Type() string { return "link.issued" }

// UserIdentityAdded says that the user can sign in with an account at a provider from now on.
type UserIdentityAdded struct {
	UserID   uuid.UUID `json:"userId"`
	Provider string    `json:"provider"` // google or github
}

func (UserIdentityAdded) Type() string { return "user.identity_added" }

// UserIdentityRemoved says that the user no longer signs in with that provider.
type UserIdentityRemoved struct {
	UserID   uuid.UUID `json:"userId"`
	Provider string    `json:"provider"` // google or github
}

func (UserIdentityRemoved) Type() string { return "user.identity_removed" }
