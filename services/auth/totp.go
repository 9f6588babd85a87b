package auth

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"image/png"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"tulifo/event"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	period        = 30 * time.Second // of a code, RFC 6238
	recoveryCodes = 10
	recoverySize  = 16 // base32 digits: 80 bits, which no one tries through however fast the hash
	base32Digits  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
)

var totpActive = errs.Coded(errs.Conflict, "totp_active", "There is an authenticator app on this account already. Remove it first.")

// TOTPSetup is what an authenticator app is set up with. It is shown once.
type TOTPSetup struct {
	Secret string `json:"secret" doc:"to be typed, in base32"`
	URI    string `json:"uri" doc:"otpauth://…, to be opened"`
	QR     string `json:"qr" doc:"the URI as a QR code: a PNG in a data URI"`
}

// TOTPState says whether codes are asked for at sign-in.
type TOTPState struct {
	Active        bool       `json:"active"`
	Since         *time.Time `json:"since,omitempty"`
	RecoveryCodes int        `json:"recoveryCodes" doc:"how many are left"`
}

// RecoveryCodes are shown once; each is good once in place of a code of the app.
type RecoveryCodes struct {
	Codes []string `json:"recoveryCodes"`
}

// BeginTOTP makes a secret for an authenticator app, in place of one that was not confirmed. Nothing is asked for until it is.
// Forbidden: the address is not verified, so that the account may be somebody else's. Conflict: there is an app already.
func (s *Service) BeginTOTP(ctx context.Context, by token.Caller) (TOTPSetup, error) {
	a, err := account(ctx, s.db, by.ID)
	if err != nil {
		return TOTPSetup{}, err
	}
	if !a.EmailVerified {
		return TOTPSetup{}, unverified
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Tulifo", AccountName: a.Email, SecretSize: 20})
	if err != nil {
		return TOTPSetup{}, fmt.Errorf("make a TOTP secret: %w", err)
	}
	sealed, err := s.seal(by.ID, key.Secret())
	if err != nil {
		return TOTPSetup{}, err
	}
	img, err := key.Image(256, 256)
	if err != nil {
		return TOTPSetup{}, fmt.Errorf("draw a QR code: %w", err)
	}
	var drawn bytes.Buffer
	if err := png.Encode(&drawn, img); err != nil {
		return TOTPSetup{}, fmt.Errorf("draw a QR code: %w", err)
	}
	kept, err := keepPending(ctx, s.db, by.ID, sealed, s.now())
	if err == nil && !kept {
		err = totpActive
	}
	return TOTPSetup{key.Secret(), key.URL(), "data:image/png;base64," + base64.StdEncoding.EncodeToString(drawn.Bytes())}, err
}

// ConfirmTOTP puts the app in force, once a code shows that it was set up, and answers ten recovery codes. The code is used up.
// Invalid: the code is not right. Conflict: no secret was asked for, or an app is in force already. TooMany: too many attempts.
func (s *Service) ConfirmTOTP(ctx context.Context, from Visitor, by token.Caller, code string) (RecoveryCodes, error) {
	user, m, err := s.attempted(ctx, from, by)
	if err != nil {
		return RecoveryCodes{}, err
	}
	sealed, err := pendingTOTP(ctx, s.db, by.ID)
	if errs.KindOf(err) == errs.NotFound {
		s.forgiven(ctx, m)
		if user.TOTPSecret != nil {
			return RecoveryCodes{}, totpActive
		}
		return RecoveryCodes{}, errs.New(errs.Conflict, "Set the authenticator app up first.")
	}
	if err != nil {
		return RecoveryCodes{}, err
	}
	secret, err := s.unseal(by.ID, sealed)
	if err != nil {
		return RecoveryCodes{}, err
	}
	step, right, err := stepOf(secret, code, 0, s.now())
	if err != nil {
		return RecoveryCodes{}, err
	}
	if !right {
		return RecoveryCodes{}, s.wrongly(ctx, from, by, "code.wrong", errs.Field("code", "is not what the app shows now"))
	}
	codes, hashes := newRecoveryCodes()
	return RecoveryCodes{codes}, s.db.InTx(ctx, func(tx postgres.Tx) error {
		m.forgive(tx)
		if confirmed, err := confirmTOTP(ctx, tx, by.ID, sealed, step, s.now()); err != nil || !confirmed {
			return orErr(err, changed)
		}
		replaceRecoveryCodes(tx, by.ID, hashes)
		return factorAdded(ctx, tx, by.ID, factorTOTP, "")
	})
}

// RemoveTOTP takes the app off the account, with its recovery codes, for one of its codes or one of them.
// Conflict: there is none. Forbidden: the code is not right. TooMany: too many attempts.
func (s *Service) RemoveTOTP(ctx context.Context, from Visitor, by token.Caller, code string) error {
	return s.withCode(ctx, from, by, code, func(tx postgres.Tx) error {
		if removed, err := deleteTOTP(ctx, tx, by.ID); err != nil || !removed {
			return orErr(err, noTOTP)
		}
		return factorRemoved(ctx, tx, by.ID, factorTOTP, "")
	})
}

// RenewRecoveryCodes answers ten new ones; those from before are no longer good. Conflict: there is no authenticator app.
func (s *Service) RenewRecoveryCodes(ctx context.Context, by token.Caller) (RecoveryCodes, error) {
	codes, hashes := newRecoveryCodes()
	return RecoveryCodes{codes}, s.db.InTx(ctx, func(tx postgres.Tx) error {
		if has, err := lockTOTP(ctx, tx, by.ID); err != nil || !has {
			return orErr(err, noTOTP)
		}
		replaceRecoveryCodes(tx, by.ID, hashes)
		return tell(ctx, tx, event.UserRecoveryCodesRenewed{UserID: by.ID}, audit.Entry{Action: "recovery_codes.renewed", Subject: by.ID})
	})
}

// TOTP says whether the caller has an authenticator app.
func (s *Service) TOTP(ctx context.Context, by token.Caller) (TOTPState, error) {
	return totpState(ctx, s.db, by.ID)
}

// stepOf is the step of the code among the one of now and its two neighbours, unless that one or a later one was used.
func stepOf(secret, code string, last int64, now time.Time) (int64, bool, error) {
	if !sixDigits(code) {
		return 0, false, nil
	}
	current := now.Unix() / int64(period/time.Second)
	for step := max(current-1, last+1); step <= current+1; step++ {
		right, err := hotp.ValidateCustom(code, uint64(step), secret, hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil || right {
			return step, right, err
		}
	}
	return 0, false, nil
}

// newRecoveryCodes are ten codes as they are shown, and as they are kept.
func newRecoveryCodes() (codes []string, hashes [][]byte) {
	for range recoveryCodes {
		c := strings.ToLower(rand.Text()[:recoverySize])
		hash, _ := recoveryHash(c)
		codes = append(codes, c[:4]+"-"+c[4:8]+"-"+c[8:12]+"-"+c[12:])
		hashes = append(hashes, hash)
	}
	return codes, hashes
}

// sealer encrypts secrets that have to be read again, under a key of its own that JWT_REFRESH_SECRET makes.
func (s *Service) sealer() (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(s.cfg.RefreshSecret), nil, "tulifo auth totp secret", 32)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal encrypts a secret for its user: in another one's row it is worth nothing.
func (s *Service) seal(user uuid.UUID, secret string) ([]byte, error) {
	aead, err := s.sealer()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, []byte(secret), user[:]), nil
}

func (s *Service) unseal(user uuid.UUID, sealed []byte) (string, error) {
	aead, err := s.sealer()
	if err != nil {
		return "", err
	}
	secret, err := aead.Open(nil, nil, sealed, user[:])
	if err != nil {
		return "", fmt.Errorf("the TOTP secret of %s is not sealed with this JWT_REFRESH_SECRET: %w", user, err)
	}
	return string(secret), nil
}
