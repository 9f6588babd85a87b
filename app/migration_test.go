package app

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// newer is the binary of the next version: some of its services have one migration more.
func newer(t *testing.T, migrations map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for service, sql := range migrations {
		file := filepath.Join(dir, service+".sql")
		if err := os.WriteFile(file, []byte("-- +goose Up\n"+sql), 0o600); err != nil {
			t.Fatal(err)
		}
		place, err := filepath.Abs(filepath.Join("..", "services", service, "migrations", "9001_next.sql"))
		if err != nil {
			t.Fatal(err)
		}
		replace[place] = file
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay, path := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "tulifo")
	if err := os.WriteFile(overlay, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", path, "tulifo/cmd/tulifo").CombinedOutput(); err != nil {
		t.Fatalf("build the next version: %v\n%s", err, out)
	}
	return path
}

// The schemas are brought to the next version while people book, pay and cancel; then old and new processes of one service work side by side, and an old one
// starts again beside the newer schema. Nobody's journey ends, and nothing acknowledged is lost.
func TestMigrationUnderLoad(t *testing.T) {
	t.Parallel()
	next := newer(t, map[string]string{
		"booking": `ALTER TABLE bookings ADD COLUMN place text NOT NULL DEFAULT 'here';
CREATE INDEX bookings_place ON bookings (place);
CREATE TABLE places (name text PRIMARY KEY);
ALTER TABLE busy ADD COLUMN place text;`,
		"payment": `ALTER TABLE payments ADD COLUMN place text;`,
		"escrow":  `ALTER TABLE escrow_accounts ADD COLUMN place text NOT NULL DEFAULT 'here';`,
	})
	r := seeded(t)
	s, dir := newSplit(t, []string{"booking"})
	l := newLoad(t, r, s.at(gatewayPort), s.at(inboxPort), s.at(stripePort), secretOf(t, dir, "STRIPE_SECRET_KEY"), false)
	l.grow(100)
	began, refused := time.Now(), l.refused.Load()
	migrate := exec.Command(next, "migrate")
	migrate.Env, migrate.Dir = s.env, "/"
	if out, err := migrate.CombinedOutput(); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	t.Logf("migrated in %v; %d refused meanwhile", time.Since(began).Round(time.Millisecond), l.refused.Load()-refused)
	l.grow(50)
	pair := s.runs["booking"]
	pair[1].terminate(t)
	pair[1] = run(t, next, append(slices.Clip(s.env), "PORT="+strconv.Itoa(portOf("booking")+twinPorts)), nil, "serve", "booking", "--port-base", strconv.Itoa(s.base))
	s.ready(t, "booking")
	l.grow(100)
	pair[0].terminate(t)
	l.grow(50)
	pair[0] = s.launch(t, "booking", 0)
	s.ready(t, "booking")
	l.grow(50)
	l.finish()
	intact(t, func() (int, string) { return s.command(t, "", "check") })
	for _, runs := range s.runs {
		for _, p := range runs {
			p.terminate(t)
		}
	}
}
