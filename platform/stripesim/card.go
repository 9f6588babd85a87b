package stripesim

import (
	"strings"
)

// card is how one of Stripe's documented test cards behaves. Only its name and last four digits are ever stored.
type card struct {
	token   string // the payment method that stands for it, such as pm_card_visa
	number  string
	brand   string
	code    string // error code of a decline; empty: the charge succeeds
	decline string // decline_code
	message string
	action  bool   // must be authenticated first
	dispute string // reason of the dispute that follows success
	inquiry bool   // the dispute is an inquiry, which moves no money
	refund  string // "pending": refunds succeed later; "failed": refunds fail later
}

const declined = "Your card was declined."

// cards are the test cards of https://docs.stripe.com/testing that the simulator knows.
var cards = []card{
	{token: "pm_card_visa", number: "4242424242424242", brand: "visa"},
	{token: "pm_card_visa_debit", number: "4000056655665556", brand: "visa"},
	{token: "pm_card_mastercard", number: "5555555555554444", brand: "mastercard"},
	{token: "pm_card_amex", number: "378282246310005", brand: "amex"},
	{token: "pm_card_discover", number: "6011111111111117", brand: "discover"},
	{token: "pm_card_us", number: "4242424242424242", brand: "visa"},
	{token: "pm_card_de", number: "4000002760000016", brand: "visa"},
	{token: "pm_card_gb", number: "4000008260000000", brand: "visa"},
	{token: "pm_card_bypassPending", number: "4000000000000077", brand: "visa"},
	{token: "pm_card_chargeDeclined", number: "4000000000000002", brand: "visa", code: "card_declined", decline: "generic_decline", message: declined},
	{token: "pm_card_visa_chargeDeclined", number: "4000000000000002", brand: "visa", code: "card_declined", decline: "generic_decline", message: declined},
	{token: "pm_card_chargeDeclinedInsufficientFunds", number: "4000000000009995", brand: "visa", code: "card_declined", decline: "insufficient_funds", message: "Your card has insufficient funds."},
	{token: "pm_card_visa_chargeDeclinedInsufficientFunds", number: "4000000000009995", brand: "visa", code: "card_declined", decline: "insufficient_funds", message: "Your card has insufficient funds."},
	{token: "pm_card_visa_chargeDeclinedLostCard", number: "4000000000009987", brand: "visa", code: "card_declined", decline: "lost_card", message: declined},
	{token: "pm_card_visa_chargeDeclinedStolenCard", number: "4000000000009979", brand: "visa", code: "card_declined", decline: "stolen_card", message: declined},
	{token: "pm_card_chargeDeclinedExpiredCard", number: "4000000000000069", brand: "visa", code: "expired_card", message: "Your card has expired."},
	{token: "pm_card_chargeDeclinedIncorrectCvc", number: "4000000000000127", brand: "visa", code: "incorrect_cvc", message: "Your card's security code is incorrect."},
	{token: "pm_card_chargeDeclinedProcessingError", number: "4000000000000119", brand: "visa", code: "processing_error", message: "An error occurred while processing your card. Try again in a little bit."},
	{token: "pm_card_visa_chargeDeclinedVelocityLimitExceeded", number: "4000000000006975", brand: "visa", code: "card_declined", decline: "card_velocity_exceeded", message: declined},
	{token: "pm_card_chargeDeclinedFraudulent", number: "4100000000000019", brand: "visa", code: "card_declined", decline: "fraudulent", message: declined},
	{token: "pm_card_authenticationRequiredOnSetup", number: "4000002500003155", brand: "visa", action: true},
	{token: "pm_card_authenticationRequired", number: "4000002760003184", brand: "visa", action: true},
	{token: "pm_card_threeDSecure2Required", number: "4000000000003220", brand: "visa", action: true},
	{token: "pm_card_threeDSecureRequired", number: "4000000000003063", brand: "visa", action: true},
	{token: "pm_card_threeDSecureRequiredChargeDeclined", number: "4000008400001629", brand: "visa", action: true, code: "card_declined", decline: "generic_decline", message: declined},
	{token: "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", number: "4000008260003178", brand: "visa", action: true, code: "card_declined", decline: "insufficient_funds", message: "Your card has insufficient funds."},
	{token: "pm_card_createDispute", number: "4000000000000259", brand: "visa", dispute: "fraudulent"},
	{token: "pm_card_createDisputeProductNotReceived", number: "4000000000002685", brand: "visa", dispute: "product_not_received"},
	{token: "pm_card_createDisputeInquiry", number: "4000000000001976", brand: "visa", dispute: "fraudulent", inquiry: true},
	{token: "pm_card_pendingRefund", number: "4000000000007726", brand: "visa", refund: "pending"},
	{token: "pm_card_refundFail", number: "4000000000005126", brand: "visa", refund: "failed"},
}

func cardByToken(token string) (card, bool) {
	for _, c := range cards {
		if c.token == token {
			return c, true
		}
	}
	return card{}, false
}

// cardByNumber is the test card with the number. Another number is wrong, or a real card, which a test refuses.
func cardByNumber(number string) (card, error) {
	number = strings.NewReplacer(" ", "", "-", "").Replace(number)
	for _, c := range cards {
		if c.number == number {
			return c, nil
		}
	}
	if !luhn(number) {
		return card{}, cardFault("incorrect_number", "", "Your card number is incorrect.", "number")
	}
	return card{}, cardFault("card_declined", "test_mode_live_card", "Your card was declined. Your request was in test mode, but used a non test card. For a list of valid test cards, visit: https://stripe.com/docs/testing.", "")
}

func (c card) last4() string { return c.number[len(c.number)-4:] }

func cardFault(code, decline, message, param string) *fault {
	f := newFault(402, "card_error", code, message)
	f.body.DeclineCode, f.body.Param, f.stored = decline, param, true
	return f
}

func luhn(number string) bool {
	if len(number) < 12 || len(number) > 19 {
		return false
	}
	sum := 0
	for i := range len(number) {
		d := int(number[len(number)-1-i]) - '0'
		if d < 0 || d > 9 {
			return false
		}
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
