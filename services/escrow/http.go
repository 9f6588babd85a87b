package escrow

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/export"
	"tulifo/platform/money"
	"tulifo/platform/text"
	"tulifo/platform/token"
)

// Routes declares what the service answers.
func (s *Service) Routes(r *api.Router) {
	export.Routes(r, "/api/v1/escrow", s.heldBy()...)
	const one = "/api/v1/escrow/{id}"
	api.List(r, "/api/v1/escrow", s.getList, api.For(token.Client, token.Worker, token.Admin, token.Service), api.Of(api.NoOne), api.Summary("The caller's escrow accounts, newest first; all of them for an admin."))
	api.Post(r, "/api/v1/escrow", s.create, api.For(token.Client, token.Worker), api.ForService(payments), api.Of(api.Party), api.Created, api.Once, api.Summary("The escrow account of a completed payment, made if it is not there yet."))
	api.Get(r, one, s.get, api.For(token.Client, token.Worker, token.Admin, token.Service), api.Of(api.Party, token.Admin), api.Summary("One escrow account, with every movement of its money."))
	api.Post(r, one+"/release", s.release, api.For(token.Client, token.Admin), api.ForService(disputes), api.Of(api.Owner, token.Admin), api.StepUpFor(token.Admin), api.While(unsettled...), api.Once, api.Summary("Release what remains to the worker, or a part of it."))
	api.Post(r, one+"/freeze", s.freeze, api.For(token.Admin), api.ForService(disputes), api.Of(api.NoOne), api.StepUpFor(token.Admin), api.While(unsettled...), api.Once, api.Summary("Let nothing move until somebody decides."))
	api.Post(r, one+"/unfreeze", s.unfreeze, api.For(token.Admin), api.ForService(disputes), api.Of(api.NoOne), api.StepUpFor(token.Admin), api.While(unsettled...), api.Once, api.Summary("Let it move again."))
	api.Post(r, one+"/refund", s.refund, api.For(token.Admin), api.ForService(disputes, payments), api.Of(api.NoOne), api.StepUpFor(token.Admin), api.While(unsettled...), api.Once, api.Summary("Send what remains back to the client, or a part of it."))
}

// Answer is an account on the wire: major units, gross.
type Answer struct {
	ID            uuid.UUID     `json:"id"`
	BookingID     uuid.UUID     `json:"bookingId"`
	ClientID      uuid.UUID     `json:"clientId"`
	WorkerID      uuid.UUID     `json:"workerId"`
	PaymentID     uuid.UUID     `json:"paymentId"`
	Held          money.Decimal `json:"heldAmount" doc:"what was paid; never changes"`
	Released      money.Decimal `json:"releasedAmount" doc:"to the worker, before the platform's fee"`
	Refunded      money.Decimal `json:"refundedAmount" doc:"back to the client"`
	Remaining     money.Decimal `json:"remainingAmount"`
	Currency      string        `json:"currency"`
	Status        Status        `json:"status" enum:"active,partially_released,frozen,released,refunded,split"`
	FreezeReason  string        `json:"freezeReason,omitempty"`
	AutoRelease   bool          `json:"autoReleaseEnabled"`
	AutoReleaseAt *time.Time    `json:"autoReleaseAt" doc:"when what remains is released unless somebody objects"`
	SettleAt      *time.Time    `json:"settleAt,omitempty" doc:"when a no-show is settled unless the absent side objects"`
	ReleasedAt    *time.Time    `json:"releasedAt" doc:"of the latest release"`
	Version       int64         `json:"version"`
	CreatedAt     time.Time     `json:"createdAt"`
	UpdatedAt     time.Time     `json:"updatedAt"`
}

// Detailed is an account with its movements, the first one first.
type Detailed struct {
	Answer
	Moves []MoveAnswer `json:"moves"`
}

// MoveAnswer is one movement on the wire.
type MoveAnswer struct {
	ID        uuid.UUID     `json:"id"`
	Kind      string        `json:"kind" enum:"release,refund"`
	Amount    money.Decimal `json:"amount"`
	Remaining money.Decimal `json:"remainingAmount" doc:"after it"`
	Cause     string        `json:"cause" enum:"client,auto,cancelled,no_show,resolution,admin"`
	At        time.Time     `json:"at"`
}

func answer(a Account) Answer {
	in := func(minor int64) money.Decimal { return money.Of(minor, a.Currency).Decimal() }
	return Answer{ID: a.ID, BookingID: a.BookingID, ClientID: a.ClientID, WorkerID: a.WorkerID, PaymentID: a.PaymentID,
		Held: in(a.Held), Released: in(a.Released), Refunded: in(a.Refunded), Remaining: in(a.remaining()), Currency: a.Currency, Status: a.status(),
		FreezeReason: a.FreezeReason, AutoRelease: a.AutoRelease, AutoReleaseAt: a.AutoReleaseAt, SettleAt: a.DivideAt, ReleasedAt: a.ReleasedAt,
		Version: a.Version, CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt}
}

func answered(a Account, err error) (Answer, error) {
	if err != nil {
		return Answer{}, err
	}
	return answer(a), nil
}

type listIn struct {
	api.Paging
	BookingID uuid.UUID `query:"bookingId" required:"false"`
	Status    Status    `query:"status" enum:"active,partially_released,frozen,released,refunded,split" required:"false"`
}

func (s *Service) getList(ctx context.Context, in *listIn) (api.Page[Answer], error) {
	page, err := s.Accounts(ctx, token.From(ctx), in.BookingID, in.Status, in.Paging)
	out := api.Page[Answer]{Limit: page.Limit, NextCursor: page.NextCursor}
	for _, a := range page.Items {
		out.Items = append(out.Items, answer(a))
	}
	return out, err
}

type createIn struct {
	Body struct {
		PaymentID uuid.UUID `json:"paymentId"`
	}
}

func (s *Service) create(ctx context.Context, in *createIn) (Answer, error) {
	return answered(s.Ensure(ctx, token.From(ctx), in.Body.PaymentID))
}

type byID struct {
	ID uuid.UUID `path:"id"`
}

func (s *Service) get(ctx context.Context, in *byID) (Detailed, error) {
	a, err := s.Account(ctx, token.From(ctx), in.ID)
	if err != nil {
		return Detailed{}, err
	}
	moves, err := s.Moves(ctx, a.ID)
	out := Detailed{Answer: answer(a)}
	for _, m := range moves {
		out.Moves = append(out.Moves, MoveAnswer{m.ID, m.Kind, money.Of(m.Amount, a.Currency).Decimal(), money.Of(m.Remaining, a.Currency).Decimal(), m.Cause, m.At})
	}
	return out, err
}

type releaseIn struct {
	ID   uuid.UUID `path:"id"`
	Body *struct {
		Amount *money.Decimal `json:"amount,omitempty" doc:"default: all that remains"`
	} `required:"false"`
}

func (s *Service) release(ctx context.Context, in *releaseIn) (Answer, error) {
	var amount *money.Decimal
	if in.Body != nil {
		amount = in.Body.Amount
	}
	return answered(s.Release(ctx, token.From(ctx), in.ID, amount))
}

type refundIn struct {
	ID   uuid.UUID `path:"id"`
	Body *struct {
		Amount *money.Decimal `json:"amount,omitempty" doc:"default: all that remains"`
		Reason string         `json:"reason,omitempty" maxLength:"500"`
	} `required:"false"`
}

func (s *Service) refund(ctx context.Context, in *refundIn) (Answer, error) {
	var amount *money.Decimal
	reason := ""
	if in.Body != nil {
		amount, reason = in.Body.Amount, in.Body.Reason
	}
	reason, shows := text.Line(reason)
	if !shows {
		return Answer{}, errs.Field("reason", "has characters that cannot be shown")
	}
	return answered(s.Refund(ctx, token.From(ctx), in.ID, amount, reason))
}

type freezeIn struct {
	ID   uuid.UUID `path:"id"`
	Body struct {
		Reason string `json:"reason" minLength:"3" maxLength:"500"`
	}
}

func (s *Service) freeze(ctx context.Context, in *freezeIn) (Answer, error) {
	reason, shows := text.Line(in.Body.Reason)
	if !shows || len([]rune(reason)) < 3 {
		return Answer{}, errs.Field("reason", "is too short or has characters that cannot be shown")
	}
	return answered(s.Freeze(ctx, token.From(ctx), in.ID, reason))
}

func (s *Service) unfreeze(ctx context.Context, in *byID) (Answer, error) {
	return answered(s.Unfreeze(ctx, token.From(ctx), in.ID))
}
