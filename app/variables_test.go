package app

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestEveryVariableInThePagesIsKnown(t *testing.T) {
	known, err := variables()
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([A-Z0-9_]+)`").FindAllSubmatch(configPage(t), -1)
	for _, r := range rows {
		if !known[string(r[1])] {
			t.Errorf("%s is read, and would be called unread", r[1])
		}
	}
	if len(rows) < 40 {
		t.Errorf("only %d variables were found", len(rows))
	}
}

func TestMisspeltVariables(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, says string }{
		{"DATABSE_URL", "is DATABASE_URL meant?"},
		{"SMTP_HSOT", "is SMTP_HOST meant?"},
		{"STRIPE_SECRETKEY", "is STRIPE_SECRET_KEY meant?"},
		{"PUBLC_URI", "is PUBLIC_URL meant?"},
		{"TULIFO_REHERSAL", "is TULIFO_REHEARSAL meant?"},
		{"BOOKING_SERVICE_URLS", "is BOOKING_SERVICE_URL meant?"},
		{"TULIFO_SINGLE_NODE", "named like one of ours"},
		{"AUTH_LOCKOUT", "named like one of ours"},
		{"DATABASE_URL", ""}, {"BOOKING_PORT", ""}, {"TULIFO_CRASH", ""},
		{"PATH", ""}, {"HOSTS", ""}, {"POST", ""}, {"HOSTNAME", ""}, {"LANG", ""}, {"PGHOST", ""}, {"NODE_OPTIONS", ""}, {"JAVA_HOME", ""}, {"LOGNAME", ""}, {"GITHUB_TOKEN", ""},
		{"SSL_CERT_FILE", ""}, {"SSL_CERT_DIR", ""}, {"HTTP_PORT", ""}, {"HTTPS_PROXY", ""}, {"AWS_REGION", ""}, {"MONGO_URI", "is MONGODB_URI meant?"},
		{"BOOKING_SERVICE_HOST", ""}, {"BOOKING_SERVICE_PORT", ""}, {"BOOKING_SERVICE_PORT_3007_TCP_ADDR", ""}, {"AUTH_PORT_3001_TCP", ""},
	} {
		found, err := unread(map[string]string{c.name: "geheim"})
		if err != nil {
			t.Fatal(err)
		}
		said, ok := found[c.name]
		if ok != (c.says != "") || !strings.Contains(said, c.says) || strings.Contains(said, "geheim") {
			t.Errorf("%s: %q, want %q", c.name, said, c.says)
		}
	}
}

// A start says so and goes on, in production too; doctor calls it a fault.
func TestAMisspeltVariableIsToldOf(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	e := &environ{vars: map[string]string{"DATABSE_URL": "geheim"}, dir: folder(t) + "/data", out: &out, errOut: &errOut}
	c := e.doctor()
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs([]string{"--port-base", "20000"})
	if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(out.String(), "FAULT variable DATABSE_URL: nothing reads it; is DATABASE_URL meant?") {
		t.Errorf("doctor: %v\n%s", err, &out)
	}
	env := bare(t, "TULIFO_ENV=production", "STRIPE_SECRETKEY=geheim", "DATABASE_WAIT=1ms", "DATABASE_URL=postgres://tulifo@127.0.0.1:1/tulifo", "STRIPE_SECRET_KEY=sk_test_x")
	for _, command := range [][]string{{"up", "--single-node", "--data", folder(t) + "/data"}, {"serve", "review"}} {
		p := launch(t, env, nil, command...)
		p.exit(t, time.Minute)
		if said := p.err.String(); !strings.Contains(said, "STRIPE_SECRETKEY") || !strings.Contains(said, "is STRIPE_SECRET_KEY meant?") || strings.Contains(said, "geheim") {
			t.Errorf("%v said %s", command, said)
		}
	}
}
