package gateway

import "testing"

func TestSecretsInPathsAreMasked(t *testing.T) {
	for path, want := range map[string]string{
		"/api/auth/links/AaIMW9Xccnafa_ZYKf3aPAVy0C7cyYt-ixnhK3CMZDZfA9ZQR1eiLL": "/api/auth/links/[masked]",
		"/api/bookings/01957a3e-7c00-7000-8000-000000000001/confirm":             "/api/bookings/01957a3e-7c00-7000-8000-000000000001/confirm",
		"/": "/", "": "",
	} {
		if got := masked(path); got != want {
			t.Errorf("%s is logged as %s", path, got)
		}
	}
}
