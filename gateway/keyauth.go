package gateway

import (
	"crypto/sha256"
	"net/http"
	"net/url"

	"tulifo/platform/errs"
)

// keyHash is what is kept of a consumer's key: looking it up tells nothing about how much of a wrong key was right.
type keyHash [sha256.Size]byte

func hashKey(key string) keyHash { return sha256.Sum256([]byte(key)) }

// consumer is who holds the key that r carries. Unauthorized: no key, or not a known one.
func (k *keyAuth) consumer(r *http.Request, keys map[keyHash]string) (string, error) {
	var key string
	for _, n := range k.names {
		if k.header && key == "" {
			key = r.Header.Get(n)
		}
		if k.query && key == "" {
			key = r.URL.Query().Get(n)
		}
	}
	if key == "" {
		return "", errs.Coded(errs.Unauthorized, "no_api_key", "This needs an API key.")
	}
	who, ok := keys[hashKey(key)]
	if !ok {
		return "", errs.Coded(errs.Unauthorized, "bad_api_key", "This API key is not known.")
	}
	return who, nil
}

// strip takes the key out of what goes on to the service.
func (k *keyAuth) strip(h http.Header, u *url.URL) {
	if !k.hide {
		return
	}
	for _, n := range k.names {
		h.Del(n)
		if k.query && u.RawQuery != "" {
			q := u.Query()
			q.Del(n)
			u.RawQuery = q.Encode()
		}
	}
}
