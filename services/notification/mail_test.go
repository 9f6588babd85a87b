package notification_test

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/bus"
	"tulifo/platform/docdb"
	"tulifo/services/notification"
)

func TestTheVerificationMailArrivesWithALinkThatIsKeptNowhere(t *testing.T) {
	w := start(t, options{timers: true})
	id, link := uuid.New(), uuid.New()
	const secret = "https://tulifo.test/api/auth/links/very-secret-token"
	w.auth.set(func() { w.auth.links[link] = secret })
	w.tell(id, event.UserCreated{UserID: id, Email: address(id), Name: "Ada <img src=x>", Role: "client", LinkID: link})
	got := w.awaitMail(address(id))
	if text := w.part(got.ID, "text"); !strings.Contains(strings.ReplaceAll(text, "\r", ""), "\n"+secret+"\n") || strings.Contains(text, "img") {
		t.Errorf("the plain form: %s", text)
	}
	html := w.part(got.ID, "html")
	if !strings.Contains(html, `href="`+secret+`"`) || strings.Contains(html, "<img") || !strings.Contains(html, `lang="en"`) {
		t.Errorf("the rich form: %s", html)
	}
	raw := w.part(got.ID, "raw")
	if strings.Contains(raw, "List-Unsubscribe") || !strings.Contains(raw, "Auto-Submitted: auto-generated") {
		t.Errorf("headers: %s", raw)
	}
	w.await("the outcome is kept", func() bool { return w.statuses("sent") == 1 })
	for _, collection := range []string{"deliveries", "notifications", "people"} {
		if strings.Contains(fmt.Sprint(w.kept(collection, docdb.Filter{})), "very-secret-token") {
			t.Errorf("the link is kept in %s", collection)
		}
	}
	if strings.Contains(w.log.String(), "very-secret") {
		t.Error("the link is logged")
	}
	if all := w.list(id); len(all) != 1 || all[0].Type != "user.created" {
		t.Errorf("in the app: %+v", all)
	}
}

func TestSeededUsersGetNoMail(t *testing.T) {
	w := start(t, options{})
	id := uuid.New()
	w.tell(id, event.UserCreated{UserID: id, Email: address(id), Name: "Demo", Role: "worker"})
	if n := len(w.kept("deliveries", docdb.Filter{})); n != 0 {
		t.Errorf("%d deliveries", n)
	}
}

func TestALinkThatIsUsedOrUnknownIsNotSent(t *testing.T) {
	w := start(t, options{})
	id, used := uuid.New(), uuid.New()
	w.auth.set(func() { w.auth.links[used] = "" })
	w.tell(id, event.LinkIssued{LinkID: used, UserID: id, Purpose: "reset", Email: address(id), ExpiresAt: monday},
		event.LinkIssued{LinkID: uuid.New(), UserID: id, Purpose: "verify", Email: address(id), ExpiresAt: monday})
	w.send(time.Second)
	if got := w.mails(id); len(got) != 0 || w.statuses("dropped") != 2 {
		t.Errorf("%d mails, %d dropped", len(got), w.statuses("dropped"))
	}
}

func TestALinkGoesToItsOwnAddressAndAnEmailChangeToTheOldOne(t *testing.T) {
	w := start(t, options{})
	id := w.someone("Ann", "UTC")
	link := uuid.New()
	w.auth.set(func() { w.auth.links[link] = "https://tulifo.test/api/auth/links/abc" })
	w.tell(id, event.LinkIssued{LinkID: link, UserID: id, Purpose: "email", Email: "new@example.com", ExpiresAt: monday},
		event.UserEmailChanged{UserID: id, Email: "new@example.com", Previous: address(id)}, event.UserPasswordChanged{UserID: id})
	w.send(time.Second)
	var old, fresh []string
	for _, m := range w.mails(id) {
		old = append(old, m.Subject)
	}
	for _, m := range w.box.Messages("new@example.com", "", 10) {
		fresh = append(fresh, m.Subject)
	}
	if fmt.Sprint(old) != "[Your e-mail address was changed]" || len(fresh) != 2 {
		t.Errorf("old %q, new %q", old, fresh)
	}
}

// A mail that is over keeps neither where it went nor what it said, and the goodbye is no exception: it leaves nothing of its reader.
func TestAMailThatIsOverKeepsNoAddress(t *testing.T) {
	w := start(t, options{})
	id, gone := w.someone("Ann", "UTC"), uuid.New()
	w.tell(id, event.UserEmailChanged{UserID: id, Email: "new@example.com", Previous: address(id)})
	w.tell(gone, event.UserDeleted{UserID: gone, Email: address(gone)})
	w.tell(id, event.LinkIssued{LinkID: uuid.New(), UserID: id, Purpose: "reset", Email: address(id), ExpiresAt: monday})
	kept := func() int {
		all := w.kept("deliveries", docdb.Filter{})
		return len(slices.DeleteFunc(all, func(d string) bool { return !strings.Contains(d, "@example.com") }))
	}
	if n := kept(); n != 3 {
		t.Fatalf("%d of 3 mails to be sent know their address", n)
	}
	w.send(time.Second)
	if got := w.mails(gone); len(got) != 1 || w.statuses("sent") != 2 || w.statuses("dropped") != 1 {
		t.Errorf("%d goodbyes, %d sent, %d dropped", len(got), w.statuses("sent"), w.statuses("dropped"))
	}
	if n := kept(); n != 0 {
		t.Errorf("%d mails keep an address", n)
	}
}

func TestHostileTextIsTextInBothForms(t *testing.T) {
	w := start(t, options{})
	client, worker := w.someone("Ann", "UTC"), w.someone(`"><script>alert(1)</script>`, "Europe/Berlin")
	b := deal(client, worker, monday.AddDate(0, 0, 7))
	b.Title = "<script>alert(1)</script>\r\nBcc: all@example.com\r\n\r\n<a href=\"javascript:x\">"
	w.tell(b.BookingID, event.BookingCreated{Booking: b, ExpiresAt: monday})
	w.send(time.Second)
	got := w.mails(worker)
	if len(got) != 1 || len(got[0].To) != 1 {
		t.Fatalf("%+v", got)
	}
	html, raw := w.part(got[0].ID, "html"), w.part(got[0].ID, "raw")
	if strings.Contains(html, "<script") || strings.Contains(html, "<a href=\"javascript") || !strings.Contains(html, "&lt;script&gt;alert(1)") {
		t.Errorf("the rich form: %s", html)
	}
	head, _, _ := strings.Cut(raw, "\r\n\r\n")
	if strings.Contains(strings.ToLower(head), "\nbcc:") || len(w.box.Messages("all@example.com", "", 1)) > 0 {
		t.Errorf("a header was added: %s", head)
	}
	if !strings.Contains(w.part(got[0].ID, "text"), "10:00–12:00 (Europe/Berlin)") {
		t.Error("not in the reader's zone")
	}
	if all := w.list(worker); len(all) != 1 || strings.ContainsAny(all[0].Title, "\r\n") || all[0].Link != "/bookings/"+b.BookingID.String() {
		t.Errorf("in the app: %+v", all)
	}
}

func TestARepeatedEventTellsOnce(t *testing.T) {
	w := start(t, options{})
	client, worker := w.someone("Ann", "UTC"), w.someone("Bob", "UTC")
	b := deal(client, worker, monday.AddDate(0, 0, 7))
	env := w.envelope(b.BookingID, event.BookingRescheduled{Booking: b, PreviousStart: monday, PreviousEnd: monday})
	w.publish(env, env)
	w.publish(env)
	// As if the memory of the inbox had been pruned meanwhile.
	w.forgetEvents()
	w.publish(env)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { w.send(time.Second) })
	}
	all.Wait()
	for _, id := range []uuid.UUID{client, worker} {
		if len(w.mails(id)) != 1 || len(w.list(id)) != 1 {
			t.Errorf("%d mails, %d in the app", len(w.mails(id)), len(w.list(id)))
		}
	}
	if w.statuses("sent") != 2 {
		t.Errorf("%d sent", w.statuses("sent"))
	}
}

func TestManyMailsAndManySendersSendEachOnce(t *testing.T) {
	w := start(t, options{})
	client := w.someone("Ann", "UTC")
	var batch []bus.Envelope
	for range 60 {
		batch = append(batch, w.envelope(uuid.New(), event.PaymentCompleted{Payment: event.Payment{PaymentID: uuid.New(), BookingID: uuid.New(), ClientID: client, WorkerID: uuid.New(), Amount: gig.Amount}}))
	}
	w.publish(batch...)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { w.send(time.Second) })
	}
	all.Wait()
	if got := w.mails(client); len(got) != 60 {
		t.Errorf("%d mails", len(got))
	}
}

func TestAMailServerThatWasDownGetsTheMailOnceItIsUp(t *testing.T) {
	l, up := down(t)
	w := start(t, options{smtp: l.Addr().String()})
	id := w.someone("Ann", "UTC")
	w.tell(id, event.UserPasswordChanged{UserID: id})
	first := time.Now().Add(time.Second)
	w.retry(first)
	if w.statuses("queued") != 1 || len(w.kept("deliveries", docdb.And(docdb.Eq("attempts", 1), docdb.Exists("reason")))) != 1 {
		t.Fatalf("after the first try: %s", w.log)
	}
	due, err := w.service.RetryDue(t.Context())
	if err != nil || due.Before(first.Add(500*time.Millisecond)) {
		t.Fatalf("tried at %s, and again at %s: %v", first, due, err)
	}
	up()
	w.openInbox(l)
	w.retry(due.Add(-time.Millisecond))
	if len(w.mails(id)) != 0 {
		t.Error("it did not wait")
	}
	w.retry(due)
	if len(w.mails(id)) != 1 {
		t.Errorf("it waited for longer than it was to: %s", w.log)
	}
	w.send(time.Hour)
	if len(w.mails(id)) != 1 || w.statuses("sent") != 1 {
		t.Errorf("%d mails, %d sent", len(w.mails(id)), w.statuses("sent"))
	}
	w.rest() // hangs up, or the mail server's end would wait for it
}

func TestAProcessThatDiedLeavesItsMailToAnother(t *testing.T) {
	w := start(t, options{})
	id := w.someone("Ann", "UTC")
	w.tell(id, event.UserPasswordChanged{UserID: id})
	// What a claim leaves behind when nobody comes back from it.
	if err := notification.ChangeDeliveries(t.Context(), w.docs, docdb.Set("attempts", 1), docdb.Set("nextTryAt", time.Now().Add(2*time.Minute))); err != nil {
		t.Fatal(err)
	}
	w.send(time.Minute)
	if len(w.mails(id)) != 0 {
		t.Error("it was taken from one who may still be at it")
	}
	w.send(3 * time.Minute)
	if len(w.mails(id)) != 1 {
		t.Errorf("%d mails", len(w.mails(id)))
	}
}

// refusing is a real SMTP server that answers every recipient with an error.
type refusing struct {
	err   error
	tries atomic.Int64
}

func (r *refusing) NewSession(*smtp.Conn) (smtp.Session, error) { return r, nil }
func (r *refusing) Mail(string, *smtp.MailOptions) error        { return nil }
func (r *refusing) Rcpt(string, *smtp.RcptOptions) error        { r.tries.Add(1); return r.err }
func (r *refusing) Data(rd io.Reader) error                     { _, err := io.Copy(io.Discard, rd); return err }
func (r *refusing) Reset()                                      {}
func (r *refusing) Logout() error                               { return nil }

func TestRefusalsForGoodEndAndOthersAreTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		err    *smtp.SMTPError
		status string
		tries  int64
	}{
		"550 is for good":    {&smtp.SMTPError{Code: 550, Message: "No such user"}, "failed", 1},
		"421 may pass":       {&smtp.SMTPError{Code: 421, Message: "Busy"}, "queued", 2},
		"450 is greylisting": {&smtp.SMTPError{Code: 450, Message: "Later"}, "queued", 2},
		"530 is about us":    {&smtp.SMTPError{Code: 530, Message: "Log in first"}, "queued", 2},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			server := &refusing{err: c.err}
			s := smtp.NewServer(server)
			s.ErrorLog = log.New(io.Discard, "", 0)
			go func() { _ = s.Serve(l) }()
			t.Cleanup(func() { _ = s.Close() })
			w := start(t, options{smtp: l.Addr().String()})
			id := w.someone("Ann", "UTC")
			w.tell(id, event.UserPasswordChanged{UserID: id})
			w.send(time.Second)
			w.send(time.Hour)
			if w.statuses(c.status) != 1 || server.tries.Load() != c.tries {
				t.Errorf("%d %s after %d tries\n%s", w.statuses(c.status), c.status, server.tries.Load(), w.log)
			}
			if strings.Contains(w.log.String(), address(id)) {
				t.Error("the address is logged")
			}
		})
	}
}

func TestAServerThatTalksGarbageLosesNothing(t *testing.T) {
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n\x00\xff garbage\r\n")
				_, _ = bufio.NewReader(c).ReadString('\n')
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	w := start(t, options{smtp: l.Addr().String()})
	id := w.someone("Ann", "UTC")
	w.tell(id, event.UserPasswordChanged{UserID: id})
	w.send(time.Second)
	if w.statuses("queued") != 1 {
		t.Errorf("not queued any more: %s", w.log)
	}
}

func TestPeopleNoEventHasToldOfAreAskedFor(t *testing.T) {
	w := start(t, options{})
	stranger, unproven, gone := uuid.New(), uuid.New(), uuid.New()
	w.auth.set(func() {
		w.auth.accounts[stranger] = map[string]any{"email": address(stranger), "name": "Cy", "emailVerified": true}
		w.auth.accounts[unproven] = map[string]any{"email": address(unproven), "name": "Dee", "emailVerified": false}
		w.auth.away = true
	})
	for _, id := range []uuid.UUID{stranger, unproven, gone} {
		w.tell(id, event.BadgeAwarded{UserID: id, Name: "Top rated"})
	}
	w.send(time.Second)
	if w.statuses("queued") != 3 {
		t.Errorf("%d queued while auth is away", w.statuses("queued"))
	}
	w.auth.set(func() { w.auth.away = false })
	w.send(time.Minute)
	if len(w.mails(stranger)) != 1 || len(w.mails(unproven)) != 0 || w.statuses("dropped") != 2 {
		t.Errorf("%d to the stranger, %d to an unproven address, %d dropped", len(w.mails(stranger)), len(w.mails(unproven)), w.statuses("dropped"))
	}
	if all := w.list(unproven); len(all) != 1 {
		t.Error("the app tells them all the same")
	}
}

func TestOneClickUnsubscribes(t *testing.T) {
	w := start(t, options{})
	id, other := w.someone("Ann", "UTC"), w.someone("Eve", "UTC")
	pay := func() {
		w.tell(uuid.New(), event.PaymentCompleted{Payment: event.Payment{PaymentID: uuid.New(), BookingID: uuid.New(), ClientID: id, Amount: gig.Amount}})
		w.send(time.Minute)
	}
	pay()
	raw := w.part(w.mails(id)[0].ID, "raw")
	_, after, found := strings.Cut(strings.ReplaceAll(raw, "\r\n ", ""), "List-Unsubscribe:<https://tulifo.test")
	path, _, _ := strings.Cut(after, ">")
	if !found || !strings.Contains(raw, "List-Unsubscribe-Post: List-Unsubscribe=One-Click") {
		t.Fatalf("no way to unsubscribe: %s", raw)
	}
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	w.Call(apitest.Call{What: "looking changes nothing", Path: path, Status: 200, Has: `<form method="post">`})
	pay()
	if n := len(w.mails(id)); n != 2 {
		t.Errorf("%d mails after looking", n)
	}
	a := w.Call(apitest.Call{What: "one click", Method: "POST", Path: path, Header: form, Body: "List-Unsubscribe=One-Click", Status: 200, Has: "no more mail about payments"})
	if csp := a.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("policy %q", csp)
	}
	w.Call(apitest.Call{What: "twice is once", Method: "POST", Path: path, Header: form, Body: "List-Unsubscribe=One-Click", Status: 200})
	pay()
	w.tell(id, event.UserPasswordChanged{UserID: id}, event.BadgeAwarded{UserID: id, Name: "Top rated"})
	w.send(time.Minute)
	if n := len(w.mails(id)); n != 4 {
		t.Errorf("%d mails; payments end, security and reviews go on", n)
	}
	if n := len(w.list(id)); n != 5 {
		t.Errorf("%d in the app", n)
	}
	good := w.service.UnsubscribeToken(id, notification.Payments)
	for what, tok := range map[string]string{
		"another's signature": "payments." + strings.SplitN(w.service.UnsubscribeToken(other, notification.Payments), ".", 2)[1][:22] + strings.SplitN(good, ".", 2)[1][22:],
		"another category":    strings.Replace(good, "payments", "bookings", 1), "no category": strings.Replace(good, "payments", "everything", 1),
		"what cannot be switched off": w.service.UnsubscribeToken(id, notification.Account), "cut off": good[:len(good)-2], "nonsense": "..%2F..", "too much": good + "AAAA",
	} {
		w.Call(apitest.Call{What: what, Path: "/api/notifications/unsubscribe/" + tok, Status: http.StatusNotFound})
		w.Call(apitest.Call{What: what, Method: "POST", Path: "/api/notifications/unsubscribe/" + tok, Header: form, Body: "List-Unsubscribe=One-Click", Status: http.StatusNotFound})
	}
}

func TestMailIsGivenUpAfterDays(t *testing.T) {
	l, _ := down(t)
	w := start(t, options{smtp: l.Addr().String()})
	id := w.someone("Ann", "UTC")
	w.tell(id, event.UserPasswordChanged{UserID: id})
	if err := notification.ChangeDeliveries(t.Context(), w.docs, docdb.Set("createdAt", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))); err != nil {
		t.Fatal(err)
	}
	w.send(time.Second)
	if w.statuses("failed") != 1 {
		t.Errorf("not given up: %s", w.log)
	}
	if said, err := w.service.Check(t.Context()); err != nil || len(said) != 0 {
		t.Errorf("check: %v %v", said, err)
	}
}
