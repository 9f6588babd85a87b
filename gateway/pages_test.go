package gateway_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

const bookingDoc = `{"openapi":"3.1.0","info":{"title":"booking","description":"Hours and calendars."},
 "paths":{"/api/bookings":{"post":{"operationId":"create","requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Body"}}}},"responses":{"201":{"description":"ok"}},"security":[{"bearer":[]}]}},
 "/health":{"get":{"operationId":"health"}},"/api/auth/stolen":{"get":{"operationId":"stolen"}}},
 "components":{"schemas":{"Body":{"type":"object","properties":{"id":{"type":"integer","maximum":9007199254740993}}}},"securitySchemes":{"bearer":{"type":"http","scheme":"bearer"}}}}`

const authDoc = `{"openapi":"3.1.0","paths":{"/api/auth/login":{"post":{"operationId":"create","responses":{"200":{"$ref":"#/components/responses/Body"}}}}},
 "components":{"responses":{"Body":{"description":"x","content":{"application/json":{"schema":{"$ref":"#/components/schemas/Body"}}}}},"schemas":{"Body":{"type":"string"}}}}`

func document(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/openapi.json" {
			io.WriteString(w, text)
		}
	})
}

func TestTheMergedDocument(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, map[string]http.Handler{
			"booking": document(bookingDoc), "auth": document(authDoc), "payment": document("not JSON"), "user": document(`{"paths":[],"components":"x","info":7}`), "review": http.NotFoundHandler(),
			"escrow": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("caught") }),
		})
		a := d.do(t, call{path: "/openapi.json"})
		var doc struct {
			OpenAPI string
			Paths   map[string]map[string]struct {
				OperationID string `json:"operationId"`
				Tags        []string
			}
			Components map[string]map[string]any
		}
		if err := json.Unmarshal([]byte(a.body), &doc); err != nil || a.status != 200 {
			t.Fatalf("%d %v %s", a.status, err, a.body)
		}
		if doc.OpenAPI != "3.1.0" || len(doc.Paths) != 2 || doc.Paths["/api/bookings"]["post"].OperationID != "booking.create" || doc.Paths["/api/auth/login"]["post"].OperationID != "auth.create" || doc.Paths["/api/auth/login"]["post"].Tags[0] != "auth" {
			t.Errorf("%+v", doc.Paths)
		}
		for _, has := range []string{`"#/components/schemas/booking.Body"`, `"#/components/schemas/auth.Body"`, `"#/components/responses/auth.Body"`, "9007199254740993", `"bearer":{`} {
			if !strings.Contains(a.body, has) {
				t.Errorf("no %s in %s", has, a.body)
			}
		}
		if doc.Components["schemas"]["booking.Body"] == nil || doc.Components["schemas"]["auth.Body"] == nil {
			t.Errorf("%v", doc.Components)
		}
	})
}

func TestThePagesAreSelfContained(t *testing.T) {
	d := open(t, "in process", booking(mirror))
	for _, path := range []string{"/docs", "/"} {
		a := d.do(t, call{path: path})
		csp := a.header.Get("Content-Security-Policy")
		if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
		for _, bad := range []string{"src=", "@import", ": url(", "<link", "style=", "onclick", "innerHTML"} {
			if strings.Contains(a.body, bad) {
				t.Errorf("%s holds %s", path, bad)
			}
		}
		if a := d.do(t, call{method: "POST", path: "/docs"}); a.status != 405 {
			t.Errorf("POST: %d", a.status)
		}
	}
	if !strings.Contains(d.do(t, call{path: "/"}).body, "not installed") {
		t.Error("the landing page does not say what is missing")
	}
}

func TestHealth(t *testing.T) {
	d := open(t, "in process", booking(mirror))
	var h struct {
		Status   string
		Services map[string]string
	}
	json.Unmarshal([]byte(d.do(t, call{path: "/health"}).body), &h)
	if h.Status != "ok" || h.Services["booking"] != "ready" || h.Services["search"] != "not_installed" {
		t.Errorf("%+v", h)
	}
}

func TestHealthAsksTheStores(t *testing.T) {
	d := open(t, "in process", booking(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	var h struct {
		Status   string
		Services map[string]string
	}
	json.Unmarshal([]byte(d.do(t, call{path: "/health"}).body), &h)
	if h.Status != "degraded" || h.Services["booking"] != "stores_away" {
		t.Errorf("%+v", h)
	}
}

func TestAdminOnlyReads(t *testing.T) {
	d := open(t, "in process", booking(mirror))
	d.do(t, call{path: "/api/bookings/secret-id"})
	d.do(t, call{method: "SPY", path: "/api/bookings"})
	for path, has := range map[string]string{
		"/status": `"reachable":true`, "/services": `"name":"blockchain"`, "/routes": `"paths":["/api/bookings","/api/availability"]`, "/upstreams": `"name":"booking-service"`,
		"/metrics": `tulifo_gateway_requests_total{method="GET",route="booking",service="booking",status="200"}`,
	} {
		eventually(t, path+" does not say "+has, func() bool {
			res, err := http.Get(d.admin + path)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, _ := io.ReadAll(res.Body)
			if strings.Contains(string(b), "secret-id") || strings.Contains(string(b), "SPY") {
				t.Fatalf("%s shows what clients send", path)
			}
			return res.StatusCode == 200 && strings.Contains(string(b), has)
		})
	}
	for _, m := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		r, _ := http.NewRequest(m, d.admin+"/routes", strings.NewReader("{}"))
		res, err := client.Do(r)
		if err != nil || res.StatusCode != 405 {
			t.Errorf("%s: %v %v", m, res, err)
		}
		res.Body.Close()
	}
	res, err := http.Get(d.admin + "/plugins")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 404 {
		t.Errorf("an unknown address: %d", res.StatusCode)
	}
}
