package auth

import (
	"context"
	"encoding/json"

	"tulifo/platform/api"
	"tulifo/platform/token"
)

func (s *Service) totpRoutes(r *api.Router) {
	api.Get(r, "/api/auth/totp", s.totpState, api.Anyone, api.Of(api.Self), api.Summary("Whether an authenticator app is asked for"))
	api.Post(r, "/api/auth/totp", s.beginTOTP, api.Anyone, api.Of(api.Self), api.StepUp, api.Secret, api.Summary("Set up an authenticator app"))
	api.Post(r, "/api/auth/totp/confirm", s.confirmTOTP, api.Anyone, api.Of(api.Self), api.StepUp, api.Secret, api.Summary("Put the authenticator app in force; answers the recovery codes"))
	api.Delete(r, "/api/auth/totp", s.removeTOTP, api.Anyone, api.Of(api.Self), api.StepUp, api.Summary("Take the authenticator app off the account"))
	api.Post(r, "/api/auth/totp/recovery-codes", s.renewRecoveryCodes, api.Anyone, api.Of(api.Self), api.StepUp, api.Secret, api.Summary("New recovery codes; those from before end"))
	api.Post(r, "/api/auth/step-up", s.stepUp, api.Anyone, api.Of(api.Self), api.Secret, api.MaxBody(64<<10), api.Summary("Prove once more who you are"))
}

type codeIn struct {
	Body struct {
		Code string `json:"code" maxLength:"64" doc:"what the app shows; where it says so, a recovery code as well"`
	}
}

func (s *Service) totpState(ctx context.Context, _ *struct{}) (TOTPState, error) {
	return s.TOTP(ctx, token.From(ctx))
}

func (s *Service) beginTOTP(ctx context.Context, _ *struct{}) (TOTPSetup, error) {
	return s.BeginTOTP(ctx, token.From(ctx))
}

func (s *Service) confirmTOTP(ctx context.Context, in *codeIn) (RecoveryCodes, error) {
	return s.ConfirmTOTP(ctx, s.visitor(ctx, Browser{}), token.From(ctx), in.Body.Code)
}

func (s *Service) removeTOTP(ctx context.Context, in *codeIn) (api.Nothing, error) {
	return api.Nothing{}, s.RemoveTOTP(ctx, s.visitor(ctx, Browser{}), token.From(ctx), in.Body.Code)
}

func (s *Service) renewRecoveryCodes(ctx context.Context, _ *struct{}) (RecoveryCodes, error) {
	return s.RenewRecoveryCodes(ctx, token.From(ctx))
}

type stepUpIn struct {
	Browser
	Body struct {
		Password string `json:"password,omitempty" maxLength:"1024" doc:"when there is no second factor"`
		TOTP     string `json:"totp,omitempty" maxLength:"64" doc:"what the app shows, or a recovery code"`

		Credential json.RawMessage `json:"credential,omitempty" doc:"what navigator.credentials.get gave, as toJSON writes it"`
	}
}

func (s *Service) stepUp(ctx context.Context, in *stepUpIn) (Session, error) {
	return s.StepUp(ctx, s.visitor(ctx, in.Browser), token.From(ctx), Proof{Password: in.Body.Password, Code: in.Body.TOTP, Credential: in.Body.Credential})
}
