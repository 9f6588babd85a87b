package auth

import (
	"net/http"
	"strings"
	"time"
)

// deviceCookie tells a device that has signed in before from one that has not.
const deviceCookie = "tulifo_device"

// https says whether people reach the platform over TLS; then cookies are Secure, and bound to this very host by their name.
func (s *Service) https() bool { return strings.HasPrefix(s.cfg.PublicURL, "https://") }

func (s *Service) setCookie(h http.Header, name, value string, life time.Duration) {
	c := http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(life / time.Second), HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if s.https() {
		c.Name, c.Secure = "__Host-"+name, true
	}
	h.Add("Set-Cookie", c.String())
}

// dropCookie has the browser forget a cookie, under both of its names.
func dropCookie(h http.Header, name string) {
	for _, c := range []http.Cookie{{Name: name}, {Name: "__Host-" + name, Secure: true}} {
		c.Path, c.MaxAge, c.HttpOnly, c.SameSite = "/", -1, true, http.SameSiteLaxMode
		h.Add("Set-Cookie", c.String())
	}
}

// arrived is the cookie that came under one of its names; over TLS only the bound one counts, since a neighbour can set the other.
func (s *Service) arrived(plain, bound string) string {
	if s.https() {
		return bound
	}
	return plain
}
