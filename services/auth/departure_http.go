package auth

import (
	"context"
	"net/http"

	"tulifo/platform/token"
)

type deleteIn struct {
	Browser
	Body *struct {
		Password string `json:"password,omitempty" maxLength:"1024"`
	} `required:"false"`
}

// ResponseHeaders are the cookies that the browser forgets.
func (Departure) ResponseHeaders() http.Header { return signedOut{}.ResponseHeaders() }

func (s *Service) deleteMe(ctx context.Context, in *deleteIn) (Departure, error) {
	password := ""
	if in.Body != nil {
		password = in.Body.Password
	}
	return s.Delete(ctx, s.visitor(ctx, in.Browser), token.From(ctx), password)
}
