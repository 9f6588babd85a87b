package auth

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/export"
	"tulifo/platform/token"
)

// Routes declares what the service answers, in platform.md's order.
func (s *Service) Routes(r *api.Router) {
	api.Post(r, "/api/auth/register", s.register, api.Public, api.Created, api.Secret, api.Summary("Register as a worker or a client"))
	api.Post(r, "/api/auth/login", s.login, api.Public, api.Secret, api.Summary("Sign in"))
	api.Post(r, "/api/auth/refresh", s.refresh, api.Public, api.Secret, api.Summary("Exchange a refresh token for the next pair"))
	api.Get(r, "/api/auth/me", s.me, api.Anyone, api.Of(api.Self), api.Summary("The caller's own account"))
	api.Delete(r, "/api/auth/me", s.deleteMe, api.Anyone, api.Of(api.Self), api.StepUp, api.Summary("Delete the caller's own account"))
	api.Post(r, "/api/auth/logout", s.logout, api.Anyone, api.Of(api.Self), api.Summary("End this sign-in"))
	api.Post(r, "/api/auth/logout-all", s.logoutAll, api.Anyone, api.Of(api.Self), api.Summary("End all sign-ins"))
	api.List(r, "/api/auth/sessions", s.sessions, api.Anyone, api.Of(api.NoOne), api.Summary("The devices that are signed in"))
	api.Delete(r, "/api/auth/sessions/{id}", s.endSession, api.Anyone, api.Of(api.Owner), api.Summary("Sign a device out"))
	api.Get(r, "/api/auth/links/{token}", s.linkPage, api.Public, api.Secret, api.Summary("The page of a link that was mailed"))
	api.Post(r, "/api/auth/links/{token}", s.pressLink, api.Public, api.While("open"), api.Secret, api.MaxBody(8<<10), api.Summary("Use a link that was mailed"))
	api.Post(r, "/api/auth/verify-email", s.ask(verify), api.Public, api.Summary("Mail the link that verifies an address once more"))
	api.Post(r, "/api/auth/forgot-password", s.ask(reset), api.Public, api.Summary("Mail a link to set a new password"))
	api.Post(r, "/api/auth/password", s.changePassword, api.Anyone, api.Of(api.Self), api.Secret, api.Summary("Change the password; all other sign-ins end"))
	api.Post(r, "/api/auth/email", s.changeEmail, api.Anyone, api.Of(api.Self), api.StepUp, api.Summary("Move the account to another address"))

	s.totpRoutes(r)
	s.passkeyRoutes(r)
	s.identityRoutes(r)
	export.Routes(r, "/api/auth", s.heldBy()...)

	api.Get(r, "/api/auth/users/{id}", s.user, api.For(token.Service), api.Summary("An account, for other services"))
	api.Post(r, "/api/auth/users/{id}/suspend", s.suspend, api.ForService("user"), api.Summary("Suspend a user"))
	api.Post(r, "/api/auth/users/{id}/reinstate", s.reinstate, api.ForService("user"), api.Summary("End a suspension"))
	api.Get(r, "/api/auth/links/{id}/url", s.linkURL, api.ForService("notification"), api.Secret, api.Summary("What stands in a mail, asked just before it is sent"))
	api.Get(r, "/api/auth/revocations", s.revocations, api.For(token.Service), api.Summary("Sessions whose access tokens are no longer good"))
}

// Browser is the part of an input that says what the device is, beside the body. It is exported, as ByID and ByToken, because huma reads exported parts only.
type Browser struct {
	Mode        string `header:"X-Session" enum:"cookie" required:"false" doc:"cookie: the tokens come as cookies and not in the body"`
	Device      string `cookie:"tulifo_device"`
	BoundDevice string `cookie:"__Host-tulifo_device"`
}

func (s *Service) visitor(ctx context.Context, b Browser) Visitor {
	return Visitor{IP: api.ClientIP(ctx), Agent: api.UserAgent(ctx), Device: s.arrived(b.Device, b.BoundDevice), Cookies: b.Mode == "cookie"}
}

type registerIn struct {
	Browser
	Body struct {
		Email    string `json:"email" maxLength:"320"`
		Password string `json:"password" maxLength:"1024"`
		Name     string `json:"name" maxLength:"120"`
		Role     string `json:"role" enum:"worker,client"`
	}
}

func (s *Service) register(ctx context.Context, in *registerIn) (Session, error) {
	return s.Register(ctx, s.visitor(ctx, in.Browser), in.Body.Email, in.Body.Name, in.Body.Role, in.Body.Password)
}

type loginIn struct {
	Browser
	Body struct {
		Email    string `json:"email" maxLength:"320"`
		Password string `json:"password" maxLength:"1024"`
		TOTP     string `json:"totp,omitempty" maxLength:"64" doc:"what the authenticator app shows, or a recovery code; wanted after totp_required"`
	}
}

func (s *Service) login(ctx context.Context, in *loginIn) (Session, error) {
	return s.Login(ctx, s.visitor(ctx, in.Browser), in.Body.Email, in.Body.Password, in.Body.TOTP)
}

type refreshIn struct {
	Browser
	Cookie      string `cookie:"tulifo_refresh"`
	BoundCookie string `cookie:"__Host-tulifo_refresh"`
	Body        *struct {
		RefreshToken string `json:"refreshToken,omitempty" maxLength:"512"`
	} `required:"false"`
}

func (s *Service) refresh(ctx context.Context, in *refreshIn) (Session, error) {
	from := s.visitor(ctx, in.Browser)
	if in.Body != nil && in.Body.RefreshToken != "" {
		return s.Refresh(ctx, from, in.Body.RefreshToken)
	}
	// What came in a cookie that no script can read must not go out in a body.
	from.Cookies = true
	return s.Refresh(ctx, from, s.arrived(in.Cookie, in.BoundCookie))
}

func (s *Service) me(ctx context.Context, _ *struct{}) (User, error) {
	return s.Me(ctx, token.From(ctx))
}

type logoutIn struct {
	Body *struct {
		RefreshToken string `json:"refreshToken,omitempty" maxLength:"512"`
	} `required:"false"`
}

// signedOut has nothing to say, but takes the cookies back.
type signedOut struct{}

// ResponseHeaders are the cookies that the browser forgets.
func (signedOut) ResponseHeaders() http.Header {
	h := http.Header{}
	dropCookie(h, api.AccessCookie)
	dropCookie(h, api.RefreshCookie)
	return h
}

func (s *Service) logout(ctx context.Context, in *logoutIn) (signedOut, error) {
	refresh := ""
	if in.Body != nil {
		refresh = in.Body.RefreshToken
	}
	return signedOut{}, s.Logout(ctx, token.From(ctx), refresh)
}

func (s *Service) logoutAll(ctx context.Context, _ *struct{}) (signedOut, error) {
	return signedOut{}, s.LogoutAll(ctx, token.From(ctx))
}

type sessionsIn struct{ api.Paging }

func (s *Service) sessions(ctx context.Context, in *sessionsIn) (api.Page[Device], error) {
	var after *uuid.UUID
	if in.Cursor != "" {
		after = new(uuid.UUID)
		if err := api.DecodeCursor(in.Cursor, after); err != nil {
			return api.Page[Device]{}, err
		}
	}
	return s.Devices(ctx, token.From(ctx), after, in.Limit)
}

// Devices are the caller's live sign-ins, the newest first, after the one of that id.
func (s *Service) Devices(ctx context.Context, by token.Caller, after *uuid.UUID, limit int) (api.Page[Device], error) {
	found, err := devices(ctx, s.db, by.ID, after, s.now(), limit)
	for i := range found {
		found[i].Current = found[i].ID == by.Session
	}
	return api.Slice(found, limit, func(d Device) string { return api.EncodeCursor(d.ID) }), err
}

// ByID is the part of an input that names one thing.
type ByID struct {
	ID uuid.UUID `path:"id"`
}

func (s *Service) endSession(ctx context.Context, in *ByID) (api.Nothing, error) {
	return api.Nothing{}, s.EndSession(ctx, token.From(ctx), in.ID)
}

type askIn struct {
	Body struct {
		Email string `json:"email" maxLength:"320"`
	}
}

type accepted struct {
	Accepted bool `json:"accepted" doc:"a mail is on its way, if anybody has the address"`
}

func (s *Service) ask(purpose string) func(context.Context, *askIn) (accepted, error) {
	return func(ctx context.Context, in *askIn) (accepted, error) {
		return accepted{true}, s.Ask(ctx, s.visitor(ctx, Browser{}), purpose, in.Body.Email)
	}
}

type changePasswordIn struct {
	Browser
	Body struct {
		CurrentPassword string `json:"currentPassword" maxLength:"1024"`
		NewPassword     string `json:"newPassword" maxLength:"1024"`
	}
}

func (s *Service) changePassword(ctx context.Context, in *changePasswordIn) (Session, error) {
	return s.ChangePassword(ctx, s.visitor(ctx, in.Browser), token.From(ctx), in.Body.CurrentPassword, in.Body.NewPassword)
}

type changeEmailIn struct {
	Body struct {
		NewEmail string `json:"newEmail" maxLength:"320"`
		Password string `json:"password" maxLength:"1024"`
	}
}

func (s *Service) changeEmail(ctx context.Context, in *changeEmailIn) (accepted, error) {
	return accepted{true}, s.ChangeEmail(ctx, s.visitor(ctx, Browser{}), token.From(ctx), in.Body.NewEmail, in.Body.Password)
}

func (s *Service) user(ctx context.Context, in *ByID) (Account, error) { return s.Account(ctx, in.ID) }

type suspendIn struct {
	ByID
	Body struct {
		Reason string    `json:"reason" maxLength:"500"`
		By     uuid.UUID `json:"by,omitempty" doc:"the admin who decided"`
	}
}

func (s *Service) suspend(ctx context.Context, in *suspendIn) (Account, error) {
	return s.Suspend(ctx, actor(in.Body.By), in.ID, in.Body.Reason)
}

type reinstateIn struct {
	ByID
	Body *struct {
		By uuid.UUID `json:"by,omitempty" doc:"the admin who decided"`
	} `required:"false"`
}

func (s *Service) reinstate(ctx context.Context, in *reinstateIn) (Account, error) {
	var by uuid.UUID
	if in.Body != nil {
		by = in.Body.By
	}
	return s.Reinstate(ctx, actor(by), in.ID)
}

// actor is who an audit row names; empty means the caller, which is a service here.
func actor(by uuid.UUID) string {
	if by == uuid.Nil {
		return ""
	}
	return by.String()
}

func (s *Service) linkURL(ctx context.Context, in *ByID) (LinkURL, error) {
	return s.LinkURL(ctx, in.ID)
}

type revocationsIn struct {
	Since string `query:"since" format:"date-time" required:"false" doc:"RFC 3339; all that still count without it"`
}

func (s *Service) revocations(ctx context.Context, in *revocationsIn) ([]token.Revoked, error) {
	var since time.Time
	if in.Since != "" {
		var err error
		if since, err = time.Parse(time.RFC3339Nano, in.Since); err != nil {
			return nil, errs.Field("since", "must be a time in RFC 3339").Because(err)
		}
	}
	return s.Revocations(ctx, since)
}
