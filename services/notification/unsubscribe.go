package notification

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/page"
)

// unsubscribeToken says who wants no more mail about what, so that nobody else can say it for them. It holds for ever: old mails are read late.
func (s *Service) unsubscribeToken(user uuid.UUID, c Category) string {
	m := hmac.New(sha256.New, s.key)
	m.Write(user[:])
	m.Write([]byte(c))
	return string(c) + "." + base64.RawURLEncoding.EncodeToString(m.Sum(user[:]))
}

func (s *Service) unsubscriber(tok string) (uuid.UUID, Category, bool) {
	name, text, _ := strings.Cut(tok, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	c := Category(name)
	if err != nil || len(raw) != len(uuid.UUID{})+sha256.Size || !slices.Contains(categories, c) || c.essential() {
		return uuid.Nil, "", false
	}
	user := uuid.UUID(raw[:16])
	return user, c, subtle.ConstantTimeCompare([]byte(tok), []byte(s.unsubscribeToken(user, c))) == 1
}

func (s *Service) render(p page.Page, status int) (api.File, error) {
	p.Home = s.cfg.PublicURL
	return p.File(status)
}

func (s *Service) notOurs() (api.File, error) {
	return s.render(page.Page{Title: "That did not work", Text: "This link is not one of ours. Perhaps it was cut off in the mail."}, http.StatusNotFound)
}

// unsubscribePage changes nothing, because mail scanners follow links.
func (s *Service) unsubscribePage(_ context.Context, in *unsubscribeIn) (api.File, error) {
	_, c, ok := s.unsubscriber(in.Token)
	if !ok {
		return s.notOurs()
	}
	return s.render(page.Page{Title: "No more mail about " + string(c), Text: "You still find everything in the app.", Button: "Unsubscribe"}, http.StatusOK)
}

// unsubscribe takes the form of the page, and the one click of a mail program (RFC 8058).
func (s *Service) unsubscribe(ctx context.Context, in *unsubscribePostIn) (api.File, error) {
	user, c, ok := s.unsubscriber(in.Token)
	if !ok {
		return s.notOurs()
	}
	if _, err := s.Prefer(ctx, user, Matrix{c: {Email: false}}, nil, false); err != nil {
		if errs.KindOf(err) == errs.Invalid {
			return s.notOurs()
		}
		return api.File{}, err
	}
	return s.render(page.Page{Title: "Done", Text: "You get no more mail about " + string(c) + ". You can change that in your settings."}, http.StatusOK)
}
