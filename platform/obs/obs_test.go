package obs_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"tulifo/platform/obs"
)

func TestSpan(t *testing.T) {
	const valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	if got := obs.Span(valid); got[:36] != valid[:36] || got[36:52] == valid[36:52] || got[53:] != "00" {
		t.Errorf("%s was continued as %s", valid, got)
	}
	for _, bad := range []string{"", "00-0-0-0", strings.ToUpper(valid), "00-00000000000000000000000000000000-b7ad6b7169203331-01", "01" + valid[2:], valid + "x"} {
		if got := obs.Span(bad); len(got) != 55 || got[3:35] == "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%q was continued as %s", bad, got)
		}
	}
}

func TestLoggerMasksAndTies(t *testing.T) {
	var out bytes.Buffer
	log := obs.NewLogger(&out, slog.LevelInfo, "auth")
	ctx := obs.WithRequest(context.Background(), "r-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	log.InfoContext(ctx, "signed in\n{\"forged\":1}", "refreshToken", "s3cret", "user", "u-1")
	line := out.String()
	for _, want := range []string{`"@timestamp"`, `"log.level":"info"`, `"service.name":"auth"`, `"http.request.id":"r-1"`, `"trace.id":"0af7651916cd43dd8448eb211c80319c"`, `"refreshToken":"[masked]"`} {
		if !strings.Contains(line, want) {
			t.Errorf("%s is not in %s", want, line)
		}
	}
	if strings.Contains(line, "s3cret") || strings.Count(line, "\n") != 1 {
		t.Errorf("a secret or a forged line: %s", line)
	}
}
