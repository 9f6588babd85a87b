package event

import (
	"github.com/google/uuid"

	"tulifo/platform/money"
)

// UserUpdated says how the user is to be addressed now. A copy applies only a higher version.
type UserUpdated struct {
	UserID   uuid.UUID `json:"userId"`
	Name     string    `json:"name"`
	Locale   string    `json:"locale"`   // BCP 47, such as en
	Timezone string    `json:"timezone"` // IANA
	Country  string    `json:"country"`  // ISO 3166-1 alpha-2, or empty
	Version  int64     `json:"version"`
}

func (UserUpdated) Type() string { return "user.updated" }

// Skill is one thing a worker can do.
type Skill struct {
	Name        string `json:"name"`
	Proficiency int    `json:"proficiency"` // 1 to 5
}

// WorkerUpdated is all that others need to know of a worker's offer. A copy applies only a higher version.
type WorkerUpdated struct {
	WorkerID       uuid.UUID    `json:"workerId"`
	Title          string       `json:"title"`
	Rate           money.Amount `json:"rate"` // per hour; zero while none is set
	Skills         []Skill      `json:"skills"`
	Categories     []string     `json:"categories"`
	Timezone       string       `json:"timezone"`
	Country        string       `json:"country"`
	InstantBooking bool         `json:"instantBooking"`
	Active         bool         `json:"active"` // may be booked: not suspended, has a rate, takes work
	Version        int64        `json:"version"`
}

func (WorkerUpdated) Type() string { return "worker.updated" }
