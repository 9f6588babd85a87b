package app

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/blob"
	"tulifo/platform/errs"
	"tulifo/platform/servertest"
)

func s3Variables(b servertest.Bucket) map[string]string {
	return map[string]string{"S3_ENDPOINT": b.Endpoint, "S3_REGION": b.Region, "S3_BUCKET": b.Name, "S3_ACCESS_KEY_ID": b.AccessKeyID, "S3_SECRET_ACCESS_KEY": b.SecretAccessKey}
}

// An installation moves its files to S3 and back by one command each.
func TestFilesMoveToS3AndBack(t *testing.T) {
	t.Parallel()
	env := s3Variables(servertest.S3(t))
	dir, empty := folder(t)+"/data", folder(t)+"/data"
	run := func(dir string, env map[string]string, args ...string) (string, error) {
		var out bytes.Buffer
		e := &environ{vars: env, dir: dir, out: &out, errOut: io.Discard}
		c := e.files()
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs(args)
		err := c.ExecuteContext(t.Context())
		return out.String(), err
	}
	at := func(dir string) *blob.Files {
		f, err := directory(dir, "user")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	ref, _, err := at(dir).Put(t.Context(), "image/png", strings.NewReader("a picture"), 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(dir, map[string]string{}, "to-s3"); err == nil || !strings.Contains(err.Error(), "S3_ENDPOINT is not set") {
		t.Errorf("without an address: %v", err)
	}
	for _, step := range []struct{ dir, way string }{{dir, "to-s3"}, {dir, "to-s3"}, {empty, "from-s3"}} {
		if said, err := run(step.dir, env, step.way); err != nil || said != "user: 1 files are copied.\n" {
			t.Errorf("%s: %q, %v", step.way, said, err)
		}
	}
	c, err := at(empty).Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := io.ReadAll(c); err != nil || string(got) != "a picture" {
		t.Errorf("%q, %v", got, err)
	}
}

// A service whose files are away tells it and goes on.
func TestHealthWithoutFiles(t *testing.T) {
	t.Parallel()
	server, b := servertest.OwnS3(t)
	config, err := readConfig(s3Variables(b))
	if err != nil {
		t.Fatal(err)
	}
	spared := map[string]func(context.Context) error{}
	files, err := parts{Config: config, spared: spared}.files("user")
	if err != nil {
		t.Fatal(err)
	}
	health := func() string {
		r := api.NewRouter(api.Options{Service: "user", Keys: apitest.Keys(t), Spared: spared})
		r.SetReady(true)
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if w.Code != http.StatusOK {
			t.Errorf("/readyz answers %d", w.Code)
		}
		w = httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/health", nil))
		return w.Body.String()
	}
	if said := health(); !strings.Contains(said, `"s3":"connected"`) || !strings.Contains(said, `"status":"ok"`) {
		t.Error(said)
	}
	server.Kill()
	if said := health(); !strings.Contains(said, `"s3":"disconnected"`) || !strings.Contains(said, `"status":"degraded"`) {
		t.Error(said)
	}
	if _, _, err := files.Put(t.Context(), "image/png", strings.NewReader("x"), 10); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("Put: %v", err)
	}
}
