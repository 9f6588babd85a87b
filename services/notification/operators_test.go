package notification_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tulifo/platform/api/apitest"
	"tulifo/platform/docdb"
)

// Objects that a document store would take for operators come in every place that a stranger can fill: none is answered with another's data, none
// changes anything.
func TestOperatorsFromClientsReachNoFilter(t *testing.T) {
	w := start(t, options{})
	victim, eve := w.someone("Vic", "UTC"), w.someone("Eve", "UTC")
	w.tell(victim, badge(victim, 1))
	const endpoint = "https://fcm.googleapis.com/fcm/send/victims"
	w.Call(apitest.Call{What: "the victim's browser", As: w.Token("client", victim), Method: "POST", Path: "/api/notifications/subscriptions",
		Body: `{"endpoint":"` + endpoint + `","keys":{"p256dh":"` + p256dh + `","auth":"` + secret + `"}}`, Status: http.StatusCreated})
	before := w.everything()
	as := w.Token("client", eve)
	for _, op := range []string{`{"$ne":1}`, `{"$gt":""}`, `{"$regex":".*"}`, `{"$where":"sleep(1000)"}`, `{"$in":["` + victim.String() + `"]}`, `["$ne"]`, `{"$expr":{"$eq":[1,1]}}`} {
		for what, c := range map[string]apitest.Call{
			"an endpoint to forget":    {Method: "DELETE", Path: "/api/notifications/subscriptions", Body: `{"endpoint":` + op + `}`},
			"an endpoint to keep":      {Method: "POST", Path: "/api/notifications/subscriptions", Body: `{"endpoint":` + op + `,"keys":{"p256dh":` + op + `,"auth":` + op + `}}`},
			"a category":               {Method: "PUT", Path: "/api/notifications/preferences", Body: `{"matrix":` + op + `}`},
			"a channel":                {Method: "PUT", Path: "/api/notifications/preferences", Body: `{"matrix":{"bookings":` + op + `}}`},
			"a switch":                 {Method: "PUT", Path: "/api/notifications/preferences", Body: `{"matrix":{"bookings":{"email":` + op + `}}}`},
			"a name with a dollar":     {Method: "PUT", Path: "/api/notifications/preferences", Body: `{"matrix":{"$set":{"email":false}}}`},
			"a name with a dot":        {Method: "PUT", Path: "/api/notifications/preferences", Body: `{"matrix":{"bookings.email":{"email":false}}}`},
			"quiet hours":              {Method: "PUT", Path: "/api/notifications/preferences", Body: `{"quietHours":` + op + `}`},
			"an hour":                  {Method: "PUT", Path: "/api/notifications/preferences", Body: `{"quietHours":{"start":` + op + `,"end":"07:00"}}`},
			"an id":                    {Method: "PATCH", Path: "/api/notifications/" + url.PathEscape(op) + "/read"},
			"a cursor":                 {Path: "/api/notifications?cursor=" + url.QueryEscape(op)},
			"a cursor in its own form": {Path: "/api/notifications?cursor=" + base64.RawURLEncoding.EncodeToString([]byte(`["createdAt","true",`+op+`,`+op+`]`))},
			"a limit":                  {Path: "/api/notifications?limit=" + url.QueryEscape(op)},
		} {
			c.What, c.As = what+" "+op, as
			if got := w.Call(c); got.Status < 400 || got.Status >= 500 || strings.Contains(string(got.Body), "Badge") {
				t.Errorf("%s: %d %s", c.What, got.Status, got.Body)
			}
		}
		for _, path := range []string{"/api/notifications?userId=" + url.QueryEscape(op), "/api/notifications?unread[$ne]=1", "/api/notifications?userId[$ne]=1&limit=100"} {
			if got := w.Call(apitest.Call{What: path, As: as, Path: path}); strings.Contains(string(got.Body), "Badge") || got.Status >= 500 {
				t.Errorf("%s: %d %s", path, got.Status, got.Body)
			}
		}
	}
	if after := w.everything(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// everything is all that the service keeps about people.
func (w *world) everything() string {
	var all strings.Builder
	for _, c := range []string{"people", "preferences", "notifications", "deliveries", "subscriptions"} {
		all.WriteString(c + ": " + strings.Join(w.kept(c, docdb.Filter{}), "\n") + "\n")
	}
	return all.String()
}
