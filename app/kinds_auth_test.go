package app

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
)

// secured is somebody new in the role with an authenticator app: in force, and the thing's body has a code, or waiting for its first code.
func secured(w *world, r route, _, role string) (thing, bool) {
	if role = cmp.Or(role, "client"); role != "client" && role != "worker" {
		return thing{}, false // the same code serves all; staff is made by an operator
	}
	p, err := w.register(w.t.Context(), "Tess", role)
	w.must(err)
	var app struct{ Secret string }
	w.post(p, "/api/auth/totp", nil, http.StatusOK, &app)
	code, err := totp.GenerateCode(app.Secret, time.Now())
	w.must(err)
	th := thing{sides: map[string]person{role: p}}
	if strings.HasSuffix(r.path, "/confirm") {
		th.body = map[string]any{"code": code}
		return th, true
	}
	var codes struct{ RecoveryCodes []string }
	w.post(p, "/api/auth/totp/confirm", map[string]any{"code": code}, http.StatusOK, &codes)
	if r.method == http.MethodDelete {
		th.body = map[string]any{"code": codes.RecoveryCodes[0]}
	}
	return th, true
}

// elsewhere is for what a world without its neighbours does not have: whom it is for is told so.
func elsewhere(*world, route, string, string) (thing, bool) { return thing{lacking: true}, true }
