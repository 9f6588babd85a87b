package user

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	maxSection = 16 << 10 // bytes of JSON of each part of the settings
	maxDepth   = 6
)

// Section is one part of the settings: an object whose members belong to the programs that people use; the platform keeps it as it is.
type Section = map[string]any

// Settings are what somebody has set.
type Settings struct {
	Notifications Section `json:"notifications"`
	Privacy       Section `json:"privacy"`
	Preferences   Section `json:"preferences"`
	Version       int64   `json:"version" doc:"0 before anything was set"`
}

// ResponseHeaders carry the version as an ETag.
func (s Settings) ResponseHeaders() http.Header { return etag(s.Version) }

// SettingsEdit changes settings member by member: what is absent stays, a member that is null goes, and a part that is null is emptied.
type SettingsEdit struct {
	Notifications api.Optional[Section] `json:"notifications" required:"false"`
	Privacy       api.Optional[Section] `json:"privacy" required:"false"`
	Preferences   api.Optional[Section] `json:"preferences" required:"false"`
	Version       *int64                `json:"version,omitempty" doc:"the one that was changed; If-Match says the same"`
}

// Settings are a user's, for the user or an admin. NotFound: by is somebody else.
func (s *Service) Settings(ctx context.Context, by token.Caller, id uuid.UUID) (Settings, error) {
	if err := own(by, id); err != nil {
		return Settings{}, err
	}
	found, err := settings(ctx, s.db, id)
	if errs.KindOf(err) != errs.NotFound {
		return found, err
	}
	// Nothing was set; an admin may have asked about nobody.
	if _, err := s.known(ctx, id); err != nil {
		return Settings{}, err
	}
	return noSettings(), nil
}

func noSettings() Settings { return Settings{Section{}, Section{}, Section{}, 0} }

// EditSettings changes a user's settings, for the user or an admin. NotFound: there is none, or by is somebody else.
// Conflict: it is not the version that was changed. Invalid: a part would be too large or too deep.
func (s *Service) EditSettings(ctx context.Context, by token.Caller, id uuid.UUID, e SettingsEdit) (Settings, error) {
	if err := own(by, id); err != nil {
		return Settings{}, err
	}
	var now Settings
	_, err := s.edit(ctx, id, func(tx postgres.Tx, _ *person) error {
		// The profile's row is locked, so nobody else is here.
		was, err := settings(ctx, tx, id)
		if errs.KindOf(err) == errs.NotFound {
			was, err = noSettings(), nil
		}
		if err != nil {
			return err
		}
		if err := current(e.Version, was.Version); err != nil {
			return err
		}
		if now, err = e.apply(was); err != nil {
			return err
		}
		putSettings(tx, id, now, s.clock.Now())
		return byAdmin(ctx, tx, by, id, "settings.edited", nil)
	})
	return now, err
}

func (e SettingsEdit) apply(was Settings) (Settings, error) {
	var f faults
	now := Settings{
		Notifications: f.merge("notifications", was.Notifications, e.Notifications),
		Privacy:       f.merge("privacy", was.Privacy, e.Privacy),
		Preferences:   f.merge("preferences", was.Preferences, e.Preferences),
		Version:       was.Version + 1,
	}
	return now, f.err()
}

func (f *faults) merge(field string, was Section, change api.Optional[Section]) Section {
	if change.Null {
		return Section{}
	}
	now := maps.Clone(was)
	for key, v := range change.Value {
		if v == nil {
			delete(now, key)
			continue
		}
		now[key] = v
	}
	if !storable(now, maxDepth) {
		f.add(field, "must not be nested deeper than 6 levels, nor hold control characters")
	} else if raw, err := json.Marshal(now); err != nil || len(raw) > maxSection {
		f.add(field, "must not be larger than 16 KiB")
	}
	return now
}

// storable says whether v is within depth and free of NUL, which Postgres does not keep.
func storable(v any, depth int) bool {
	if depth < 0 {
		return false
	}
	switch v := v.(type) {
	case string:
		return !strings.Contains(v, "\x00")
	case []any:
		for _, e := range v {
			if !storable(e, depth-1) {
				return false
			}
		}
	case map[string]any:
		for key, e := range v {
			if strings.Contains(key, "\x00") || !storable(e, depth-1) {
				return false
			}
		}
	}
	return true
}
