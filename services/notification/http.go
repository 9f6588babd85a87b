package notification

import (
	"context"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/export"
	"tulifo/platform/token"
)

// Routes declares what the service answers.
func (s *Service) Routes(r *api.Router) {
	export.Routes(r, "/api/notifications", s.heldBy()...)
	api.List(r, "/api/notifications", s.list, api.Anyone, api.Of(api.NoOne), api.Summary("The caller's notifications, the newest first"))
	api.Patch(r, "/api/notifications/{id}/read", s.read, api.Anyone, api.Of(api.Owner), api.Summary("Note that a notification was read"))
	api.Post(r, "/api/notifications/read-all", s.readAll, api.Anyone, api.Of(api.NoOne), api.Summary("Note that all notifications were read"))
	api.Get(r, "/api/notifications/preferences", s.preferences, api.Anyone, api.Of(api.NoOne), api.Summary("What the caller is told, how and when"))
	api.Put(r, "/api/notifications/preferences", s.prefer, api.Anyone, api.Of(api.NoOne), api.Summary("Switch kinds of messages on and off, set quiet hours"))
	api.Post(r, "/api/notifications/subscriptions", s.subscribe, api.Anyone, api.Of(api.NoOne), api.Created, api.Secret, api.Summary("Keep a browser that may be pushed to"))
	api.Delete(r, "/api/notifications/subscriptions", s.forgetSubscription, api.Anyone, api.Of(api.NoOne), api.Summary("Forget a browser"))
	api.Get(r, "/api/notifications/unsubscribe/{token}", s.unsubscribePage, api.Public, api.Secret, api.Summary("The page under a mail that ends mails of its kind"))
	api.Post(r, "/api/notifications/unsubscribe/{token}", s.unsubscribe, api.Public, api.Secret, api.MaxBody(8<<10), api.Summary("End mails of a kind, with one click"))
}

type listIn struct {
	api.Paging
	Unread bool `query:"unread" doc:"only those not read yet, with their total"`
}

func (s *Service) list(ctx context.Context, in *listIn) (api.Page[Notification], error) {
	return s.Notifications(ctx, token.From(ctx).ID, in.Unread, in.Cursor, in.Limit)
}

type byID struct {
	ID uuid.UUID `path:"id"`
}

func (s *Service) read(ctx context.Context, in *byID) (Notification, error) {
	return s.Read(ctx, token.From(ctx).ID, in.ID)
}

func (s *Service) readAll(ctx context.Context, _ *struct{}) (ReadAll, error) {
	return s.ReadAll(ctx, token.From(ctx).ID)
}

func (s *Service) preferences(ctx context.Context, _ *struct{}) (Preferences, error) {
	return s.Preferences(ctx, token.From(ctx).ID)
}

type preferIn struct {
	Body struct {
		Matrix     Matrix                   `json:"matrix,omitempty" doc:"category → channel → on; what is absent stays"`
		QuietHours api.Optional[QuietHours] `json:"quietHours" required:"false"`
	}
}

func (s *Service) prefer(ctx context.Context, in *preferIn) (Preferences, error) {
	var quiet *QuietHours
	if q := in.Body.QuietHours; q.Sent && !q.Null {
		quiet = &q.Value
	}
	return s.Prefer(ctx, token.From(ctx).ID, in.Body.Matrix, quiet, in.Body.QuietHours.Sent)
}

type subscribeIn struct {
	Body struct {
		Endpoint       string   `json:"endpoint" maxLength:"1000"`
		ExpirationTime *float64 `json:"expirationTime,omitempty" nullable:"true" doc:"as browsers send it; not used"`
		Keys           struct {
			P256dh string `json:"p256dh" maxLength:"100"`
			Auth   string `json:"auth" maxLength:"50"`
		} `json:"keys"`
	}
}

func (s *Service) subscribe(ctx context.Context, in *subscribeIn) (Subscription, error) {
	return s.Subscribed(ctx, token.From(ctx).ID, in.Body.Endpoint, in.Body.Keys.P256dh, in.Body.Keys.Auth)
}

type forgetIn struct {
	Body struct {
		Endpoint string `json:"endpoint" maxLength:"1000"`
	}
}

func (s *Service) forgetSubscription(ctx context.Context, in *forgetIn) (api.Nothing, error) {
	return api.Nothing{}, s.Unsubscribed(ctx, token.From(ctx).ID, in.Body.Endpoint)
}

type unsubscribeIn struct {
	Token string `path:"token" maxLength:"200"`
}

type unsubscribePostIn struct {
	Token   string `path:"token" maxLength:"200"`
	RawBody []byte `contentType:"application/x-www-form-urlencoded"`
}
