package notification

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/docdb"
)

// people are who can be told, as auth and user tell of them.
var people = docdb.NewCollection[person]("people")

type person struct {
	ID       uuid.UUID `json:"id"`
	Email    string    `json:"email"` // empty until auth has told of the user
	Verified bool      `json:"verified"`
	Name     string    `json:"name"`
	Locale   string    `json:"locale"`
	Timezone string    `json:"timezone"`
	Version  int64     `json:"version"` // of name, locale and zone
}

// preferred are what people switched off. Cells are switched one by one, so that two changes at once both count.
var preferred = docdb.NewCollection[preferences]("preferences")

type preferences struct {
	ID    uuid.UUID       `json:"id"` // the user's
	Off   map[string]bool `json:"off"`
	Quiet *QuietHours     `json:"quietHours,omitempty"`
}

// notifications are what people see in the app.
var notifications = docdb.NewCollection[notification]("notifications",
	docdb.Index{Name: "notifications_user", Fields: []string{"userId", "createdAt"}},
	docdb.Index{Name: "notifications_unread", Fields: []string{"userId", "createdAt"}, Where: docdb.Missing("readAt")},
	docdb.Index{Name: "notifications_expire", Fields: []string{"expiresAt"}, Expire: true},
)

type notification struct {
	Notification
	UserID    uuid.UUID `json:"userId"`
	ExpiresAt time.Time `json:"expiresAt"` // business time
}

// The states of a delivery.
const (
	queued  = "queued"
	held    = "held"
	sent    = "sent"
	failed  = "failed"
	dropped = "dropped"
)

// What a delivery waits for says its state as well, and a condition without a value is one that the planner can match to a partial index.
var isQueued, isHeld = docdb.Exists("nextTryAt"), docdb.Exists("dueAt")

// deliveries are e-mails to be sent. The id is made of event, user and channel, so there is one of each.
var deliveries = docdb.NewCollection[delivery]("deliveries",
	docdb.Index{Name: "deliveries_key", Fields: []string{"eventId", "userId", "channel"}, Unique: true},
	docdb.Index{Name: "deliveries_queued", Fields: []string{"nextTryAt"}, Where: isQueued},
	docdb.Index{Name: "deliveries_held", Fields: []string{"dueAt"}, Where: isHeld},
	docdb.Index{Name: "deliveries_user", Fields: []string{"userId"}},
	docdb.Index{Name: "deliveries_expire", Fields: []string{"expiresAt"}, Expire: true},
)

type delivery struct {
	ID        uuid.UUID       `json:"id"`
	EventID   uuid.UUID       `json:"eventId"`
	UserID    uuid.UUID       `json:"userId"`
	Channel   Channel         `json:"channel"`
	Audience  string          `json:"audience"`
	Type      string          `json:"type"`
	Data      json.RawMessage `json:"data"`              // of the event; the words are found when it is sent
	Address   string          `json:"address,omitempty"` // where it goes when that is not the person's address
	LinkID    *uuid.UUID      `json:"linkId,omitempty"`
	Occurred  time.Time       `json:"occurred"` // business time of the event
	Status    string          `json:"status"`
	Attempts  int64           `json:"attempts"`
	NextTryAt *time.Time      `json:"nextTryAt,omitempty"` // system time, while queued
	DueAt     *time.Time      `json:"dueAt,omitempty"`     // business time, while held
	Reason    string          `json:"reason,omitempty"`    // of the last failure
	CreatedAt time.Time       `json:"createdAt"`           // system time
	ExpiresAt *time.Time      `json:"expiresAt,omitempty"` // system time, once it is over
}

// reminders are the confirmed bookings that have not begun.
var reminders = docdb.NewCollection[reminder]("reminders",
	docdb.Index{Name: "reminders_due", Fields: []string{"dueAt"}},
)

type reminder struct {
	ID      uuid.UUID     `json:"id"` // the booking's
	Booking event.Booking `json:"booking"`
	DueAt   *time.Time    `json:"dueAt,omitempty"` // business time of the next reminder; none is left without it
}

// subscriptions are the browsers that may be pushed to.
var subscriptions = docdb.NewCollection[subscription]("subscriptions",
	docdb.Index{Name: "subscriptions_user", Fields: []string{"userId", "createdAt"}},
)

type subscription struct {
	ID        string    `json:"id"` // hash of the endpoint
	UserID    uuid.UUID `json:"userId"`
	Endpoint  string    `json:"endpoint"`
	P256dh    string    `json:"p256dh"`
	Auth      string    `json:"auth"`
	CreatedAt time.Time `json:"createdAt"`
}

// reviewers are who has written a review of a booking, so that nobody is asked for what they have written.
var reviewers = docdb.NewCollection[reviewer]("reviewers",
	docdb.Index{Name: "reviewers_expire", Fields: []string{"expiresAt"}, Expire: true},
)

type reviewer struct {
	ID        uuid.UUID `json:"id"`        // of booking and user: reviewerID
	ExpiresAt time.Time `json:"expiresAt"` // business time
}
