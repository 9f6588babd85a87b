package notification

import (
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/docdb"
	"tulifo/platform/errs"
	"tulifo/platform/fetch"
)

// maxSubscriptions is how many browsers a person may have; a further one takes the place of the oldest.
const maxSubscriptions = 20

// Subscription is a browser that may be pushed to, as PushSubscription.toJSON() writes it. The endpoint is as good as a secret, so it is not shown again.
type Subscription struct {
	ID        string    `json:"id"`
	Host      string    `json:"host"` // of the push service
	CreatedAt time.Time `json:"createdAt"`
}

// Subscribed keeps the browser for the user; one that belonged to somebody else is theirs now, since it is who signed in there last.
// Invalid: the endpoint is not the public https address of a push service, or the keys are not those of a browser.
func (s *Service) Subscribed(ctx context.Context, user uuid.UUID, endpoint, p256dh, auth string) (Subscription, error) {
	u, err := pushService(endpoint)
	if err != nil {
		return Subscription{}, err
	}
	if raw, err := unpadded(p256dh); err != nil {
		return Subscription{}, errs.Field("keys.p256dh", "is not a key")
	} else if _, err := ecdh.P256().NewPublicKey(raw); err != nil {
		return Subscription{}, errs.Field("keys.p256dh", "is not a point of P-256")
	}
	if raw, err := unpadded(auth); err != nil || len(raw) != 16 {
		return Subscription{}, errs.Field("keys.auth", "is not 16 bytes")
	}
	sub := subscription{ID: idOf(endpoint), UserID: user, Endpoint: endpoint, P256dh: p256dh, Auth: auth, CreatedAt: s.clock.Now()}
	err = s.docs.InTx(ctx, func(tx docdb.Tx) error {
		if _, err := subscriptions.Upsert(ctx, tx, sub); err != nil {
			return err
		}
		all, err := subscriptions.Find(ctx, tx, docdb.Query{Where: docdb.Eq("userId", user), Sort: docdb.Desc("createdAt"), Limit: 2 * maxSubscriptions})
		if err != nil || len(all.Docs) <= maxSubscriptions {
			return err
		}
		for _, old := range all.Docs[maxSubscriptions:] {
			if _, err := subscriptions.DeleteAll(ctx, tx, docdb.Eq("id", old.ID)); err != nil {
				return err
			}
		}
		return nil
	})
	return Subscription{ID: sub.ID, Host: u.Hostname(), CreatedAt: sub.CreatedAt}, err
}

// Unsubscribed forgets the browser. NotFound: the user has none with the endpoint.
func (s *Service) Unsubscribed(ctx context.Context, user uuid.UUID, endpoint string) error {
	n, err := subscriptions.DeleteAll(ctx, s.docs, docdb.And(docdb.Eq("id", idOf(endpoint)), docdb.Eq("userId", user)))
	if err == nil && n == 0 {
		return errs.New(errs.NotFound, "There is no such subscription.")
	}
	return err
}

func idOf(endpoint string) string {
	sum := sha256.Sum256([]byte(endpoint))
	return hex.EncodeToString(sum[:])
}

func unpadded(s string) ([]byte, error) {
	return base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(s, "="))
}

// pushService refuses addresses that lead into a private network; push services have public names.
func pushService(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Scheme != "https" || u.User != nil || u.Hostname() == "" || u.Port() != "" && u.Port() != "443":
		return nil, errs.Field("endpoint", "is not the https address of a push service")
	case !fetch.PublicName(u.Hostname()):
		return nil, errs.Field("endpoint", "does not have the public name of a push service")
	}
	return u, nil
}
