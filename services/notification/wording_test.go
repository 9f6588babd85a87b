package notification_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/services/notification"
)

// eventTypes are the types that package event declares, read from its source so that none can be forgotten.
func eventTypes(t *testing.T) []string {
	t.Helper()
	var types []string
	files, err := filepath.Glob("../../event/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, source, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			fn, ok := n.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || fn.Name.Name != "Type" {
				return true
			}
			lit, ok := fn.Body.List[0].(*ast.ReturnStmt).Results[0].(*ast.BasicLit)
			if !ok {
				t.Fatalf("%s: a Type that is not a constant", path)
			}
			name, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			types = append(types, name)
			return false
		})
	}
	if len(types) < 30 {
		t.Fatalf("only %d events were found", len(types))
	}
	return types
}

func TestEveryEventIsToldLearnedOrSilent(t *testing.T) {
	t.Parallel()
	known := append(notification.Types(), notification.Silent()...)
	for _, typ := range eventTypes(t) {
		if n := len(slices.DeleteFunc(slices.Clone(known), func(k string) bool { return k != typ })); n != 1 {
			t.Errorf("%s is %d times among what is told, learned or silent", typ, n)
		}
	}
}

var (
	ann, bob = uuid.New(), uuid.New()
	monday   = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	gig      = event.Booking{BookingID: uuid.New(), ClientID: ann, WorkerID: bob, Title: "Fix <b>the</b> roof", Start: monday, End: monday.Add(2 * time.Hour), Amount: money.Of(15050, "EUR")}
	paid     = event.Payment{PaymentID: uuid.New(), BookingID: gig.BookingID, ClientID: ann, WorkerID: bob, Amount: gig.Amount}
	kept     = event.Escrow{EscrowID: uuid.New(), BookingID: gig.BookingID, ClientID: ann, WorkerID: bob, Held: gig.Amount, Remaining: gig.Amount}
	shares   = event.Shares{Client: money.Of(10000, "EUR"), Worker: money.Of(5050, "EUR")}
	review   = event.Review{BookingID: gig.BookingID, ReviewerID: ann, RevieweeID: bob}
)

// samples is one of each event that people are told of.
var samples = []outbox.Event{
	event.UserCreated{UserID: ann, Email: "ann@example.com", Name: "Ann", LinkID: uuid.New()},
	event.LinkIssued{UserID: ann, Purpose: "verify", ExpiresAt: monday}, event.LinkIssued{UserID: ann, Purpose: "reset", ExpiresAt: monday}, event.LinkIssued{UserID: ann, Purpose: "email", ExpiresAt: monday},
	event.UserEmailChanged{UserID: ann, Email: "new@example.com", Previous: "old@example.com"}, event.UserPasswordChanged{UserID: ann},
	event.UserIdentityAdded{UserID: ann, Provider: "google"}, event.UserIdentityRemoved{UserID: ann, Provider: "github"},
	event.UserFactorAdded{UserID: ann, Factor: "totp"}, event.UserFactorAdded{UserID: ann, Factor: "passkey", Name: "Phone"},
	event.UserFactorRemoved{UserID: ann, Factor: "totp"}, event.UserFactorRemoved{UserID: ann, Factor: "passkey", Name: "Phone"},
	event.UserRecoveryCodeUsed{UserID: ann, Left: 9}, event.UserRecoveryCodesRenewed{UserID: ann},
	event.SessionStolen{UserID: ann}, event.UserDeleted{UserID: ann, Email: "ann@example.com"}, event.UserSuspended{UserID: ann, Reason: "spam"}, event.UserReinstated{UserID: ann},
	event.UserDeletionRefused{UserID: ann, Reason: "You owe money."},
	event.BookingCreated{Booking: gig, ExpiresAt: monday}, event.BookingConfirmed{Booking: gig, PayBy: monday},
	event.BookingCancelled{Booking: gig, Cause: "client", Shares: shares}, event.BookingCancelled{Booking: gig, Cause: "worker", Reason: "ill", Shares: shares},
	event.BookingCancelled{Booking: gig, Cause: "unpaid"}, event.BookingCancelled{Booking: gig, Cause: "admin"}, event.BookingCancelled{Booking: gig, Cause: "suspended"},
	event.BookingRescheduleProposed{Booking: gig, By: "client", NewStart: monday, NewEnd: monday}, event.BookingRescheduleProposed{Booking: gig, By: "worker", NewStart: monday, NewEnd: monday},
	event.BookingRescheduled{Booking: gig, PreviousStart: monday, PreviousEnd: monday}, event.BookingStarted{Booking: gig},
	event.BookingCompleted{Booking: gig, ReleaseAt: monday}, event.BookingExpired{Booking: gig},
	event.BookingNoShow{Booking: gig, Absent: "client", Shares: shares, SettleAt: monday}, event.BookingNoShow{Booking: gig, Absent: "worker", Shares: shares, SettleAt: monday},
	event.BookingNoShowContested{Booking: gig, Reason: "I was there"},
	event.PaymentCompleted{Payment: paid}, event.PaymentFailed{Payment: paid, Reason: "card_declined"}, event.PaymentRefunded{Payment: paid, Refund: gig.Amount},
	event.PaymentChargedBack{Payment: paid, Charged: gig.Amount}, event.PaymentChargebackWon{Payment: paid, Charged: gig.Amount},
	event.PaymentChargebackLost{Payment: paid, Charged: gig.Amount, Owed: gig.Amount}, event.PayoutSchedulePaused{UserID: bob, Failures: 3, Reason: "account_closed"},
	event.EscrowRefunded{Escrow: kept, Amount: gig.Amount, Cause: "chargeback"},
	event.EscrowHeld{Escrow: kept}, event.EscrowReleased{Escrow: kept, Amount: gig.Amount}, event.EscrowRefunded{Escrow: kept, Amount: gig.Amount},
	event.EscrowFrozen{Escrow: kept, Reason: "dispute"}, event.EscrowUnfrozen{Escrow: kept},
	event.PayoutPaid{UserID: bob, Amount: gig.Amount}, event.PayoutFailed{UserID: bob, Amount: gig.Amount, Reason: "account_closed"},
	event.ReviewCreated{Review: review}, event.ReviewRevealed{Review: review, Rating: 5}, event.BadgeAwarded{UserID: bob, Badge: "top", Name: "Top rated"},
}

func TestEveryEventHasWordsForEveryReader(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, e := range samples {
		seen[e.Type()] = true
		readers := notification.Readers(e)
		if len(readers) == 0 {
			t.Errorf("nobody is told of %s", e.Type())
		}
		for _, as := range readers {
			subject, paragraphs, _, err := notification.Words(e, as, "de-AT", "Europe/Berlin")
			if err != nil {
				t.Errorf("%s to %s: %v", e.Type(), as, err)
			}
			if said := subject + strings.Join(paragraphs, ""); strings.ContainsAny(said, "{}\n") || strings.Contains(said, "<no value>") || strings.Contains(said, "%!") {
				t.Errorf("%s to %s: %q", e.Type(), as, said)
			}
		}
	}
	for _, typ := range notification.Types() {
		if !seen[typ] && !slices.Contains([]string{"user.verified", "user.updated", "user.deleted"}, typ) {
			t.Errorf("%s has no sample here", typ)
		}
	}
}

func TestTimesAndMoneyAreTheReadersOwn(t *testing.T) {
	t.Parallel()
	e := event.BookingCreated{Booking: gig, ExpiresAt: monday.Add(-time.Hour)}
	for zone, want := range map[string]string{
		"Europe/Berlin":    "Monday, 2 March 2026, 10:00–12:00 (Europe/Berlin)",
		"America/New_York": "Monday, 2 March 2026, 04:00–06:00 (America/New_York)",
		"Asia/Kathmandu":   "Monday, 2 March 2026, 14:45–16:45 (Asia/Kathmandu)",
		"":                 "Monday, 2 March 2026, 09:00–11:00 (UTC)",
		"Mars/Olympus":     "(UTC)",
		"../../etc/passwd": "(UTC)",
	} {
		_, paragraphs, button, err := notification.Words(e, "worker", "", zone)
		if err != nil || !strings.Contains(paragraphs[0], want) || !strings.Contains(paragraphs[0], "€150.50") || button == "" {
			t.Errorf("%q: %v %q %q", zone, err, paragraphs, button)
		}
	}
	_, failed, _, err := notification.Words(event.PaymentFailed{Payment: paid, Reason: "card_declined"}, "client", "", "UTC")
	if err != nil || !strings.Contains(failed[0], "(card declined)") {
		t.Errorf("%v %q", err, failed)
	}
	late := event.BookingCreated{Booking: event.Booking{Title: "Night", Start: monday.Add(14 * time.Hour), End: monday.Add(16 * time.Hour), Amount: money.Of(1200, "JPY")}, ExpiresAt: monday}
	_, paragraphs, _, err := notification.Words(late, "worker", "", "UTC")
	if err != nil || !strings.Contains(paragraphs[0], "23:00 – Tuesday, 3 March 2026, 01:00") || !strings.Contains(paragraphs[0], "¥1,200") {
		t.Errorf("%v %q", err, paragraphs)
	}
}

func TestWhatPeopleWroteIsOneLineOfVisibleText(t *testing.T) {
	t.Parallel()
	for title, want := range map[string]string{
		"a\r\nBcc: all@example.com\r\n\r\n[Press here]": "a Bcc: all@example.com [Press here]",
		"evil\u202egnp.exe":                             "evilgnp.exe",
		"\u200bhidden\x00 \x1b[31m":                     "hidden [31m",
		"{{.E.Amount}}":                                 "{{.E.Amount}}",
		strings.Repeat("x", 999):                        strings.Repeat("x", 300) + "…",
	} {
		b := gig
		b.Title = title
		subject, paragraphs, button, err := notification.Words(event.BookingCreated{Booking: b, ExpiresAt: monday}, "worker", "", "UTC")
		if err != nil || subject != "New booking request: “"+want+"”" || button != "Answer the request" || len(paragraphs) != 2 {
			t.Errorf("%q: %v %q %q %d paragraphs", title, err, subject, button, len(paragraphs))
		}
	}
}

func TestGreetingsAreNoMessages(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Ada Lovelace": "Hello Ada Lovelace,", "J. R. R. Tolkien": "Hello J. R. R. Tolkien,", "Martin Luther King Jr.": "Hello Martin Luther King Jr.,",
		"": "Hello,", "You won! http://evil.example": "Hello,", "evil.example": "Hello,", "a@b": "Hello,", "<b>x</b>": "Hello,", strings.Repeat("x", 61): "Hello,",
		"Zoë\r\nBcc": "Hello Zoë Bcc,",
	} {
		if got := notification.Greeting(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestQuietHours(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, start, end, now, until string
	}{
		{"before midnight", "22:00", "07:00", "2026-03-02T22:30:00+01:00", "2026-03-03T07:00:00+01:00"},
		{"after midnight", "22:00", "07:00", "2026-03-03T06:59:59+01:00", "2026-03-03T07:00:00+01:00"},
		{"at the start", "22:00", "07:00", "2026-03-02T22:00:00+01:00", "2026-03-03T07:00:00+01:00"},
		{"at the end", "22:00", "07:00", "2026-03-03T07:00:00+01:00", ""},
		{"by day", "22:00", "07:00", "2026-03-02T12:00:00+01:00", ""},
		{"a nap", "13:00", "14:00", "2026-03-02T13:30:00+01:00", "2026-03-02T14:00:00+01:00"},
		{"over the lost hour", "22:00", "07:00", "2026-03-28T23:00:00+01:00", "2026-03-29T07:00:00+02:00"},
		{"an end that does not exist", "22:00", "02:30", "2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"},
	} {
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		until, quiet := notification.Until(&notification.QuietHours{Start: c.start, End: c.end}, now, berlin)
		if quiet != (c.until != "") {
			t.Errorf("%s: quiet %v", c.what, quiet)
			continue
		}
		if want, _ := time.Parse(time.RFC3339, c.until); quiet && !until.Equal(want) {
			t.Errorf("%s: until %s, want %s", c.what, until, want)
		}
	}
	if _, quiet := notification.Until(nil, monday, berlin); quiet {
		t.Error("quiet without quiet hours")
	}
}

func FuzzWhatPeopleWrote(f *testing.F) {
	for _, seed := range []string{"", "Fix the roof", "a\r\nBcc: x@example.com", "[Press]\n\n[here]", "{{.}}", "\u202e\u200b\u00ad", "\xff\x00", "<script>", strings.Repeat("é", 400)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, title string) {
		b := gig
		b.Title = title
		subject, paragraphs, button, err := notification.Words(event.BookingCreated{Booking: b, ExpiresAt: monday}, "worker", "", "UTC")
		if err != nil || button != "Answer the request" || len(paragraphs) != 2 {
			t.Fatalf("%q: %v %q %q", title, err, button, paragraphs)
		}
		for _, r := range subject {
			if unicode.IsControl(r) || r == '\u202e' || r == '\u200b' || r == '\u2028' {
				t.Fatalf("%q keeps %q", title, r)
			}
		}
		if n := utf8.RuneCountInString(subject); n > 350 {
			t.Fatalf("%d characters of %q", n, title)
		}
	})
}
