package user

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/audit"
	"tulifo/platform/export"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// heldBy is what this service holds about a person.
func (s *Service) heldBy() []export.Part {
	return []export.Part{
		{Name: "profile", Rows: export.SQL(s.db, `SELECT user_id AS key, jsonb_build_object('id', user_id, 'email', email, 'emailVerified', email_verified, 'role', role, 'status', status,
			'name', name, 'bio', bio, 'skills', skills, 'experience', experience, 'city', city, 'country', country, 'lat', lat, 'lon', lon, 'timezone', timezone, 'locale', locale,
			'avatar', avatar, 'portfolio', portfolio, 'socialLinks', social_links, 'badges', badges, 'ratingSum', rating_sum, 'totalReviews', total_reviews,
			'createdAt', created_at, 'updatedAt', updated_at) AS doc FROM user_profiles WHERE user_id = $1`)},
		{Name: "settings", Rows: export.SQL(s.db, `SELECT user_id AS key, jsonb_build_object('notifications', notifications, 'privacy', privacy, 'preferences', preferences,
			'updatedAt', updated_at) AS doc FROM user_settings WHERE user_id = $1`)},
		{Name: "offer", Rows: export.SQL(s.db, `SELECT worker_id AS key, jsonb_build_object('title', title, 'rateMinor', rate_minor, 'currency', currency, 'categories', categories,
			'languages', languages, 'instantBooking', instant_booking, 'available', available, 'updatedAt', updated_at) AS doc FROM workers WHERE worker_id = $1`)},
		{Name: "company", Rows: export.SQL(s.db, `SELECT client_id AS key, jsonb_build_object('company', company, 'industry', industry, 'size', size, 'updatedAt', updated_at) AS doc
			FROM clients WHERE client_id = $1`)},
		{Name: "dealtWith", Rows: export.SQL(s.db, `SELECT CASE WHEN client_id = $1 THEN worker_id ELSE client_id END AS key, jsonb_build_object('clientId', client_id, 'workerId', worker_id) AS doc
			FROM counterparties WHERE client_id = $1 OR worker_id = $1`)},
	}
}

// elsewhere are the other services that hold something about people, and where they answer.
var elsewhere = map[string]string{
	"auth": "/api/auth", "booking": "/api/bookings", "payment": "/api/payments", "escrow": "/api/v1/escrow", "review": "/api/v1/reviews", "notification": "/api/notifications",
}

// Copy is everything that the platform holds about one person, by service and part.
type Copy struct {
	Person   uuid.UUID              `json:"person"`
	MadeAt   time.Time              `json:"madeAt"`
	Services map[string]export.Held `json:"services"`
}

// Export is a copy of everything that the platform holds about the caller. Unavailable: a service that holds some of it is away; there is no copy without it.
func (s *Service) Export(ctx context.Context, by token.Caller) (Copy, error) {
	out := Copy{by.ID, s.clock.Now(), map[string]export.Held{}}
	own, err := export.Own(ctx, s.heldBy(), by.ID)
	if err != nil {
		return Copy{}, err
	}
	out.Services["user"] = own
	for _, name := range slices.Sorted(maps.Keys(elsewhere)) {
		if out.Services[name], err = export.Collect(ctx, s.peers.To(name), elsewhere[name], by.ID); err != nil {
			return Copy{}, err
		}
	}
	return out, s.db.InTx(ctx, func(tx postgres.Tx) error {
		return audit.Add(ctx, tx, audit.Entry{Action: "data.exported", Subject: by.ID})
	})
}

func (s *Service) exportMine(ctx context.Context, in *Who) (api.File, error) {
	by := token.From(ctx)
	switch id, err := in.user(ctx); {
	case err != nil:
		return api.File{}, err
	case id != by.ID:
		return api.File{}, errNoUser
	}
	mine, err := s.Export(ctx, by)
	if err != nil {
		return api.File{}, err
	}
	raw, err := json.MarshalIndent(mine, "", " ")
	return api.File{ContentType: "application/json; charset=utf-8", Name: "tulifo-" + mine.MadeAt.Format(time.DateOnly) + ".json", Body: raw}, err
}
