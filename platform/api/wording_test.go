package api_test

import (
	"context"
	"encoding/json"
	"maps"
	"testing"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
)

type wordedIn struct {
	ID    uuid.UUID `path:"id"`
	Limit int       `query:"limit" minimum:"1" maximum:"100" default:"20"`
	Must  string    `query:"must" required:"true"`
	Body  struct {
		Title string    `json:"title" minLength:"3" maxLength:"5"`
		Kind  string    `json:"kind" enum:"big,small"`
		Time  string    `json:"time" pattern:"^[0-9]{2}:[0-9]{2}$" patternDescription:"a time of day, such as 09:00"`
		Of    uuid.UUID `json:"of"`
		Quiet struct {
			Start string `json:"start"`
		} `json:"quiet"`
	}
}

func TestEveryFieldSaysWhatIsWrong(t *testing.T) {
	s := apitest.New(t, apitest.Options{Service: "shop", Register: func(r *api.Router) {
		api.Post(r, "/things/{id}", func(context.Context, *wordedIn) (string, error) { return "", nil }, api.Public)
	}})
	const id = "/things/01a20c6c-c980-7332-bb34-e2ec452c0796"
	for what, c := range map[string]struct {
		path, body string
		want       map[string]string
	}{
		"nothing sent": {id + "?must=x", `{}`, map[string]string{
			"title": "is required", "kind": "is required", "time": "is required", "of": "is required", "quiet": "is required"}},
		"below": {id + "?must=x", `{"title":"abc","kind":"big","time":"09:00","of":"01a20c6c-c980-7332-bb34-e2ec452c0796","quiet":{"end":"x"}}`,
			map[string]string{"quiet.start": "is required", "quiet.end": "is not a field of this request"}},
		"out of bounds": {id + "?must=x&limit=1000", `{"title":"abcdef","kind":"huge","time":"9","of":"secret","quiet":{"start":""}}`, map[string]string{
			"limit": "must be at most 100", "title": "must have at most 5 characters", "kind": "must be one of: big, small",
			"time": "must be a time of day, such as 09:00", "of": "must be a UUID"}},
		"of another kind": {"/things/7?limit=many", `{"title":7,"kind":"big","time":"09:00","of":"01a20c6c-c980-7332-bb34-e2ec452c0796","quiet":[]}`, map[string]string{
			"id": "must be a UUID", "limit": "must be a whole number", "must": "is missing", "title": "must be a text", "quiet": "must be an object"}},
	} {
		a := s.Call(apitest.Call{What: what, Path: c.path, Body: c.body, Status: 422})
		var p api.Problem
		if err := json.Unmarshal(a.Body, &p); err != nil || !maps.Equal(p.Err.Details, c.want) {
			t.Errorf("%s: %v, %v; want %v", what, err, p.Err.Details, c.want)
		}
	}
}
