package token

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"tulifo/platform/errs"
)

const (
	issuer   = "tulifo-auth"
	audience = "tulifo"
	// AccessLife is how long an access token is good.
	AccessLife  = 15 * time.Minute
	serviceLife = time.Minute
	cacheLife   = 30 * time.Second
	cacheSize   = 20_000
)

// Config is where the keys come from.
type Config struct {
	Secret         string `env:"JWT_SECRET"`          // HS256; every service can sign
	SecretPrevious string `env:"JWT_SECRET_PREVIOUS"` // still verified, while it is rotated out
	SigningKey     string `env:"JWT_SIGNING_KEY"`     // base64 Ed25519 seed; only auth has it
	VerifyKeys     string `env:"JWT_VERIFY_KEYS"`     // base64 Ed25519 public keys, comma separated
	ServiceSecret  string `env:"SERVICE_SECRET"`      // between services
}

// Keys issues and verifies tokens. Its methods may be called from many goroutines.
type Keys struct {
	method  jwt.SigningMethod
	signing any
	verify  []any
	service []byte
	users   *jwt.Parser

	mu    sync.Mutex
	cache map[[32]byte]cached
}

type cached struct {
	caller Caller
	until  time.Time
}

type claims struct {
	Role     string    `json:"role"`
	Session  uuid.UUID `json:"sid"`
	ProvedAt int64     `json:"auth_time,omitempty"` // unix seconds
	jwt.RegisteredClaims
}

// NewKeys reads the configuration. Its errors say which variable is missing or wrong; a secret is at least 32 bytes.
func NewKeys(c Config) (*Keys, error) {
	k := &Keys{cache: map[[32]byte]cached{}, service: []byte(c.ServiceSecret)}
	if len(c.ServiceSecret) < 32 {
		return nil, errors.New("SERVICE_SECRET must be at least 32 bytes")
	}
	if c.SigningKey == "" && c.VerifyKeys == "" {
		if len(c.Secret) < 32 {
			return nil, errors.New("JWT_SECRET must be at least 32 bytes, or set JWT_SIGNING_KEY and JWT_VERIFY_KEYS")
		}
		k.method, k.signing, k.verify = jwt.SigningMethodHS256, []byte(c.Secret), []any{[]byte(c.Secret)}
		if c.SecretPrevious != "" {
			k.verify = append(k.verify, []byte(c.SecretPrevious))
		}
	} else if err := k.useEd25519(c); err != nil {
		return nil, err
	}
	k.users = jwt.NewParser(jwt.WithValidMethods([]string{k.method.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	return k, nil
}

func (k *Keys) useEd25519(c Config) error {
	k.method = jwt.SigningMethodEdDSA
	if c.SigningKey != "" {
		seed, err := base64.StdEncoding.DecodeString(c.SigningKey)
		if err != nil || len(seed) != ed25519.SeedSize {
			return errors.New("JWT_SIGNING_KEY must be the base64 of 32 bytes, an Ed25519 seed")
		}
		key := ed25519.NewKeyFromSeed(seed)
		k.signing, k.verify = key, append(k.verify, key.Public())
	}
	for s := range strings.SplitSeq(c.VerifyKeys, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return errors.New("JWT_VERIFY_KEYS must be base64 Ed25519 public keys of 32 bytes, comma separated")
		}
		k.verify = append(k.verify, ed25519.PublicKey(raw))
	}
	return nil
}

// Issue signs an access token of AccessLife for a user who has proved who he is just now, and says when it expires.
func (k *Keys) Issue(user uuid.UUID, role string, session uuid.UUID) (string, time.Time, error) {
	return k.Renew(Caller{ID: user, Role: role, Session: session, ProvedAt: time.Now()})
}

// Renew signs an access token of AccessLife for a user whose proof is of c.ProvedAt, kept to the second, and says when it expires.
func (k *Keys) Renew(c Caller) (string, time.Time, error) {
	if k.signing == nil {
		return "", time.Time{}, errors.New("this process has no key to sign access tokens with")
	}
	now := time.Now()
	jti, err := uuid.NewRandom()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("token id: %w", err)
	}
	until := now.Add(AccessLife).Truncate(time.Second)
	var proved int64
	if !c.ProvedAt.IsZero() {
		proved = c.ProvedAt.Unix()
	}
	signed, err := jwt.NewWithClaims(k.method, claims{c.Role, c.Session, proved, jwt.RegisteredClaims{
		Subject: c.ID.String(), Issuer: issuer, Audience: jwt.ClaimStrings{audience}, ID: jti.String(),
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(until),
	}}).SignedString(k.signing)
	return signed, until, err
}

// Verify says whose access token raw is. Unauthorized when it is not one of ours or has expired; it does not look at revocations.
// A good answer is remembered for up to 30 seconds, never beyond the token's expiry.
func (k *Keys) Verify(raw string) (Caller, error) {
	return k.cachedOr(sha256.Sum256([]byte("user\x00"+raw)), func() (Caller, time.Time, error) {
		var c claims
		err := errors.New("no key")
		for _, key := range k.verify {
			c = claims{}
			if _, err = k.users.ParseWithClaims(raw, &c, func(*jwt.Token) (any, error) { return key, nil }); err == nil {
				break
			}
		}
		if err != nil {
			return Caller{}, time.Time{}, err
		}
		id, err := uuid.Parse(c.Subject)
		if err != nil {
			return Caller{}, time.Time{}, err
		}
		switch c.Role {
		case Worker, Client, Admin, Support:
			caller := Caller{ID: id, Role: c.Role, Session: c.Session}
			if c.ProvedAt > 0 {
				caller.ProvedAt = time.Unix(c.ProvedAt, 0).UTC()
			}
			return caller, c.ExpiresAt.Time, nil
		}
		return Caller{}, time.Time{}, errors.New("unknown role")
	})
}

// ServiceToken is a token with which the service from may call the service to, for a minute.
func (k *Keys) ServiceToken(from, to string) (string, error) {
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject: "service:" + from, Audience: jwt.ClaimStrings{to},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(serviceLife)),
	}).SignedString(k.service)
}

// VerifyService says which service's token raw is, when it is meant for the service me; else Unauthorized.
func (k *Keys) VerifyService(raw, me string) (Caller, error) {
	return k.cachedOr(sha256.Sum256([]byte("service\x00"+me+"\x00"+raw)), func() (Caller, time.Time, error) {
		var c jwt.RegisteredClaims
		_, err := jwt.ParseWithClaims(raw, &c, func(*jwt.Token) (any, error) { return k.service, nil },
			jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience(me), jwt.WithExpirationRequired())
		if err != nil {
			return Caller{}, time.Time{}, err
		}
		name, ok := strings.CutPrefix(c.Subject, "service:")
		if !ok || name == "" {
			return Caller{}, time.Time{}, errors.New("not a service's token")
		}
		return Caller{Role: Service, Service: name}, c.ExpiresAt.Time, nil
	})
}

func (k *Keys) cachedOr(key [32]byte, verify func() (Caller, time.Time, error)) (Caller, error) {
	now := time.Now()
	k.mu.Lock()
	hit, ok := k.cache[key]
	k.mu.Unlock()
	if ok && now.Before(hit.until) {
		return hit.caller, nil
	}
	caller, expires, err := verify()
	if err != nil {
		return Caller{}, errs.New(errs.Unauthorized, "Sign in again: the access token is not valid or has expired.").Because(err)
	}
	until := now.Add(cacheLife)
	if expires.Before(until) {
		until = expires
	}
	k.mu.Lock()
	if len(k.cache) >= cacheSize {
		clear(k.cache)
	}
	k.cache[key] = cached{caller, until}
	k.mu.Unlock()
	return caller, nil
}

// ClaimsService says whether raw claims to be a service's token, without verifying it; the gateway lets none in from outside.
func ClaimsService(raw string) bool {
	_, rest, _ := strings.Cut(raw, ".")
	claims, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(signature, ".") {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(claims)
	if err != nil {
		return false
	}
	// Every request with a token comes by here, and nearly all are people's: JSON that neither holds the word nor can spell it otherwise is not read.
	if !bytes.Contains(payload, []byte("service:")) && bytes.IndexByte(payload, '\\') < 0 {
		return false
	}
	var c struct {
		Subject string `json:"sub"`
	}
	return json.Unmarshal(payload, &c) == nil && strings.HasPrefix(c.Subject, "service:")
}
