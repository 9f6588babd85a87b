package app

import (
	"bytes"
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// tokens are those that let nobody in, by what is wrong with them.
func (m *matrix) tokens(r route) map[string]string {
	role := r.roles[0]
	if name, ok := strings.CutPrefix(role, "service"); ok {
		return m.wrongFor(r, "admin", strings.TrimPrefix(name, ":"))
	}
	return m.wrongFor(r, role, "")
}

func (m *matrix) wrongFor(r route, role, service string) map[string]string {
	n := m.p.machine.node
	secret, shared := []byte(n.c.Token.Secret), []byte(n.c.Token.ServiceSecret)
	now := time.Now()
	sign := func(method jwt.SigningMethod, key any, change jwt.MapClaims) string {
		c := jwt.MapClaims{"sub": m.mine[role].id.String(), "role": role, "sid": uuid.NewString(), "jti": uuid.NewString(), "iss": "tulifo-auth", "aud": "tulifo", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "auth_time": now.Unix()}
		for name, v := range change {
			c[name] = v
		}
		raw, err := jwt.NewWithClaims(method, c).SignedString(key)
		m.must(err)
		return raw
	}
	elsewhere, err := n.keys.ServiceToken(cmp.Or(service, "payment"), "elsewhere")
	m.must(err)
	return map[string]string{
		"nobody": "", "garbage": "a.b.c", "a suspended person": m.suspended.token, "somebody signed out": m.signedOut, "a refresh token": m.refreshToken,
		"expired":                     sign(jwt.SigningMethodHS256, secret, jwt.MapClaims{"exp": now.Add(-time.Second).Unix()}),
		"unsigned":                    sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"signed by another algorithm": sign(jwt.SigningMethodHS512, secret, nil),
		"signed by another key":       sign(jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), nil),
		"signed with a service's key": sign(jwt.SigningMethodHS256, shared, nil),
		"for another audience":        sign(jwt.SigningMethodHS256, secret, jwt.MapClaims{"aud": "elsewhere"}),
		"of another issuer":           sign(jwt.SigningMethodHS256, secret, jwt.MapClaims{"iss": "elsewhere"}),
		"in a role that is none":      sign(jwt.SigningMethodHS256, secret, jwt.MapClaims{"role": "root"}),
		"a person as a service":       sign(jwt.SigningMethodHS256, secret, jwt.MapClaims{"role": "service", "sub": "service:payment"}),
		"a service of another target": elsewhere,
	}
}

// leave has somebody sign in, and out again.
func (w *world) leave() {
	w.t.Helper()
	var s struct{ AccessToken, RefreshToken string }
	in := map[string]any{"email": w.client.email, "password": tourPassword}
	w.post(person{}, "/api/auth/login", in, http.StatusOK, &s)
	w.refreshToken = s.RefreshToken
	w.post(person{}, "/api/auth/login", in, http.StatusOK, &s)
	w.post(person{token: s.AccessToken}, "/api/auth/logout", map[string]any{}, http.StatusOK, nil)
	w.signedOut = s.AccessToken
}

// outsiders come through the gateway with the token of a service that the operation is for.
func (m *matrix) outsiders(r route) {
	m.t.Helper()
	th, _ := m.about(r, r.first(), "")
	for _, name := range servicesOf(r) {
		req, err := http.NewRequestWithContext(m.t.Context(), r.method, m.gateway+r.addressOf(th.params, uuid.NewString()), bytes.NewReader(r.bodyWith(uuid.New(), th.body)))
		m.must(err)
		req.Header.Set("Content-Type", r.media())
		req.Header.Set("Authorization", "Bearer "+r.anybody(m.t, m.p.machine.node, name))
		res, err := m.http.Do(req)
		m.must(err)
		res.Body.Close()
		m.cells["gateway"]++
		if res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusForbidden {
			m.t.Errorf("%s through the gateway as %s answers %d", r, name, res.StatusCode)
		}
	}
}
