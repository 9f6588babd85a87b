package payment

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/money"
)

// account names a place where money can be. Its balance is what was credited to it less what was debited; over all accounts of a currency
// the balances sum to 0.
type account string

const (
	railClearing   account = "rail_clearing"   // what the rail owes us, as a negative balance
	railFees       account = "rail_fees"       // what the rail's service has cost, as a negative balance
	fees           account = "fees"            // what the platform has earned
	refundsPayable account = "refunds_payable" // on its way back to clients
	payoutClearing account = "payout_clearing" // on its way to workers' banks
)

func escrowOf(booking uuid.UUID) account { return account("escrow:" + booking.String()) }
func walletOf(user uuid.UUID) account    { return account("wallet:" + user.String()) }
func debtOf(user uuid.UUID) account      { return account("chargeback_debt:" + user.String()) }

// hot tells the accounts that everybody's postings touch; they have no balance row to wait for, and are summed from the roll-up.
func (a account) hot() bool {
	switch a {
	case railClearing, railFees, fees, refundsPayable, payoutClearing:
		return true
	}
	return false
}

// transfer moves Amount out of Debit into Credit, so that no posting can be unbalanced.
type transfer struct {
	Debit, Credit account
	Amount        money.Amount
}

// posting is one ledger transaction. Key is the permanent name of its cause: a second posting under it does not exist.
type posting struct {
	Key       string
	Kind      string
	Subject   uuid.UUID // the booking, or the payout
	Worker    uuid.UUID // on whose statement it stands; nil for none
	Client    uuid.UUID
	At        time.Time // business time
	Transfers []transfer
}

// move adds a transfer of minor units; of nothing, when there is nothing to move.
func (p *posting) move(minor int64, currency string, debit, credit account) {
	if minor > 0 {
		p.Transfers = append(p.Transfers, transfer{debit, credit, money.Of(minor, currency)})
	}
}

// Kinds of postings, as they stand in statements.
const (
	kindPayment       = "payment"
	kindRailFee       = "rail_fee"
	kindRelease       = "release"
	kindRefund        = "refund"   // out of escrow
	kindRefunded      = "refunded" // back with the client
	kindRefundFailed  = "refund_failed"
	kindChargeback    = "chargeback"
	kindChargebackWon = "chargeback_won"
	kindPayout        = "payout"
	kindPayoutPaid    = "payout_paid"
	kindPayoutFailed  = "payout_failed"
)

// holding is where a payment's money is, in minor units: what of it was released, which fee was taken of that, and what was sent back.
type holding struct {
	PaymentID uuid.UUID
	BookingID uuid.UUID
	ClientID  uuid.UUID
	WorkerID  uuid.UUID
	Currency  string
	Amount    int64 // gross
	FeeRule   int   // basis points, frozen when the payment was asked for
	Released  int64 // gross
	FeeTaken  int64
	Refunded  int64
}

func (h holding) remaining() int64 { return h.Amount - h.Released - h.Refunded }

// fee is the platform's part of a released gross.
func (h holding) fee(released int64) int64 {
	return money.Of(released, h.Currency).Share(h.FeeRule).Minor
}

// expected is what the worker gets when all that remains is released.
func (h holding) expected() int64 {
	rest := h.remaining()
	return rest - (h.fee(h.Released+rest) - h.FeeTaken)
}

func (h holding) posting(key, kind string, at time.Time) posting {
	return posting{Key: key, Kind: kind, Subject: h.BookingID, Worker: h.WorkerID, Client: h.ClientID, At: at}
}

// planPayment puts the client's money into the booking's escrow.
func planPayment(h holding, at time.Time) posting {
	p := h.posting(fmt.Sprint("payment:", h.PaymentID), kindPayment, at)
	p.move(h.Amount, h.Currency, railClearing, escrowOf(h.BookingID))
	return p
}

// planRailFee books what the rail kept for itself; the platform pays it.
func planRailFee(h holding, fee money.Amount, at time.Time) posting {
	p := posting{Key: fmt.Sprint("rail_fee:", h.PaymentID), Kind: kindRailFee, Subject: h.BookingID, At: at}
	p.move(fee.Minor, fee.Currency, railFees, railClearing)
	return p
}

// planRelease gives gross out of escrow to the worker, less the platform's fee: the fee of all released so far less the fee already taken, so
// that many parts cost what one would. What the worker owes, owed ≥ 0, is paid from it first.
// It answers the posting, the holding after it, and how much of the debt was paid.
func planRelease(h holding, move uuid.UUID, gross, owed int64, at time.Time) (posting, holding, int64, error) {
	if gross <= 0 || gross > h.remaining() {
		return posting{}, h, 0, fmt.Errorf("release %d of booking %s, which holds %d", gross, h.BookingID, h.remaining())
	}
	fee := min(h.fee(h.Released+gross)-h.FeeTaken, gross)
	h.Released += gross
	h.FeeTaken += fee
	p := h.posting(fmt.Sprint("escrow_release:", move), kindRelease, at)
	p.move(gross-fee, h.Currency, escrowOf(h.BookingID), walletOf(h.WorkerID))
	p.move(fee, h.Currency, escrowOf(h.BookingID), fees)
	paid := min(owed, gross-fee)
	p.move(paid, h.Currency, walletOf(h.WorkerID), debtOf(h.WorkerID))
	return p, h, paid, nil
}

// planRefund takes amount out of escrow for the client. What the client owes of this payment, because his bank has already taken the money back,
// is paid from it first; rail is what is left to send.
func planRefund(h holding, move uuid.UUID, amount, owed int64, at time.Time) (p posting, after holding, rail int64, err error) {
	if amount <= 0 || amount > h.remaining() {
		return posting{}, h, 0, fmt.Errorf("refund %d of booking %s, which holds %d", amount, h.BookingID, h.remaining())
	}
	h.Refunded += amount
	p = h.posting(fmt.Sprint("escrow_refund:", move), kindRefund, at)
	p.move(amount, h.Currency, escrowOf(h.BookingID), refundsPayable)
	paid := min(owed, amount)
	p.move(paid, h.Currency, refundsPayable, debtOf(h.ClientID))
	return p, h, amount - paid, nil
}

// planRefundOffset has paid of a refund, of which rail was to be sent, pay the client's debt instead.
func planRefundOffset(h holding, move uuid.UUID, rail, paid int64, at time.Time) posting {
	p := h.posting(fmt.Sprint("refund_offset:", move, ":", rail), kindRefund, at)
	p.move(paid, h.Currency, refundsPayable, debtOf(h.ClientID))
	return p
}

// planRefunded books that the rail has sent a refund.
func planRefunded(h holding, move uuid.UUID, rail int64, at time.Time) posting {
	p := h.posting(fmt.Sprint("refund:", move), kindRefunded, at)
	p.move(rail, h.Currency, refundsPayable, railClearing)
	return p
}

// burden is who bears a chargeback.
type burden struct{ Client, Worker, Fees int64 }

func (b burden) total() int64 { return b.Client + b.Worker + b.Fees }

// bear divides a chargeback: the part that is still held, or was sent back before, is the client's, who has it twice else; the part that was released is
// the worker's and the platform's, in the proportion in which they got it. before is what earlier chargebacks of the payment came to.
func bear(h holding, charged int64, before burden) burden {
	part := min(max(0, charged+before.Client-(h.Amount-h.Released)), h.Released-before.Worker-before.Fees, charged)
	var fee int64
	if part > 0 {
		fee = money.Of(part, h.Currency).Split(h.FeeTaken, h.Released-h.FeeTaken)[0].Minor
		fee = min(fee, h.FeeTaken-before.Fees)
		fee = max(fee, part-(h.Released-h.FeeTaken-before.Worker))
	}
	return burden{Client: charged - part, Worker: part - fee, Fees: fee}
}

// planChargeback books that a bank took money back. What the worker bears comes from the wallet as far as it reaches, else it is owed; what the
// client bears is owed.
func planChargeback(h holding, dispute string, b burden, wallet int64, at time.Time) posting {
	p := h.posting("chargeback:"+dispute, kindChargeback, at)
	p.move(b.Client, h.Currency, debtOf(h.ClientID), railClearing)
	fromWallet := min(wallet, b.Worker)
	p.move(fromWallet, h.Currency, walletOf(h.WorkerID), railClearing)
	p.move(b.Worker-fromWallet, h.Currency, debtOf(h.WorkerID), railClearing)
	p.move(b.Fees, h.Currency, fees, railClearing)
	return p
}

// planChargebackWon books that the bank gave it back. Debts are paid first; clientOwes of this payment and workerOwes are what they come to now. What the
// client has paid of his debt meanwhile is owed to him and goes out as a refund: rail is how much.
func planChargebackWon(h holding, dispute string, b burden, clientOwes, workerOwes int64, at time.Time) (p posting, rail int64) {
	p = h.posting("chargeback_won:"+dispute, kindChargebackWon, at)
	clientDebt := min(clientOwes, b.Client)
	p.move(clientDebt, h.Currency, railClearing, debtOf(h.ClientID))
	rail = b.Client - clientDebt
	p.move(rail, h.Currency, railClearing, refundsPayable)
	workerDebt := min(workerOwes, b.Worker)
	p.move(workerDebt, h.Currency, railClearing, debtOf(h.WorkerID))
	p.move(b.Worker-workerDebt, h.Currency, railClearing, walletOf(h.WorkerID))
	p.move(b.Fees, h.Currency, railClearing, fees)
	return p, rail
}

// planPayout takes a withdrawal out of the wallet.
func planPayout(id, worker uuid.UUID, a money.Amount, at time.Time) posting {
	p := posting{Key: fmt.Sprint("payout:", id), Kind: kindPayout, Subject: id, Worker: worker, At: at}
	p.move(a.Minor, a.Currency, walletOf(worker), payoutClearing)
	return p
}

// planPayoutPaid books that the worker's bank has it.
func planPayoutPaid(id, worker uuid.UUID, a money.Amount, at time.Time) posting {
	p := posting{Key: fmt.Sprint("payout_paid:", id), Kind: kindPayoutPaid, Subject: id, Worker: worker, At: at}
	p.move(a.Minor, a.Currency, payoutClearing, railClearing)
	return p
}

// planPayoutFailed puts it back: once, whatever happens, because of its key. settled tells that it had been booked as paid before.
// What the worker owes meanwhile, owed ≥ 0, is paid from it first.
func planPayoutFailed(id, worker uuid.UUID, a money.Amount, settled bool, owed int64, at time.Time) posting {
	p := posting{Key: fmt.Sprint("payout_failed:", id), Kind: kindPayoutFailed, Subject: id, Worker: worker, At: at}
	from := payoutClearing
	if settled {
		from = railClearing
	}
	p.move(a.Minor, a.Currency, from, walletOf(worker))
	p.move(min(owed, a.Minor), a.Currency, walletOf(worker), debtOf(worker))
	return p
}
