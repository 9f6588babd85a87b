package app

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/token"
)

// documents is the route of a booking's calendar file. Its path is shared with that of a feed, so its document says that it is public, and who may
// have the file is said here.
var documents = authz{roles: []string{"client", "worker", "admin"}, relation: "party", besides: []string{"admin"}}

// exceptions are answers inside of the states that the operation names, for who is let in but has to wait for somebody else.
var exceptions = map[string]int{
	"POST /api/v1/escrow/{id}/release while frozen as client": http.StatusConflict, // until who froze it decides
}

var personRoles = []string{"worker", "client", "admin", "support"}

// callers are services besides those that are named.
var callers = []string{"search", "dispute", "payment", "user", "notification", "booking"}

// matrix counts what has been tried of each operation.
type matrix struct {
	*world
	cells         map[string]int
	passed, tried map[string]bool
	made          map[string]thing
	dry           bool // make what the cells are about, and ask nothing
}

// TestMatrix tries every operation as everybody, about things that are theirs, the other side's and strangers', in every state. What is to be
// answered is what x-authz says.
func TestMatrix(t *testing.T) {
	w := openWorld(t, 80)
	m := &matrix{world: w, cells: map[string]int{}, passed: map[string]bool{}, tried: map[string]bool{}, made: map[string]thing{}}
	all := routes(w.p.machine.node)
	for _, r := range all {
		if r.path == "/api/bookings/{id}/{document}" {
			r.authz = documents
			all = append(all, r)
		}
	}
	w.reuse = true
	m.dry = true
	for _, r := range all {
		m.refuses(r)
	}
	m.dry = false
	before := w.fingerprint()
	for _, r := range all {
		m.refuses(r)
	}
	m.methods(routes(w.p.machine.node))
	for _, r := range all {
		m.assigns(r)
		m.outsiders(r)
	}
	if after := w.fingerprint(); after != before {
		t.Errorf("requests that were refused have changed something:\n%s\n%s", before, after)
	}
	for _, r := range all {
		m.admits(r)
	}
	for _, r := range all {
		if !m.tried[r.String()] || !m.passed[r.String()] {
			t.Errorf("%s: refused somebody %t, let somebody in %t: say in kinds how to make what it is about", r, m.tried[r.String()], m.passed[r.String()])
		}
	}
	total := 0
	for _, n := range m.cells {
		total += n
	}
	t.Logf("%d operations, %d cells: %v", len(all), total, m.cells)
	w.p.intact(t)
}

// about is what an operation is about, in the state, for somebody in the role.
func (m *matrix) about(r route, state, role string) (thing, bool) {
	m.t.Helper()
	k, ok := kindOf(r)
	if !ok {
		if strings.Contains(r.path, "{") {
			m.t.Errorf("%s: say in kinds how to make what it is about", r)
		}
		return thing{}, true
	}
	name := fmt.Sprint(r, " ", state, " ", role)
	if th, ok := m.made[name]; ok && m.reuse {
		return th, true
	}
	th, ok := k.make(m.world, r, state, role)
	if ok {
		m.made[name] = th
	}
	return th, ok
}

func (m *matrix) ask(r route, token string, th thing) *httptest.ResponseRecorder {
	body := th.raw
	if body == nil {
		body = r.bodyWith(uuid.New(), th.body)
	}
	req := httptest.NewRequest(r.method, r.addressOf(th.params, uuid.NewString()), bytes.NewReader(body))
	if body != nil {
		req.Header.Set("Content-Type", r.media())
	}
	return r.do(req, token)
}

// cell tries one cell, in which the answer has to be one of want.
func (m *matrix) cell(what string, r route, who, token string, th thing, want ...int) *httptest.ResponseRecorder {
	m.t.Helper()
	if m.dry {
		return httptest.NewRecorder()
	}
	m.cells[what]++
	m.tried[r.String()] = true
	a := m.ask(r, token, th)
	if !slices.Contains(want, a.Code) {
		m.t.Errorf("%s: %s as %s answers %d, not %d: %.300s", what, r, who, a.Code, want, a.Body)
	}
	return a
}

func (r route) lets(role string) bool {
	name, service := strings.CutPrefix(role, "service:")
	return slices.Contains(r.roles, role) || service && name != "" && slices.Contains(r.roles, "service")
}

// token is the service's, or that of the thing's owner in the role, or that of anybody in the role when it has none.
func (m *matrix) token(r route, role string, th thing) string {
	if strings.HasPrefix(role, "service") {
		return r.anybody(m.t, m.p.machine.node, role)
	}
	return m.fresh(m.owner(role, th), role)
}

// owner is whose the thing is in the role, or anybody in the role when it is nobody's.
func (m *matrix) owner(role string, th thing) person {
	if p, ok := th.sides[role]; ok {
		return p
	}
	return m.mine[role]
}

// renewed is a token of somebody whose last proof of who he is was then.
func (m *matrix) renewed(p person, role string, then time.Time) string {
	m.t.Helper()
	raw, _, err := m.p.machine.node.keys.Renew(token.Caller{ID: p.id, Role: role, Session: uuid.New(), ProvedAt: then})
	m.must(err)
	return raw
}

// inside are the roles that are let in to a thing: those that own it, or need not.
func (m *matrix) inside(r route, th thing) (in []string) {
	for _, role := range personRoles {
		_, owns := th.sides[role]
		if r.lets(role) && role != th.asker && (owns || r.relation == "none" || slices.Contains(r.besides, role) || r.relation == "self" && th.sides == nil) {
			in = append(in, role)
		}
	}
	return append(in, servicesOf(r)...)
}

// refuses tries whom the operation is not for, and states in which it is for nobody.
func (m *matrix) refuses(r route) {
	first := r.first()
	th, _ := m.about(r, first, "")
	if r.public() {
		m.tried[r.String()] = true
	} else {
		for who, raw := range m.tokens(r) {
			m.cell("token", r, who, raw, th, http.StatusUnauthorized)
		}
		for _, role := range personRoles {
			if !r.lets(role) {
				m.cell("role", r, role, m.token(r, role, th), th, http.StatusForbidden)
			}
		}
		for _, role := range m.inside(r, th) {
			if slices.Contains(r.stepUp, role) {
				a := m.cell("step-up", r, role+" with a proof of an hour ago", m.renewed(m.owner(role, th), role, time.Now().Add(-time.Hour)), th, http.StatusForbidden)
				if !m.dry && !strings.Contains(a.Body.String(), `"step_up_required"`) {
					m.t.Errorf("%s after an hour answers %s", r, a.Body)
				}
			}
		}
		for _, name := range callers {
			if !r.lets("service:" + name) {
				m.cell("service", r, name, r.anybody(m.t, m.p.machine.node, "service:"+name), th, http.StatusForbidden)
			}
		}
	}
	k, _ := kindOf(r)
	for _, state := range append([]string{first}, k.states...) {
		m.strangers(r, state)
	}
	if len(r.states) == 0 {
		return
	}
	for _, state := range outside(k.states, r.states) {
		th, _ := m.about(r, state, "")
		for _, role := range m.inside(r, th) {
			m.cell("state", r, role+" while "+state, m.token(r, role, th), th, http.StatusConflict)
		}
		if r.public() {
			m.cell("state", r, "anybody while "+state, "", th, http.StatusConflict)
		}
	}
}

// strangers get the answer of what is not there.
func (m *matrix) strangers(r route, state string) {
	if r.relation == "none" {
		return
	}
	th, _ := m.about(r, state, "")
	if th.sides == nil || r.relation == "self" && th.params == nil {
		return
	}
	gone := th
	gone.params = map[string]string{}
	for name := range th.params {
		gone.params[name] = uuid.NewString()
	}
	for name, value := range th.params {
		if uuid.Validate(value) != nil {
			gone.params[name] = value
		}
	}
	if th.params == nil {
		gone.body = map[string]any{}
		for name, v := range th.body {
			if _, is := v.(uuid.UUID); is {
				v = uuid.New()
			}
			gone.body[name] = v
		}
	}
	for _, role := range personRoles {
		if !r.lets(role) || slices.Contains(r.besides, role) {
			continue
		}
		raw := m.fresh(m.other[role], role)
		theirs := m.cell("stranger", r, role+" who is a stranger while "+state, raw, th, http.StatusNotFound)
		absent := m.cell("absent", r, role, raw, gone, http.StatusNotFound)
		if !same(theirs.Body.Bytes(), absent.Body.Bytes()) {
			m.t.Errorf("%s: a stranger is told %s, and of what is not there %s", r, theirs.Body, absent.Body)
		}
	}
	if r.relation == "asked" && slices.Contains(r.states, state) {
		for _, role := range []string{"worker", "client"} {
			th, _ := m.about(r, state, role)
			m.cell("asker", r, "the "+th.asker+" who asked", m.token(r, th.asker, th), th, http.StatusForbidden)
		}
	}
}

// admits tries everybody whom the operation is for, in each state in which it can be done.
func (m *matrix) admits(r route) {
	states := r.states
	if len(states) == 0 {
		states = []string{""}
	}
	harmless := r.method == http.MethodGet || len(r.states) == 0 || r.method == http.MethodPut
	m.reuse = harmless
	for _, state := range states {
		if r.public() {
			th, _ := m.about(r, state, "")
			m.cells["public"]++
			a := m.ask(r, "", th)
			if a.Code >= 500 || a.Code == http.StatusUnauthorized && r.op.Responses["401"] == nil || state != "" && a.Code >= 300 {
				m.t.Errorf("%s as anybody answers %d: %.300s", r, a.Code, a.Body)
			}
			m.passed[r.String()] = true
			continue
		}
		for _, role := range append(personRoles, servicesOf(r)...) {
			if !r.lets(role) {
				continue
			}
			th, ok := m.about(r, state, role)
			if !ok || !slices.Contains(m.inside(r, th), role) {
				continue
			}
			m.cells["admitted"]++
			a := m.ask(r, m.token(r, role, th), th)
			what := fmt.Sprintf("%s while %s as %s", r, state, role)
			want, except := exceptions[what]
			switch {
			case except && a.Code == want:
			case th.lacking && a.Code == http.StatusNotFound:
				m.passed[r.String()] = true
			case state != "" && a.Code/100 == 2 || state == "" && (a.Code < 400 || a.Code == http.StatusConflict || a.Code == http.StatusUnprocessableEntity):
				m.passed[r.String()] = true
			default:
				m.t.Errorf("%s answers %d: %.300s", what, a.Code, a.Body)
			}
		}
	}
}

func servicesOf(r route) (names []string) {
	for _, name := range callers {
		if r.lets("service:" + name) {
			names = append(names, "service:"+name)
		}
	}
	return names
}

// fingerprint is what the tables of people's things hold.
func (w *world) fingerprint() string {
	w.t.Helper()
	w.p.settle(w.t)
	return w.tables(map[string][]string{
		"auth": {"users"}, "user": {"user_profiles", "user_settings", "workers", "clients"}, "review": {"reviews", "stats", "user_badges"}, "escrow": {"escrow_accounts", "moves"},
		"booking": {"bookings", "blocks", "calendars", "weekly_rules", "busy"}, "payment": {"payments", "refunds", "payouts", "payout_accounts", "transfers"}, "notification": {"subscriptions", "preferences"},
	})
}
