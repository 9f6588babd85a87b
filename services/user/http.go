package user

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/token"
)

// Routes declares what the service answers, in platform.md's order.
func (s *Service) Routes(r *api.Router) {
	api.List(r, "/api/users", s.listUsers, api.For(token.Admin), api.Of(api.NoOne), api.Heavy, api.Summary("Look for users"))
	api.Get(r, "/api/users/{id}", s.getUser, api.Anyone, api.Of(api.Self, token.Admin), api.Summary("The caller's own profile; anybody's for an admin"))
	api.Put(r, "/api/users/{id}", s.putUser, api.Anyone, api.Of(api.Self, token.Admin), api.MaxBody(256<<10), api.Summary("Change a profile; what is not sent stays"))
	api.Get(r, "/api/users/{id}/avatar", s.getAvatar, api.Public, api.Summary("A user's picture"))
	api.Put(r, "/api/users/{id}/avatar", s.putAvatar, api.Anyone, api.Of(api.Self, token.Admin), api.MaxBody(maxUpload), api.Deadline(30*time.Second), api.Summary("Send a JPEG or PNG as the profile's picture"))
	api.Delete(r, "/api/users/{id}/avatar", s.deleteAvatar, api.Anyone, api.Of(api.Self, token.Admin), api.Summary("Show no picture"))
	api.Get(r, "/api/users/{id}/settings", s.getSettings, api.Anyone, api.Of(api.Self, token.Admin), api.Summary("What the caller has set"))
	api.Put(r, "/api/users/{id}/settings", s.putSettings, api.Anyone, api.Of(api.Self, token.Admin), api.MaxBody(64<<10), api.Summary("Change settings, member by member"))
	api.Put(r, "/api/users/{id}/status", s.putStatus, api.For(token.Admin), api.Of(api.NoOne), api.StepUpFor(token.Admin), api.Summary("Suspend or reinstate a user"))
	api.Get(r, "/api/users/{id}/card", s.getCard, api.For(token.Service), api.Summary("How a user is addressed, for other services"))
	api.Get(r, "/api/users/{id}/export", s.exportMine, api.Anyone, api.Of(api.Self), api.StepUp, api.Secret, api.Deadline(25*time.Second), api.Summary("A copy of everything that is held about the caller"))
	s.workerRoutes(r)
	s.clientRoutes(r)
}

// Who is the part of an input that names a user: an id, or me. It is exported because huma reads exported parts only.
type Who struct {
	ID string `path:"id" maxLength:"36" doc:"a user's id, or me"`
}

func (w Who) user(ctx context.Context) (uuid.UUID, error) { return api.Who(ctx, w.ID) }

type listUsersIn struct {
	api.Paging
	Q      string `query:"q" maxLength:"100" doc:"part of a name or e-mail address"`
	Role   string `query:"role" enum:"worker,client,admin,support" required:"false"`
	Status string `query:"status" enum:"active,suspended" required:"false"`
}

func (s *Service) listUsers(ctx context.Context, in *listUsersIn) (api.Page[Profile], error) {
	if strings.Contains(in.Q, "\x00") {
		return api.Page[Profile]{}, errs.Field("q", "must be readable text")
	}
	return s.Users(ctx, UserFilter{Text: strings.TrimSpace(in.Q), Role: in.Role, Status: in.Status, Cursor: in.Cursor}, in.Limit)
}

func (s *Service) getUser(ctx context.Context, in *Who) (Profile, error) {
	id, err := in.user(ctx)
	if err != nil {
		return Profile{}, err
	}
	return s.Profile(ctx, token.From(ctx), id)
}

type putUserIn struct {
	Who
	api.IfMatch
	Body ProfileEdit
}

func (s *Service) putUser(ctx context.Context, in *putUserIn) (_ Profile, err error) {
	id, err := in.user(ctx)
	if err != nil {
		return Profile{}, err
	}
	if in.Body.Version, err = in.Version(in.Body.Version); err != nil {
		return Profile{}, err
	}
	return s.EditProfile(ctx, token.From(ctx), id, in.Body)
}

type getAvatarIn struct {
	Who
	Known string `header:"If-None-Match" required:"false"`
	V     string `query:"v" maxLength:"64" doc:"makes another picture another address"`
}

func (s *Service) getAvatar(ctx context.Context, in *getAvatarIn) (api.File, error) {
	id, err := in.user(ctx)
	if err != nil {
		return api.File{}, err
	}
	ref, body, err := s.Avatar(ctx, id)
	if err != nil {
		return api.File{}, err
	}
	age := "public, max-age=300"
	if in.V != "" && strings.HasPrefix(string(ref), in.V) {
		age = "public, max-age=31536000, immutable"
	}
	tag := `"` + ref.Hash() + `"`
	file := api.File{ContentType: ref.ContentType(), Body: body, Headers: http.Header{
		"Etag": {tag}, "Cache-Control": {age}, "Content-Disposition": {"inline"}, "Content-Security-Policy": {"default-src 'none'; sandbox"},
	}}
	if strings.Contains(in.Known, tag) {
		file.Status, file.Body = http.StatusNotModified, nil
	}
	return file, nil
}

type putAvatarIn struct {
	Who
	RawBody []byte `contentType:"image/*"`
}

func (s *Service) putAvatar(ctx context.Context, in *putAvatarIn) (Profile, error) {
	id, err := in.user(ctx)
	if err != nil {
		return Profile{}, err
	}
	return s.SetAvatar(ctx, token.From(ctx), id, in.RawBody)
}

func (s *Service) deleteAvatar(ctx context.Context, in *Who) (Profile, error) {
	id, err := in.user(ctx)
	if err != nil {
		return Profile{}, err
	}
	return s.DropAvatar(ctx, token.From(ctx), id)
}

func (s *Service) getSettings(ctx context.Context, in *Who) (Settings, error) {
	id, err := in.user(ctx)
	if err != nil {
		return Settings{}, err
	}
	return s.Settings(ctx, token.From(ctx), id)
}

type putSettingsIn struct {
	Who
	api.IfMatch
	Body SettingsEdit
}

func (s *Service) putSettings(ctx context.Context, in *putSettingsIn) (_ Settings, err error) {
	id, err := in.user(ctx)
	if err != nil {
		return Settings{}, err
	}
	if in.Body.Version, err = in.Version(in.Body.Version); err != nil {
		return Settings{}, err
	}
	return s.EditSettings(ctx, token.From(ctx), id, in.Body)
}

type putStatusIn struct {
	Who
	Body struct {
		Status string `json:"status" enum:"active,suspended"`
		Reason string `json:"reason,omitempty" maxLength:"500" doc:"needed to suspend"`
	}
}

func (s *Service) putStatus(ctx context.Context, in *putStatusIn) (Profile, error) {
	id, err := in.user(ctx)
	if err != nil {
		return Profile{}, err
	}
	return s.SetStatus(ctx, token.From(ctx), id, in.Body.Status, in.Body.Reason)
}

func (s *Service) getCard(ctx context.Context, in *Who) (Card, error) {
	id, err := in.user(ctx)
	if err != nil {
		return Card{}, err
	}
	return s.Card(ctx, id)
}
