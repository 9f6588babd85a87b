package event

import "github.com/google/uuid"

// Review is who wrote about whom.
type Review struct {
	ReviewID   uuid.UUID `json:"reviewId"`
	BookingID  uuid.UUID `json:"bookingId"`
	ReviewerID uuid.UUID `json:"reviewerId"`
	RevieweeID uuid.UUID `json:"revieweeId"`
}

// ReviewCreated says that a review was written; it is hidden still, so it carries no rating.
type ReviewCreated struct{ Review }

func (ReviewCreated) Type() string { return "review.created" }

// ReviewRevealed says that a review can be read, and what the reviewee's visible ratings come to now. A copy applies only a higher version.
type ReviewRevealed struct {
	Review
	Rating  int   `json:"rating"` // 1 to 5
	Sum     int64 `json:"sum"`    // of all visible ratings of the reviewee; the average is Sum/Count
	Count   int64 `json:"count"`
	Version int64 `json:"version"`
}

func (ReviewRevealed) Type() string { return "review.revealed" }

// BadgeAwarded says that a user has earned a badge.
type BadgeAwarded struct {
	UserID uuid.UUID `json:"userId"`
	Badge  string    `json:"badge"`
	Name   string    `json:"name"`
}

func (BadgeAwarded) Type() string { return "badge.awarded" }

// BadgeRevoked says that a user no longer meets a badge's criteria.
type BadgeRevoked struct {
	UserID uuid.UUID `json:"userId"`
	Badge  string    `json:"badge"`
	Name   string    `json:"name"`
}

func (BadgeRevoked) Type() string { return "badge.revoked" }
