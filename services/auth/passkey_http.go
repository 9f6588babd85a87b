package auth

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/token"
)

func (s *Service) passkeyRoutes(r *api.Router) {
	api.Post(r, "/api/auth/passkeys/login/options", s.beginPasskeyLogin, api.Public, api.Of(api.NoOne), api.Secret, api.Summary("Ask the browser for a passkey to sign in with"))
	api.Post(r, "/api/auth/passkeys/login", s.loginWithPasskey, api.Public, api.Of(api.NoOne), api.Secret, api.MaxBody(64<<10), api.Summary("Sign in with a passkey"))
	api.Post(r, "/api/auth/passkeys/options", s.beginPasskey, api.Anyone, api.Of(api.Self), api.StepUp, api.Secret, api.Summary("Ask the browser to make a passkey"))
	api.Post(r, "/api/auth/passkeys", s.addPasskey, api.Anyone, api.Of(api.Self), api.StepUp, api.Created, api.MaxBody(64<<10), api.Summary("Add a passkey to the account"))
	api.Get(r, "/api/auth/passkeys", s.listPasskeys, api.Anyone, api.Of(api.Self), api.Summary("The caller's passkeys"))
	api.Patch(r, "/api/auth/passkeys/{id}", s.renamePasskey, api.Anyone, api.Of(api.Owner), api.Summary("Rename a passkey"))
	api.Delete(r, "/api/auth/passkeys/{id}", s.removePasskey, api.Anyone, api.Of(api.Owner), api.StepUp, api.Summary("Take a passkey off the account"))
	api.Post(r, "/api/auth/step-up/options", s.beginStepUp, api.Anyone, api.Of(api.Self), api.Secret, api.Summary("Ask the browser for a passkey to prove who it is"))
}

func (s *Service) beginPasskeyLogin(ctx context.Context, _ *struct{}) (PasskeyOptions, error) {
	return s.BeginPasskeyLogin(ctx)
}

type passkeyLoginIn struct {
	Browser
	Body struct {
		Credential json.RawMessage `json:"credential" doc:"what navigator.credentials.get gave, as toJSON writes it"`
	}
}

func (s *Service) loginWithPasskey(ctx context.Context, in *passkeyLoginIn) (Session, error) {
	return s.LoginWithPasskey(ctx, s.visitor(ctx, in.Browser), in.Body.Credential)
}

func (s *Service) beginPasskey(ctx context.Context, _ *struct{}) (PasskeyOptions, error) {
	return s.BeginPasskey(ctx, token.From(ctx))
}

type addPasskeyIn struct {
	Body struct {
		Name       string          `json:"name" maxLength:"60"`
		Credential json.RawMessage `json:"credential" doc:"what navigator.credentials.create gave, as toJSON writes it"`
	}
}

func (s *Service) addPasskey(ctx context.Context, in *addPasskeyIn) (Passkey, error) {
	return s.AddPasskey(ctx, token.From(ctx), in.Body.Name, in.Body.Credential)
}

type passkeyList struct {
	Passkeys []Passkey `json:"passkeys"`
}

func (s *Service) listPasskeys(ctx context.Context, _ *struct{}) (passkeyList, error) {
	found, err := s.Passkeys(ctx, token.From(ctx))
	return passkeyList{found}, err
}

type renamePasskeyIn struct {
	ID   uuid.UUID `path:"id"`
	Body struct {
		Name string `json:"name" maxLength:"60"`
	}
}

func (s *Service) renamePasskey(ctx context.Context, in *renamePasskeyIn) (Passkey, error) {
	return s.RenamePasskey(ctx, token.From(ctx), in.ID, in.Body.Name)
}

func (s *Service) removePasskey(ctx context.Context, in *ByID) (api.Nothing, error) {
	return api.Nothing{}, s.RemovePasskey(ctx, token.From(ctx), in.ID)
}

func (s *Service) beginStepUp(ctx context.Context, _ *struct{}) (PasskeyOptions, error) {
	return s.BeginStepUp(ctx, token.From(ctx))
}
