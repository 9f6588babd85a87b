package api

import (
	"strconv"
	"strings"

	"tulifo/platform/errs"
)

// IfMatch is the part of an update's input that says which version was seen; embed it.
type IfMatch struct {
	IfMatch string `header:"If-Match" maxLength:"40" required:"false" doc:"the version that was seen, as an entity tag; another one is refused"`
}

// Version is that of the header, else the body's; nil when neither says one. Conflict: the two differ, or the header's is none of ours.
func (m IfMatch) Version(body *int64) (*int64, error) {
	if m.IfMatch == "" || m.IfMatch == "*" {
		return body, nil
	}
	v, err := strconv.ParseInt(strings.Trim(strings.TrimPrefix(m.IfMatch, "W/"), `"`), 10, 64)
	if err != nil || body != nil && *body != v {
		return nil, errs.Coded(errs.Conflict, "changed", "This has been changed meanwhile. Look at it again.")
	}
	return &v, nil
}
