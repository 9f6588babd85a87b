package user_test

import (
	"sync"
	"testing"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/bus"
	"tulifo/platform/postgres"
)

func revealed(to uuid.UUID, sum, count, version int64) event.ReviewRevealed {
	return event.ReviewRevealed{Review: event.Review{ReviewID: uuid.New(), RevieweeID: to}, Rating: 5, Sum: sum, Count: count, Version: version}
}

// Ratings come under many bookings, so in any order and number; the highest version counts, to the last digit (I13).
func TestRatings(t *testing.T) {
	w := start(t)
	ada := w.join("worker", "ada")
	page := "/api/workers/" + ada.id.String()
	w.hear(uuid.New(), revealed(ada.id, 5, 1, 1))
	w.Call(apitest.Call{What: "one review", Path: page, Status: 200, Has: `"averageRating":5,"totalReviews":1`})
	w.hear(uuid.New(), revealed(ada.id, 14, 3, 3))
	w.hear(uuid.New(), revealed(ada.id, 9, 2, 2))
	w.Call(apitest.Call{What: "an older one that comes later", Path: page, Status: 200, Has: `"averageRating":4.67,"totalReviews":3`})
	again := envelope(t, uuid.New(), revealed(ada.id, 19, 4, 4))
	w.publish(again, again)
	w.publish(again)
	w.Call(apitest.Call{What: "the same thrice", Path: page, Status: 200, Has: `"averageRating":4.75,"totalReviews":4`})
	w.Call(apitest.Call{What: "a rating is no edit", As: ada.token, Path: "/api/users/me", Status: 200, Has: `"version":1`})
	w.hear(uuid.New(), revealed(ada.id, 0, 0, 5))
	w.Call(apitest.Call{What: "all hidden again", Path: page, Status: 200, Has: `"averageRating":0,"totalReviews":0`})
	w.hear(uuid.New(), revealed(ada.id, 4999, 1000, 6))
	w.Call(apitest.Call{What: "nearly five rounds to it in what is shown only", Path: page, Status: 200, Has: `"averageRating":5,`})
	breaches, err := w.user.Check(t.Context())
	if err != nil || len(breaches) != 1 {
		t.Errorf("review says otherwise, and Check says %v, %v", breaches, err)
	}
	w.peers.mu.Lock()
	w.peers.stats[ada.id] = stats{5, 1000}
	w.peers.mu.Unlock()
	w.clean()
}

// That a review was written is seen by whom it is about, and what it says only when it is revealed.
func TestReviewsWaiting(t *testing.T) {
	w := start(t)
	ada, booking := w.join("worker", "ada"), uuid.New()
	first := event.Review{ReviewID: uuid.New(), BookingID: booking, RevieweeID: ada.id}
	once := envelope(t, booking, event.ReviewCreated{Review: first})
	w.publish(once, once)
	w.hear(uuid.New(), event.ReviewCreated{Review: event.Review{ReviewID: uuid.New(), RevieweeID: ada.id}})
	w.Call(apitest.Call{What: "two wait", As: ada.token, Path: "/api/users/me", Status: 200, Has: `"totalReviews":0,"reviewsWaiting":2`})
	w.Call(apitest.Call{What: "nobody else sees it", Path: "/api/workers/" + ada.id.String(), Status: 200, HasNot: "reviewsWaiting"})
	w.hear(booking, event.ReviewRevealed{Review: first, Rating: 4, Sum: 4, Count: 1, Version: 1})
	w.Call(apitest.Call{What: "one is revealed", As: ada.token, Path: "/api/users/me", Status: 200, Has: `"totalReviews":1,"reviewsWaiting":1`})
}

// A review of somebody who is not known yet waits until they are.
func TestRatingBeforeUser(t *testing.T) {
	w := start(t)
	id, booking := uuid.New(), uuid.New()
	w.deliver(envelope(t, booking, revealed(id, 5, 1, 1)))
	w.hear(id, event.UserCreated{UserID: id, Email: "a@example.com", Name: "Ada", Role: "worker"})
	wait(t, func() bool {
		n, err := postgres.One[int64](t.Context(), w.db, `SELECT total_reviews FROM user_profiles WHERE user_id = $1`, id)
		return err == nil && n == 1
	})
}

func TestBadges(t *testing.T) {
	w := start(t)
	ada := w.join("worker", "ada")
	page := "/api/workers/" + ada.id.String()
	w.hear(ada.id, event.BadgeAwarded{UserID: ada.id, Badge: "five_star", Name: "5-Star Achiever"}, event.BadgeAwarded{UserID: ada.id, Badge: "top", Name: "Top Performer"},
		event.BadgeAwarded{UserID: ada.id, Badge: "five_star", Name: "5-Star Achiever"})
	w.Call(apitest.Call{What: "two badges, each once", Path: page, Status: 200, Has: `"badges":[{"badge":"top","name":"Top Performer"},{"badge":"five_star","name":"5-Star Achiever"}]`})
	w.hear(ada.id, event.BadgeRevoked{UserID: ada.id, Badge: "five_star"}, event.BadgeRevoked{UserID: ada.id, Badge: "five_star"}, event.BadgeRevoked{UserID: ada.id, Badge: "none"})
	w.Call(apitest.Call{What: "one is lost", Path: page, Status: 200, Has: `"badges":[{"badge":"top","name":"Top Performer"}]`})
}

// A whole life in one batch: each event sees what the one before it did, though they share a transaction.
func TestAccountFollowsAuth(t *testing.T) {
	w := start(t)
	id := uuid.Must(uuid.NewV7())
	life := []bus.Envelope{
		envelope(t, id, event.UserCreated{UserID: id, Email: "ada@example.com", Name: "Ada", Role: "client"}),
		envelope(t, id, event.UserVerified{UserID: id, Email: "ada@example.com"}),
		envelope(t, id, event.UserRoleChanged{UserID: id, Role: "worker"}),
		envelope(t, id, event.UserEmailChanged{UserID: id, Email: "lovelace@example.com", Previous: "ada@example.com"}),
		envelope(t, id, event.BadgeAwarded{UserID: id, Badge: "top", Name: "Top"}),
		envelope(t, id, event.UserSuspended{UserID: id, Reason: "x"}),
		envelope(t, id, event.UserReinstated{UserID: id}),
	}
	w.publish(life...)
	w.publish(life...)
	tok := w.Token("worker", id)
	w.Calls(
		apitest.Call{What: "the account", As: tok, Path: "/api/users/me", Status: 200, Has: `"email":"lovelace@example.com","emailVerified":true,"name":"Ada","role":"worker","status":"active"`},
		apitest.Call{What: "an offer", As: tok, Method: "PUT", Path: "/api/workers/me", Body: `{"hourlyRate":80,"title":"x"}`, Status: 200, Has: `"active":true`},
		apitest.Call{What: "a profile", As: tok, Method: "PUT", Path: "/api/users/me", Body: `{"bio":"secret life","location":{"city":"Rome","lat":1,"lon":1}}`, Status: 200},
		apitest.Call{What: "settings", As: tok, Method: "PUT", Path: "/api/users/me/settings", Body: `{"privacy":{"a":"secret"}}`, Status: 200},
	)
	if e, n := lastTold[event.WorkerUpdated](w, id); n != 2 || e.Version != 2 || !e.Active {
		t.Errorf("told %d times of the offer, the last %+v", n, e)
	}
	w.hear(id, event.UserRoleChanged{UserID: id, Role: "client"})
	w.Call(apitest.Call{What: "no worker any more", Path: "/api/workers/" + id.String(), Status: 404})
	if e, _ := lastTold[event.WorkerUpdated](w, id); e.Active {
		t.Error("the others think that the client works")
	}
	w.hear(id, event.UserRoleChanged{UserID: id, Role: "worker"})
	w.Call(apitest.Call{What: "the old offer is there again", Path: "/api/workers/" + id.String(), Status: 200, Has: `"hourlyRate":80.00`})
	w.hear(id, event.UserDeleted{UserID: id})
	admin := w.Token("admin", uuid.New())
	w.Calls(
		apitest.Call{What: "no page", Path: "/api/workers/" + id.String(), Status: 404},
		apitest.Call{What: "no profile", As: tok, Path: "/api/users/me", Status: 404},
		apitest.Call{What: "no change", As: tok, Method: "PUT", Path: "/api/users/me", Body: `{"bio":"back"}`, Status: 404},
		apitest.Call{What: "no settings", As: tok, Path: "/api/users/me/settings", Status: 404},
		apitest.Call{What: "no settings anew", As: tok, Method: "PUT", Path: "/api/users/me/settings", Body: `{"privacy":{}}`, Status: 404},
		apitest.Call{What: "not among users", As: admin, Path: "/api/users", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "no card", As: w.ServiceToken("notification", "user"), Path: "/api/users/" + id.String() + "/card", Status: 404},
	)
	w.hear(id, event.UserReinstated{UserID: id}, event.UserEmailChanged{UserID: id, Email: "again@example.com"})
	w.Call(apitest.Call{What: "deleted for good", Path: "/api/workers/" + id.String(), Status: 404})
	if e, _ := lastTold[event.UserUpdated](w, id); e.Name != "Deleted user" {
		t.Errorf("told %+v", e)
	}
	w.clean()
}

// News of somebody whose registration was never told changes nothing; auth says it when it matters.
func TestNewsOfStrangers(t *testing.T) {
	w := start(t)
	id := uuid.New()
	w.hear(id, event.UserVerified{UserID: id}, event.UserSuspended{UserID: id}, event.UserDeleted{UserID: id})
	if n, err := postgres.One[int64](t.Context(), w.db, `SELECT count(*) FROM user_profiles`); err != nil || n != 0 {
		t.Errorf("%d profiles, %v", n, err)
	}
	if n, err := postgres.One[int64](t.Context(), w.db, `SELECT count(*) FROM dead_letters`); err != nil || n != 0 {
		t.Errorf("%d dead letters, %v", n, err)
	}
}

// While people edit, events of their account and reviews come in: nothing of either is lost.
func TestEventsAmongEdits(t *testing.T) {
	w := start(t)
	ada := w.join("worker", "ada")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				w.Call(apitest.Call{What: "an edit", As: ada.token, Method: "PUT", Path: "/api/workers/me", Body: `{"hourlyRate":80}`, Status: 200})
				w.Call(apitest.Call{What: "an edit", As: ada.token, Method: "PUT", Path: "/api/workers/me", Body: `{"hourlyRate":81}`, Status: 200})
			}
		})
	}
	for v := range int64(8) {
		w.hear(uuid.New(), revealed(ada.id, 5*(v+1), v+1, v+1))
		w.hear(ada.id, event.UserSuspended{UserID: ada.id}, event.UserReinstated{UserID: ada.id}, event.BadgeAwarded{UserID: ada.id, Badge: "top", Name: "Top"})
	}
	all.Wait()
	w.Call(apitest.Call{What: "all of it", Path: "/api/workers/" + ada.id.String(), Status: 200, Has: `"averageRating":5,"totalReviews":8,"badges":[{"badge":"top","name":"Top"}]`})
	w.peers.mu.Lock()
	w.peers.stats[ada.id] = stats{5, 8}
	w.peers.mu.Unlock()
	w.clean()
}
