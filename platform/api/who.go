package api

import (
	"context"

	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/token"
)

// Who is the user that a path names, by an id or as me. Unauthorized: nobody is signed in who could be me. Invalid: it is neither.
func Who(ctx context.Context, named string) (uuid.UUID, error) {
	if named == "me" {
		if by := token.From(ctx); by.ID != uuid.Nil {
			return by.ID, nil
		}
		return uuid.Nil, errs.New(errs.Unauthorized, "Sign in first.")
	}
	id, err := uuid.Parse(named)
	if err != nil || len(named) != 36 { // other ways to write one would be other names of the same
		return uuid.Nil, errs.Field("id", "must be a UUID, or me")
	}
	return id, nil
}
