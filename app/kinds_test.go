package app

import (
	"bytes"
	"cmp"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/png"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/postgres"
)

// kind is what the operations under a path are about, and how one is made. make answers the thing in the state for somebody in the role; when the
// operation is refused in all that it is tried with, it may be used again and again. ok is false when nobody in that role can have one.
type kind struct {
	path   string // of the operation, or how it begins; the longest counts
	states []string
	make   func(w *world, r route, state, role string) (th thing, ok bool)
}

// kinds is the table in which a new kind of thing gets its row. Operations that name nothing need none.
var kinds = []kind{
	{"POST /api/payments", paymentStates, func(w *world, r route, state, _ string) (thing, bool) {
		d := w.paymentIn(state)
		return thing{body: map[string]any{"bookingId": d.booking}, sides: map[string]person{"client": w.of[d.booking]}}, true
	}},
	{"/api/payments/{id}", paymentStates, func(w *world, r route, state, _ string) (thing, bool) {
		d := w.paymentIn(cmp.Or(state, "completed"))
		return thing{params: map[string]string{"id": d.payment.String()}, sides: w.sides(d)}, true
	}},
	{"/api/payments/receipts/{id}", nil, func(w *world, r route, _, _ string) (thing, bool) {
		d := w.paymentIn("completed")
		return thing{params: map[string]string{"id": d.payment.String()}, sides: map[string]person{"client": w.of[d.booking]}}, true
	}},
	{"/api/payments/reviews/{kind}/{id}", paymentStates, func(w *world, r route, state, _ string) (thing, bool) {
		return thing{params: map[string]string{"kind": "payment", "id": w.paymentIn(state).payment.String()}}, true
	}},
	{"/api/auth/people/{id}", nil, somebody}, {"/api/bookings/people/{id}", nil, somebody}, {"/api/payments/people/{id}", nil, somebody},
	{"/api/notifications/people/{id}", nil, somebody}, {"/api/v1/escrow/people/{id}", nil, somebody}, {"/api/v1/reviews/people/{id}", nil, somebody}, {"/api/users/people/{id}", nil, somebody},
	{"/api/payments/booking/{bookingId}", nil, func(w *world, r route, _, _ string) (thing, bool) {
		return thing{params: map[string]string{"bookingId": w.sold().booking.String()}}, true
	}},
	{"POST /api/v1/escrow", nil, func(w *world, r route, _, _ string) (thing, bool) {
		d := w.sold()
		return thing{body: map[string]any{"paymentId": d.payment}, sides: w.sides(d)}, true
	}},
	{"/api/v1/escrow/{id}", escrowStates, func(w *world, r route, state, _ string) (thing, bool) {
		d := w.escrowIn(cmp.Or(state, "active"))
		return thing{params: map[string]string{"id": d.escrow.String()}, sides: w.sides(d)}, true
	}},
	{"POST /api/v1/reviews", bookingStates, func(w *world, r route, state, _ string) (thing, bool) {
		d := w.bookingIn(state)
		if state == "completed" {
			w.p.settle(w.t)
		}
		return thing{body: map[string]any{"bookingId": d.booking, "rating": 4}, sides: w.sides(d)}, true
	}},
	{"/api/bookings/{id}", bookingStates, aboutBooking},
	{"POST /api/bookings", nil, func(w *world, r route, _, _ string) (thing, bool) {
		at := w.start()
		return thing{body: map[string]any{"workerId": w.worker.id, "title": "Calm the cluster", "startTime": at, "endTime": at.Add(time.Hour)}}, true
	}},
	{"/api/users/{id}/avatar", nil, func(w *world, r route, state, role string) (thing, bool) {
		th, ok := own(w, r, state, role)
		var picture bytes.Buffer
		w.must(png.Encode(&picture, image.NewGray(image.Rect(0, 0, 64, 64))))
		th.raw = picture.Bytes()
		return th, ok
	}},
	{"/api/users/{id}", nil, own}, {"/api/workers/{id}", nil, ofWorker}, {"/api/availability/worker/{id}", nil, ofWorker},
	{"/api/clients/{id}", nil, func(w *world, r route, state, role string) (thing, bool) {
		d := w.bookingIn("confirmed") // it has brought the two together
		client := w.of[d.booking]
		th := thing{params: map[string]string{"id": client.id.String()}, sides: map[string]person{"client": client}}
		if r.relation == "party" {
			th.sides = w.sides(d)
		}
		return th, true
	}},
	{"/api/availability/worker/{id}/block/{slotId}", nil, func(w *world, r route, _, _ string) (thing, bool) {
		var block struct{ ID uuid.UUID }
		at := w.start()
		w.post(w.worker, "/api/availability/worker/me/block", map[string]any{"startTime": at, "endTime": at.Add(time.Hour)}, http.StatusCreated, &block)
		return thing{params: map[string]string{"id": w.worker.id.String(), "slotId": block.ID.String()}, sides: map[string]person{"worker": w.worker}}, true
	}},
	{"/api/auth/sessions/{id}", nil, func(w *world, r route, _, role string) (thing, bool) {
		role, me := w.me(role)
		w.post(person{}, "/api/auth/login", map[string]any{"email": me.email, "password": tourPassword}, http.StatusOK, nil)
		id, err := postgres.One[uuid.UUID](w.t.Context(), w.db("auth"), `SELECT max(id::text)::uuid FROM sessions WHERE user_id = $1`, me.id)
		w.must(err)
		return thing{params: map[string]string{"id": id.String()}, sides: map[string]person{role: me}}, true
	}},
	{"/api/auth/passkeys/{id}", nil, func(w *world, r route, _, role string) (thing, bool) {
		role, me := w.me(role)
		id := uuid.New()
		_, err := w.db("auth").Exec(w.t.Context(), `
			INSERT INTO passkeys (id, user_id, name, credential_id, public_key, sign_count, backup_eligible, transports, created_at)
			VALUES ($1, $2, 'Phone', $3, '\x00', 0, false, '{}', clock_timestamp())`, id, me.id, id[:])
		w.must(err)
		return thing{params: map[string]string{"id": id.String()}, body: map[string]any{"name": "Laptop"}, sides: map[string]person{role: me}}, true
	}},
	{"/api/auth/users/{id}", nil, somebody},
	{"DELETE /api/auth/me", nil, func(w *world, r route, _, role string) (thing, bool) {
		if role == "admin" || role == "support" {
			return thing{sides: map[string]person{role: w.staff(role, uuid.NewString()[:8])}}, true
		}
		role = cmp.Or(role, "client")
		if role != "client" && role != "worker" {
			return thing{}, false
		}
		p, err := w.register(w.t.Context(), "Lee", role)
		w.must(err)
		return thing{sides: map[string]person{role: p}}, true
	}},
	{"DELETE /api/auth/totp", nil, secured}, {"POST /api/auth/totp/", nil, secured},
	{"/api/auth/oauth/{provider}", nil, elsewhere}, {"/api/auth/identities/{provider}", nil, elsewhere},
	{"POST /api/bookings/series", nil, func(w *world, r route, _, _ string) (thing, bool) {
		at := w.weekly()
		return thing{body: map[string]any{"workerId": w.worker.id, "title": "Calm the cluster", "startTime": at, "endTime": at.Add(15 * time.Minute), "weeks": 2, "mode": "all"}}, true
	}},
	{"/api/bookings/series/{id}", nil, func(w *world, r route, _, _ string) (thing, bool) {
		c, err := w.register(w.t.Context(), "Sela", "client") // who holds nothing else yet
		w.must(err)
		var made struct{ ID uuid.UUID }
		at := w.weekly()
		w.post(c, "/api/bookings/series", map[string]any{"workerId": w.worker.id, "title": "Calm the cluster", "startTime": at, "endTime": at.Add(15 * time.Minute), "weeks": 2, "mode": "all"}, http.StatusCreated, &made)
		return thing{params: map[string]string{"id": made.ID.String()}, sides: map[string]person{"worker": w.worker, "client": c}}, true
	}},
	{"/api/payments/reconciliation/{id}", nil, func(w *world, r route, _, _ string) (thing, bool) {
		var report struct{ ID uuid.UUID }
		w.post(w.admin, "/api/payments/reconciliation", nil, http.StatusCreated, &report)
		return thing{params: map[string]string{"id": report.ID.String()}}, true
	}},
	{"/api/payments/fee-rules/{id}", nil, func(w *world, r route, _, _ string) (thing, bool) {
		var rule struct{ ID uuid.UUID }
		w.post(w.admin, "/api/payments/fee-rules", map[string]any{"category": "matrix " + uuid.NewString()[:8], "basisPoints": 500, "reason": "a trial"}, http.StatusCreated, &rule)
		return thing{params: map[string]string{"id": rule.ID.String()}}, true
	}},
	{"/api/availability/worker/{id}/calendars/{calendarId}", nil, func(w *world, r route, _, _ string) (thing, bool) {
		// A calendar of another site, which this world cannot reach.
		id := uuid.New()
		_, err := w.db("booking").Exec(w.t.Context(), `INSERT INTO external_calendars (id, worker_id, name, url, etag, last_modified, covers_from, events, fetched_at, tried_at, failures, error,
			next_try_at, created_at) VALUES ($1, $2, 'Other', $5, '', '', $3, 0, $3, $3, 0, '', $4, $3)`, id, w.worker.id, w.v.Now(), time.Now().Add(time.Hour), "https://calendar.invalid/"+id.String())
		w.must(err)
		return thing{params: map[string]string{"id": w.worker.id.String(), "calendarId": id.String()}, sides: map[string]person{"worker": w.worker}}, true
	}},
	{"POST /api/auth/password", nil, func(w *world, r route, _, _ string) (thing, bool) {
		return thing{body: map[string]any{"currentPassword": tourPassword, "newPassword": tourPassword}}, true
	}},
	{"POST /api/auth/email", nil, func(w *world, r route, _, _ string) (thing, bool) {
		return thing{body: map[string]any{"password": tourPassword, "newEmail": uuid.NewString()[:8] + "@matrix.example"}}, true
	}},
	{"DELETE /api/notifications/subscriptions", nil, func(w *world, r route, _, role string) (thing, bool) {
		_, me := w.me(role)
		key, err := ecdh.P256().GenerateKey(rand.Reader)
		w.must(err)
		endpoint := "https://push.example/" + uuid.NewString()
		w.post(me, "/api/notifications/subscriptions", map[string]any{"endpoint": endpoint, "keys": map[string]string{
			"p256dh": base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes()), "auth": base64.RawURLEncoding.EncodeToString(make([]byte, 16))}}, http.StatusCreated, nil)
		return thing{body: map[string]any{"endpoint": endpoint}}, true
	}},
	{"/api/auth/links/{token}", []string{"open", "used"}, func(w *world, r route, state, _ string) (thing, bool) {
		p := person{email: "link-" + uuid.NewString()[:8] + "@matrix.example"}
		w.post(p, "/api/auth/register", map[string]string{"email": p.email, "password": tourPassword, "name": "Lin", "role": "client"}, http.StatusCreated, nil)
		link, err := w.mailedLink(w.t.Context(), p.email)
		w.must(err)
		if state == "used" {
			w.post(person{}, link.Path, map[string]any{}, http.StatusOK, nil)
		}
		return thing{params: map[string]string{"token": link.Path[strings.LastIndex(link.Path, "/")+1:]}}, true
	}},
	{"/api/auth/links/{id}/url", nil, func(w *world, r route, _, _ string) (thing, bool) {
		w.post(person{}, "/api/auth/forgot-password", map[string]any{"email": w.client.email}, http.StatusOK, nil)
		id, err := postgres.One[uuid.UUID](w.t.Context(), w.db("auth"), `SELECT id FROM links WHERE user_id = $1 AND used_at IS NULL ORDER BY id DESC LIMIT 1`, w.client.id)
		w.must(err)
		return thing{params: map[string]string{"id": id.String()}}, true
	}},
	{"/api/notifications/{id}", nil, func(w *world, r route, _, role string) (thing, bool) {
		role, me := w.me(role)
		var list []struct{ ID uuid.UUID }
		w.get(me, "/api/notifications", &list)
		if len(list) == 0 {
			return thing{}, false
		}
		return thing{params: map[string]string{"id": list[0].ID.String()}, sides: map[string]person{role: me}}, true
	}},
	{"/api/notifications/unsubscribe/{token}", nil, nobodys}, {"/api/v1/reviews/", nil, ofWorker}, {"/api/v1/badges/{userId}", nil, ofWorker},
}

// me is who of w.mine has the role, and the worker when nobody has.
func (w *world) me(role string) (string, person) {
	if p, ok := w.mine[role]; ok {
		return role, p
	}
	return "worker", w.worker
}

// aboutBooking is a booking in the state and, for what needs it, at a time that the operation can be done at, or with the other side's proposal.
func aboutBooking(w *world, r route, state, role string) (thing, bool) {
	move := strings.Contains(r.path, "/reschedule")
	var d sale
	th := thing{body: map[string]any{}}
	switch {
	case move && (state == "pending" || state == "confirmed"):
		w.near = w.near.Add(time.Hour)
		d = w.pending(w.near)
		if state == "confirmed" {
			w.order(w.worker, bookingPath(d.booking)+"/confirm", map[string]any{})
		}
		th.body["startTime"] = w.start()
		if r.relation == "asked" {
			asker, by := "client", w.of[d.booking]
			if role == "client" {
				asker, by = "worker", w.worker
			}
			w.order(by, bookingPath(d.booking)+"/reschedule", map[string]any{"startTime": th.body["startTime"]})
			th.asker = asker
		}
	case move:
		d, th.body["startTime"] = w.bookingIn(state), w.start()
	case strings.HasSuffix(r.path, "/contest") && state == "no_show":
		d = w.sold()
		asker, by := "client", w.of[d.booking]
		if role == "client" {
			asker, by = "worker", w.worker
		}
		w.order(by, bookingPath(d.booking)+"/no-show", map[string]any{})
		th.asker = asker
	default:
		d = w.bookingIn(cmp.Or(state, "confirmed"))
	}
	th.params, th.sides = map[string]string{"id": d.booking.String(), "document": "ics"}, w.sides(d)
	return th, true
}

func own(w *world, r route, _, role string) (thing, bool) {
	role, me := w.me(role)
	return thing{params: map[string]string{"id": me.id.String()}, sides: map[string]person{role: me}}, true
}

func ofWorker(w *world, r route, _, _ string) (thing, bool) {
	th := thing{params: map[string]string{"id": w.worker.id.String(), "userId": w.worker.id.String()}, sides: map[string]person{"worker": w.worker}}
	if strings.HasSuffix(r.path, "/block") {
		at := w.start()
		th.body = map[string]any{"startTime": at, "endTime": at.Add(time.Hour)}
	}
	return th, true
}

// somebody is who a service does something to; nobody whom anything else is tried with.
func somebody(w *world, _ route, _, _ string) (thing, bool) {
	return thing{params: map[string]string{"id": w.other["client"].id.String()}}, true
}

// nobodys is for operations that are public, and whose thing nobody has.
func nobodys(*world, route, string, string) (thing, bool) { return thing{}, true }

// kindOf is the row for an operation.
func kindOf(r route) (kind, bool) {
	var best kind
	for _, k := range kinds {
		path := k.path
		whole := strings.Contains(path, " ")
		prefix := strings.HasSuffix(path, "/") && strings.HasPrefix(r.String(), path)
		if whole && path != r.String() && !prefix || !whole && !strings.HasPrefix(r.path, path) {
			continue
		}
		if whole || len(path) > len(best.path) {
			best = k
			if whole {
				break
			}
		}
	}
	return best, best.make != nil
}

// same says whether two answers are the same but for the request's id.
func same(a, b []byte) bool {
	strip := func(raw []byte) string {
		var v map[string]any
		if json.Unmarshal(raw, &v) != nil {
			return string(raw)
		}
		delete(v, "requestId")
		out, _ := json.Marshal(v)
		return string(out)
	}
	return strip(a) == strip(b)
}
