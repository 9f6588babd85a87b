package app

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
)

var allMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "X"}

// narrowed are the addresses of an operation whose pattern fits more than it has.
var narrowed = map[string]*regexp.Regexp{"/api/bookings/{id}/{document}": regexp.MustCompile("^/api/bookings/(calendar/[^/]+|[^/]+/ics)$")}

// methods asks every path with every method that it does not have, as nobody and as whom it is for, and asks for a method in a header.
func (m *matrix) methods(all []route) {
	m.t.Helper()
	have := map[string][]string{}
	for _, r := range all {
		have[r.path] = append(have[r.path], r.method)
	}
	for _, r := range all {
		th, _ := m.about(r, r.first(), "")
		address := r.addressOf(th.params, uuid.NewString())
		allowed := methodsAt(have, address)
		token := ""
		if !r.public() {
			token = m.token(r, r.roles[0], th)
		}
		for _, method := range allMethods {
			// What is nobody's is absent whatever the method, and does not tell of a neighbour's wildcard.
			path, query, _ := strings.Cut(address, "?")
			nothing := path + "/nonsense"
			if len(methodsAt(have, nothing)) == 0 {
				m.cells["nowhere"]++
				if a := r.do(httptest.NewRequest(method, nothing+"?"+query, nil), token); a.Code != http.StatusNotFound {
					m.t.Errorf("%s %s answers %d where nothing is, instead of 404: %.200s", method, nothing, a.Code, a.Body)
				}
			}
			if slices.Contains(allowed, method) || method == http.MethodHead && slices.Contains(allowed, http.MethodGet) {
				continue
			}
			for _, header := range []string{"", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
				req := httptest.NewRequest(method, address, strings.NewReader(string(r.bodyWith(uuid.New(), th.body))))
				req.Header.Set("Content-Type", "application/json")
				if header != "" {
					req.Header.Set(header, r.method)
				}
				m.cells["method"]++
				a := r.do(req, token)
				if said := a.Header().Values("Allow"); a.Code != http.StatusMethodNotAllowed || !slices.Equal(slices.Sorted(slices.Values(said)), allowed) {
					m.t.Errorf("%s %s (%s) answers %d and allows %v, instead of 405 and %v: %.200s", method, r.path, header, a.Code, said, allowed, a.Body)
				}
			}
		}
	}
}

// methodsAt are the methods of all operations whose paths an address fits: of two patterns net/http takes the narrower that has the method.
func methodsAt(have map[string][]string, address string) (methods []string) {
	address, _, _ = strings.Cut(address, "?")
	parts := strings.Split(address, "/")
	for path, those := range have {
		pattern := strings.Split(path, "/")
		fits := len(pattern) == len(parts)
		for i := 0; fits && i < len(parts); i++ {
			fits = pattern[i] == parts[i] || strings.HasPrefix(pattern[i], "{")
		}
		if only := narrowed[path]; fits && (only == nil || only.MatchString(address)) {
			methods = append(methods, those...)
		}
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}
