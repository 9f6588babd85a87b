package notification

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/docdb"
	"tulifo/platform/errs"
	"tulifo/platform/mail"
)

const (
	senders  = 4                // mails on their way at once; as many as mail.Sender has connections
	oneTry   = 20 * time.Second // a try may take; no mail is begun when less of the timer's patience is left
	lease    = 30 * time.Second // a claim that was not answered for is taken by another process, or by the next start; above oneTry and what settle may take
	firstGap = time.Second
	lastGap  = time.Hour
	giveUp   = 3 * 24 * time.Hour // what could not be sent for so long is news no more
	doneFor  = 30 * 24 * time.Hour
)

func (s *Service) mailTo(r rule, raw json.RawMessage, t to, event uuid.UUID, at time.Time) delivery {
	now := s.now()
	d := delivery{
		ID: keyOf(event, t.user, Email), EventID: event, UserID: t.user, Channel: Email, Audience: t.as, Type: r.event, Data: raw,
		Address: t.address, Occurred: at.UTC(), Status: queued, NextTryAt: &now, CreatedAt: now,
	}
	if t.link != uuid.Nil {
		d.LinkID = &t.link
	}
	return d
}

// RetryDue is when the next mail is to be tried.
func (s *Service) RetryDue(ctx context.Context) (time.Time, error) {
	page, err := deliveries.Find(ctx, s.docs, docdb.Query{Where: isQueued, Sort: docdb.Asc("nextTryAt"), Limit: 1})
	if err != nil || len(page.Docs) == 0 {
		return time.Time{}, err
	}
	return *page.Docs[0].NextTryAt, nil
}

// Retry sends what is queued up to now. A mail is claimed by moving its next try past the time that one may take, so two processes do not
// send it both, and one that dies leaves it to the other.
func (s *Service) Retry(ctx context.Context, now time.Time) error {
	failures := make([]error, senders)
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() { failures[i] = s.send(ctx, now) })
	}
	all.Wait()
	return errors.Join(failures...)
}

// send sends one mail after the other until none is due, or the mail server is not well: then it needs a rest, which the timer gives it.
func (s *Service) send(ctx context.Context, now time.Time) error {
	for ctx.Err() == nil {
		if end, ok := ctx.Deadline(); ok && time.Until(end) < oneTry {
			return nil
		}
		from := s.now()
		if now.After(from) {
			from = now
		}
		d, err := deliveries.FindOneAndUpdate(ctx, s.docs, docdb.And(isQueued, docdb.Lte("nextTryAt", now)), docdb.Asc("nextTryAt"),
			docdb.Set("nextTryAt", from.Add(lease)), docdb.Inc("attempts", 1))
		if errs.KindOf(err) == errs.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		o := s.deliver(ctx, d)
		if err := s.settle(ctx, d, o, from); err != nil || o.again {
			return err
		}
	}
	return nil
}

// outcome is what became of a try.
type outcome struct {
	status string
	again  bool       // it is tried again later
	until  *time.Time // business time up to which it is held
	reason string
}

// deliver renders and sends one mail. It is cut off well before the claim ends.
func (s *Service) deliver(ctx context.Context, d delivery) outcome {
	ctx, cancel := context.WithTimeout(ctx, oneTry)
	defer cancel()
	r, ok := s.rules[d.Type]
	if !ok {
		return outcome{status: dropped, reason: "no rule for it any more"}
	}
	if over, err := r.over(d, s.clock.Now()); err != nil {
		return s.later(d, err)
	} else if over {
		return outcome{status: dropped, reason: "no news any more"}
	}
	p, err := preferred.Get(ctx, s.docs, d.UserID)
	if err != nil && errs.KindOf(err) != errs.NotFound {
		return s.later(d, err)
	}
	if !p.wants(r.category, d.Channel) {
		return outcome{status: dropped, reason: "switched off"}
	}
	who, err := s.reader(ctx, d)
	if errors.Is(err, errUnreachable) {
		return outcome{status: dropped, reason: err.Error()}
	}
	if err != nil {
		return s.later(d, err)
	}
	if end, quiet := p.Quiet.until(s.clock.Now(), who.zone()); quiet && !r.category.essential() {
		return outcome{status: held, until: &end}
	}
	m, err := s.compose(ctx, r, d, who)
	switch kind := errs.KindOf(err); {
	case d.LinkID != nil && (kind == errs.NotFound || kind == errs.Conflict):
		return outcome{status: dropped, reason: "its link is of no more use"}
	case err != nil:
		return s.later(d, err)
	}
	switch err := s.sender.Send(ctx, m); {
	case err == nil:
		return outcome{status: sent}
	case mail.Permanent(err):
		return outcome{status: failed, reason: reason(err, m.To)}
	default:
		return s.later(d, errors.New(reason(err, m.To)))
	}
}

// reason is why a mail was not sent, without the address: it is logged.
func reason(err error, address string) string {
	return strings.ReplaceAll(err.Error(), address, "the recipient")
}

// later has a mail tried again, unless it has been tried for days.
func (s *Service) later(d delivery, err error) outcome {
	if s.now().Sub(d.CreatedAt) > giveUp {
		return outcome{status: failed, reason: "given up: " + err.Error()}
	}
	return outcome{status: queued, again: true, reason: err.Error()}
}

// settle keeps what became of a try, also when ctx ended after the server's answer: a mail that was taken must not go out again.
// It does nothing when somebody else has claimed the delivery meanwhile.
func (s *Service) settle(ctx context.Context, d delivery, o outcome, began time.Time) error {
	stopping := errors.Is(ctx.Err(), context.Canceled)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	now := s.now()
	if began.After(now) {
		now = began
	}
	changes := []docdb.Change{docdb.Set("status", o.status)}
	if o.reason != "" {
		changes = append(changes, docdb.Set("reason", line(o.reason, longest)))
	} else {
		changes = append(changes, docdb.Unset("reason"))
	}
	switch {
	case o.again && stopping:
		// The try was cut off by us: it is the next start's first.
		changes = append(changes, docdb.Set("nextTryAt", now))
	case o.again:
		// Stores compare times to the microsecond: what is finer would not be due yet at the time that RetryDue says.
		changes = append(changes, docdb.Set("nextTryAt", now.Add(gap(d.Attempts)).Truncate(time.Microsecond)))
	case o.until != nil:
		changes = append(changes, docdb.Unset("nextTryAt"), docdb.Set("dueAt", *o.until))
	default:
		// Nobody reads again where it went and what it was about; a goodbye's address is nobody's to keep.
		changes = append(changes, docdb.Unset("nextTryAt"), docdb.Set("expiresAt", now.Add(doneFor)), docdb.Unset("address"), docdb.Set("data", json.RawMessage(`{}`)))
	}
	_, err := deliveries.Update(ctx, s.docs, d.ID, docdb.And(isQueued, docdb.Eq("attempts", d.Attempts)), changes...)
	if kind := errs.KindOf(err); kind == errs.Conflict || kind == errs.NotFound {
		return nil
	}
	label := o.status
	if o.again {
		label = "retried"
	}
	s.mails.WithLabelValues(label).Inc()
	if o.again && !stopping || o.status == failed {
		s.log.WarnContext(ctx, "A mail was not sent.", "delivery", d.ID, "event", d.Type, "attempts", d.Attempts, "again", o.again, "error", o.reason)
	}
	return err
}

// gap is the pause after so many tries: it doubles, and varies so that what failed together does not come back together.
func gap(attempts int64) time.Duration {
	d := min(firstGap<<min(max(attempts, 1)-1, 20), lastGap)
	return d + time.Duration(rand.Int64N(int64(d)/4))
}
