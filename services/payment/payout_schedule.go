package payment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	byHand  = "manual"
	daily   = "daily"
	weekly  = "weekly"
	monthly = "monthly"

	payoutHour    = 9 // of the worker's day
	pausedAfter   = 3 // failures in a row
	fireAtOnce    = 100
	maxMinimums   = 10
	outcomePaid   = "paid"
	belowMinimum  = "below_minimum"
	nothingToPay  = "nothing_to_pay"
	owesMoney     = "debt"
	emailUnproven = "email_unverified"
)

// schedule is a row of payout_schedules.
type schedule struct {
	UserID       uuid.UUID
	Every        string
	Day          int
	Minimums     map[string]int64 // minor units by currency
	Zone         string
	NextAt       *time.Time // business time
	Failures     int
	PausedAt     *time.Time
	PausedReason string
	LastAt       *time.Time
	LastOutcome  string // paid, or why not
}

const scheduleColumns = `user_id, every, day, minimums, zone, next_at, failures, paused_at, paused_reason, last_at, last_outcome`

// next is the first time after after at which the wallet is paid out: at nine in the morning where the worker is. Of a month that is too short for
// the day it is the last.
func (sc schedule) next(after time.Time) (*time.Time, error) {
	if sc.Every == byHand {
		return nil, nil
	}
	loc, err := time.LoadLocation(sc.Zone)
	if err != nil {
		return nil, fmt.Errorf("the zone of a payout schedule: %w", err)
	}
	y, m, d := after.In(loc).Date()
	for i := range 64 {
		at := time.Date(y, m, d+i, payoutHour, 0, 0, 0, loc)
		if at.After(after) && sc.on(at) {
			at = at.UTC()
			return &at, nil
		}
	}
	return nil, fmt.Errorf("no day of %+v comes", sc)
}

func (sc schedule) on(at time.Time) bool {
	switch sc.Every {
	case weekly:
		return int(at.Weekday()) == sc.Day
	case monthly:
		last := time.Date(at.Year(), at.Month()+1, 0, 12, 0, 0, 0, time.UTC).Day()
		return at.Day() == min(sc.Day, last)
	}
	return true
}

// scheduleOf is the user's schedule; by hand when there is none.
func scheduleOf(ctx context.Context, q postgres.Querier, user uuid.UUID, suffix string) (schedule, error) {
	found, err := postgres.All[schedule](ctx, q, `SELECT `+scheduleColumns+` FROM payout_schedules WHERE user_id = $1`+suffix, user)
	if err != nil || len(found) == 0 {
		return schedule{UserID: user, Every: byHand, Minimums: map[string]int64{}}, err
	}
	return found[0], nil
}

// PayoutScheduleOf answers when the caller's wallet is paid out by itself.
func (s *Service) PayoutScheduleOf(ctx context.Context, by token.Caller) (PayoutSchedule, error) {
	sc, err := scheduleOf(ctx, s.db, by.ID, "")
	return viewSchedule(sc), err
}

// scheduleChange is what of a schedule is to be changed; nil stays.
type scheduleChange struct {
	Every    *string
	Day      *int
	Minimums *map[string]money.Decimal
	Zone     *string
}

// SetPayoutSchedule changes when the caller's wallet is paid out by itself, and starts a schedule again that was paused. Invalid: the day does not
// fit, a minimum is no amount of its currency, or the zone is not known.
func (s *Service) SetPayoutSchedule(ctx context.Context, by token.Caller, change scheduleChange) (PayoutSchedule, error) {
	sc, err := scheduleOf(ctx, s.db, by.ID, "")
	if err != nil {
		return PayoutSchedule{}, err
	}
	if sc.Zone == "" && change.Zone == nil {
		card, err := peer.Get[struct {
			Timezone string `json:"timezone"`
		}](ctx, s.peers.To("user"), "/api/users/"+by.ID.String()+"/card")
		if err != nil && errs.KindOf(err) != errs.NotFound {
			return PayoutSchedule{}, err
		}
		zone := cmp.Or(card.Timezone, "UTC")
		change.Zone = &zone
	}
	now := s.clock.Now()
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		var err error
		if sc, err = scheduleOf(ctx, tx, by.ID, " FOR NO KEY UPDATE"); err != nil {
			return err
		}
		if err := sc.apply(change); err != nil {
			return err
		}
		sc.Failures, sc.PausedAt, sc.PausedReason = 0, nil, ""
		if sc.NextAt, err = sc.next(now); err != nil {
			return err
		}
		tx.Later(`INSERT INTO payout_schedules (`+scheduleColumns+`) VALUES ($1, $2, $3, $4, $5, $6, 0, NULL, '', $7, $8)
			ON CONFLICT (user_id) DO UPDATE SET every = excluded.every, day = excluded.day, minimums = excluded.minimums, zone = excluded.zone,
				next_at = excluded.next_at, failures = 0, paused_at = NULL, paused_reason = ''`,
			sc.UserID, sc.Every, sc.Day, sc.Minimums, sc.Zone, sc.NextAt, sc.LastAt, sc.LastOutcome)
		poke(tx)
		return audit.Add(ctx, tx, audit.Entry{Action: "payout_schedule.changed", Subject: by.ID, Detail: map[string]string{"every": sc.Every, "day": fmt.Sprint(sc.Day), "zone": sc.Zone}})
	})
	return viewSchedule(sc), err
}

func (sc *schedule) apply(c scheduleChange) error {
	if c.Every != nil && *c.Every != sc.Every {
		sc.Every, sc.Day = *c.Every, 0
		if sc.Every == weekly || sc.Every == monthly {
			sc.Day = 1
		}
	}
	if c.Day != nil {
		sc.Day = *c.Day
	}
	switch {
	case sc.Every == weekly && (sc.Day < 0 || sc.Day > 6):
		return errs.Field("day", "is a day of the week, from 0 for Sunday to 6")
	case sc.Every == monthly && (sc.Day < 1 || sc.Day > 31):
		return errs.Field("day", "is a day of the month, from 1 to 31")
	case (sc.Every == daily || sc.Every == byHand) && sc.Day != 0:
		return errs.Field("day", "goes with weekly and monthly only")
	}
	if c.Zone != nil {
		if _, err := zoneNamed("timezone", *c.Zone); err != nil {
			return err
		}
		sc.Zone = *c.Zone
	}
	if c.Minimums == nil {
		return nil
	}
	if len(*c.Minimums) > maxMinimums {
		return errs.Field("minimums", fmt.Sprintf("may be %d at most", maxMinimums))
	}
	sc.Minimums = map[string]int64{}
	for currency, d := range *c.Minimums {
		a, err := d.In(currency)
		if err != nil || a.Minor < 0 || len(currency) != 3 {
			return errs.Field("minimums", "must name currencies, such as USD, with amounts of them that are not below 0")
		}
		sc.Minimums[currency] = a.Minor
	}
	return nil
}

// firePayouts pays out the wallets whose time has come, up to now. One whose worker's account cannot be asked about stays due.
func (s *Service) firePayouts(ctx context.Context, now time.Time) error {
	var failed []error
	left := []uuid.UUID{}
	for len(failed) < fireAtOnce {
		due, err := postgres.All[schedule](ctx, s.db, `SELECT `+scheduleColumns+` FROM payout_schedules WHERE next_at <= $1 AND NOT user_id = ANY($2) ORDER BY next_at, user_id LIMIT $3`, now, left, fireAtOnce)
		if err != nil || len(due) == 0 {
			return errors.Join(append(failed, err)...)
		}
		for _, sc := range due {
			left = append(left, sc.UserID)
			if err := s.firePayout(ctx, sc, now); err != nil {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

type funds struct {
	Currency string
	Balance  int64
}

func (f funds) total() money.Amount { return money.Of(f.Balance, f.Currency) }

// firePayout pays out one wallet, if the schedule is still due as it was seen: once for its time, in however many processes.
func (s *Service) firePayout(ctx context.Context, seen schedule, now time.Time) error {
	has, err := postgres.All[funds](ctx, s.db, `SELECT currency, balance FROM balances WHERE account = $1 AND balance > 0`, walletOf(seen.UserID))
	if err != nil {
		return err
	}
	var a payoutAccount
	why := ""
	if len(seen.payable(has)) > 0 {
		if a, why, err = s.readyToPay(ctx, seen.UserID); err != nil {
			return err
		}
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		due, err := postgres.All[schedule](ctx, tx, `SELECT `+scheduleColumns+` FROM payout_schedules WHERE user_id = $1 AND next_at = $2 FOR NO KEY UPDATE SKIP LOCKED`, seen.UserID, seen.NextAt)
		if err != nil || len(due) == 0 {
			return err
		}
		sc, at := due[0], *seen.NextAt
		has, err := postgres.All[funds](ctx, tx, `SELECT currency, balance FROM balances WHERE account = $1 AND balance > 0 ORDER BY currency FOR NO KEY UPDATE`, walletOf(sc.UserID))
		if err != nil {
			return err
		}
		pay := sc.payable(has)
		sc.LastAt, sc.LastOutcome = &at, cmp.Or(why, outcomePaid)
		switch {
		case why != "":
			pay = nil
		case len(pay) == 0 && len(has) > 0:
			sc.LastOutcome = belowMinimum
		case len(pay) == 0:
			owes, err := postgres.One[bool](ctx, tx, `SELECT EXISTS (SELECT FROM balances WHERE account = $1 AND balance < 0)`, debtOf(sc.UserID))
			if err != nil {
				return err
			}
			sc.LastOutcome = nothingToPay
			if owes {
				sc.LastOutcome = owesMoney
			}
		case a.AccountID == nil:
			return nil // it has come in since it was looked at, and stays due
		}
		if sc.NextAt, err = sc.next(now); err != nil {
			return err
		}
		tx.Later(`UPDATE payout_schedules SET next_at = $2, last_at = $3, last_outcome = $4 WHERE user_id = $1`, sc.UserID, sc.NextAt, sc.LastAt, sc.LastOutcome)
		system := time.Now().UTC()
		for _, one := range pay {
			id := uuid.NewSHA1(sc.UserID, fmt.Appendf(nil, "schedule:%d:%s", at.UnixMicro(), one.Currency))
			err := s.order(ctx, tx, payout{ID: id, UserID: sc.UserID, AccountID: *a.AccountID, Amount: one.Minor, Currency: one.Currency,
				Status: payoutPending, CreatedAt: at, NextTryAt: &system, Scheduled: true})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// payable is what of a wallet reaches its minimum, in whole steps of the currency.
func (sc schedule) payable(has []funds) (pay []money.Amount) {
	for _, one := range has {
		if whole := one.total().Whole(); whole.Minor > 0 && one.Balance >= sc.Minimums[one.Currency] {
			pay = append(pay, whole)
		}
	}
	return pay
}

// readyToPay is the account that the user is paid through, or the code of why not.
func (s *Service) readyToPay(ctx context.Context, user uuid.UUID) (a payoutAccount, why string, err error) {
	if _, err = s.provenEmail(ctx, user); err == nil {
		a, err = s.verifiedAccount(ctx, user)
	}
	if no, is := errors.AsType[*errs.Error](err); is && (no.Kind == errs.Forbidden || no.Kind == errs.Conflict) {
		return a, no.Code, nil
	}
	return a, "", err
}

// scheduledFailed counts a failure of a scheduled payout, and pauses the schedule after several in a row.
func (s *Service) scheduledFailed(ctx context.Context, tx postgres.Tx, p payout) error {
	if !p.Scheduled {
		return nil
	}
	n, err := postgres.All[int](ctx, tx, `UPDATE payout_schedules SET failures = failures + 1,
			paused_at = CASE WHEN failures + 1 >= $2 THEN coalesce(paused_at, $3) END, paused_reason = CASE WHEN failures + 1 >= $2 THEN $4 ELSE '' END,
			next_at = CASE WHEN failures + 1 >= $2 THEN NULL ELSE next_at END
		WHERE user_id = $1 AND every <> 'manual' RETURNING failures`, p.UserID, pausedAfter, s.clock.Now(), p.Failure)
	if err != nil || len(n) == 0 || n[0] != pausedAfter {
		return err
	}
	if err := audit.Add(ctx, tx, audit.Entry{Actor: "service:payment", Action: "payout_schedule.paused", Subject: p.UserID, Detail: map[string]string{"why": p.Failure}}); err != nil {
		return err
	}
	return outbox.Add(ctx, tx, p.UserID, event.PayoutSchedulePaused{UserID: p.UserID, Failures: n[0], Reason: p.Failure})
}
