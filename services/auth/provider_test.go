package auth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"tulifo/services/auth"
)

const (
	clientID     = "tulifo-at-the-provider"
	clientSecret = "a secret / with signs + in it"
)

// account is somebody's account at a provider.
type account struct {
	subject, email, name string
	verified             bool
}

// signingKey is made once: it is the slowest part of a provider.
var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// idp is a real provider of OpenID Connect on a socket of its own, whose accounts stand in memory and sign in at once.
type idp struct {
	op.Storage // the parts that no sign-in by code reaches
	t          *testing.T
	url        string

	mu       sync.Mutex
	accounts map[string]account // by subject
	requests map[string]*signIn
	codes    map[string]string
	spoil    func(http.ResponseWriter, *http.Request) bool // answers in the provider's place when it returns true
	claims   func(map[string]any)                          // changes what the provider says in an ID token
	forge    func(jose.SigningKey, []byte) string          // signs in the provider's place
	asked    map[string]int
}

func startProvider(t *testing.T) *idp {
	t.Helper()
	// Now, because who signs in waits for an answer only so long.
	signingKey()
	p := &idp{t: t, accounts: map[string]account{}, requests: map[string]*signIn{}, codes: map[string]string{}, asked: map[string]int{}}
	server := httptest.NewUnstartedServer(nil)
	p.url = "http://" + server.Listener.Addr().String()
	quiet := op.WithLogger(slog.New(slog.DiscardHandler))
	real, err := op.NewProvider(&op.Config{CryptoKey: [32]byte{1}, CodeMethodS256: true, AuthMethodPost: true}, p, op.StaticIssuer(p.url), op.WithAllowInsecure(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked[r.URL.Path]++
		spoil := p.spoil
		p.mu.Unlock()
		switch {
		case spoil != nil && spoil(w, r):
		case r.URL.Path == "/login":
			p.login(w, r)
		case r.URL.Path == "/oauth/token":
			p.tokens(real, w, r)
		default:
			real.ServeHTTP(w, r)
		}
	})
	server.Start()
	t.Cleanup(server.Close)
	return p
}

// login signs the account of the request in, as a person would who presses the button.
func (p *idp) login(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.requests[r.FormValue("id")]
	q.subject, q.done = r.FormValue("as"), true
	http.Redirect(w, r, "/authorize/callback?id="+url.QueryEscape(q.GetID()), http.StatusFound)
}

// tokens is the real answer, with its ID token changed where the test says so.
func (p *idp) tokens(real http.Handler, w http.ResponseWriter, r *http.Request) {
	rec := httptest.NewRecorder()
	real.ServeHTTP(rec, r)
	body := rec.Body.Bytes()
	p.mu.Lock()
	change, forge := p.claims, p.forge
	p.mu.Unlock()
	var out map[string]any
	if raw, _ := func() (string, bool) {
		if json.Unmarshal(body, &out) != nil {
			return "", false
		}
		s, ok := out["id_token"].(string)
		return s, ok
	}(); raw != "" && (change != nil || forge != nil) {
		signed, err := jose.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			p.t.Error(err)
			return
		}
		claims := map[string]any{}
		if err := json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &claims); err != nil {
			p.t.Error(err)
		}
		if change != nil {
			change(claims)
		}
		payload, err := json.Marshal(claims)
		if err != nil {
			p.t.Error(err)
		}
		if forge == nil {
			forge = p.sign
		}
		out["id_token"] = forge(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: signingKey(), KeyID: "key"}}, payload)
		if body, err = json.Marshal(out); err != nil {
			p.t.Error(err)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(rec.Code)
	w.Write(body)
}

func (p *idp) sign(key jose.SigningKey, payload []byte) string {
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	out, err := signer.Sign(payload)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	raw, err := out.CompactSerialize()
	if err != nil {
		p.t.Error(err)
	}
	return raw
}

// with has the provider behave in another way while fn runs.
func (p *idp) with(change func(), fn func()) {
	p.mu.Lock()
	change()
	p.mu.Unlock()
	fn()
	p.mu.Lock()
	p.spoil, p.claims, p.forge = nil, nil, nil
	p.mu.Unlock()
}

func (p *idp) has(a account) { p.mu.Lock(); p.accounts[a.subject] = a; p.mu.Unlock() }

// redirected is where a provider sends a browser on.
func redirected(t *testing.T, to string) *url.URL {
	t.Helper()
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := browser.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	next, err := res.Location()
	if err != nil {
		t.Fatalf("the provider answered %d: %s", res.StatusCode, body)
	}
	return next
}

// visit goes where the browser is sent, signs in as subject, and answers the query that the browser comes back with.
func (p *idp) visit(to, subject string) url.Values {
	p.t.Helper()
	for range 5 {
		next := redirected(p.t, to)
		if strings.HasSuffix(next.Path, "/callback") && !strings.HasPrefix(next.String(), p.url) {
			return next.Query()
		}
		if next.Path == "/login" {
			next.RawQuery += "&as=" + url.QueryEscape(subject)
		}
		to = next.String()
	}
	p.t.Fatal("the provider sends the browser in circles")
	return nil
}

// signIn is a sign-in at the provider.
type signIn struct {
	id      string
	ask     *oidc.AuthRequest
	subject string
	done    bool
}

func (q *signIn) GetID() string                      { return q.id }
func (q *signIn) GetACR() string                     { return "" }
func (q *signIn) GetAMR() []string                   { return []string{"pwd"} }
func (q *signIn) GetAudience() []string              { return []string{q.ask.ClientID} }
func (q *signIn) GetAuthTime() time.Time             { return time.Now() }
func (q *signIn) GetClientID() string                { return q.ask.ClientID }
func (q *signIn) GetNonce() string                   { return q.ask.Nonce }
func (q *signIn) GetRedirectURI() string             { return q.ask.RedirectURI }
func (q *signIn) GetScopes() []string                { return q.ask.Scopes }
func (q *signIn) GetState() string                   { return q.ask.State }
func (q *signIn) GetSubject() string                 { return q.subject }
func (q *signIn) Done() bool                         { return q.done }
func (q *signIn) GetResponseType() oidc.ResponseType { return q.ask.ResponseType }
func (q *signIn) GetResponseMode() oidc.ResponseMode { return q.ask.ResponseMode }
func (q *signIn) GetCodeChallenge() *oidc.CodeChallenge {
	return &oidc.CodeChallenge{Challenge: q.ask.CodeChallenge, Method: q.ask.CodeChallengeMethod}
}

var errAbsent = errors.New("there is none")

func (p *idp) CreateAuthRequest(_ context.Context, ask *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	if ask.CodeChallengeMethod != oidc.CodeChallengeMethodS256 || ask.CodeChallenge == "" {
		return nil, oidc.ErrInvalidRequest().WithDescription("no PKCE")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	q := &signIn{id: strconv.Itoa(len(p.requests) + 1), ask: ask}
	p.requests[q.id] = q
	return q, nil
}

func (p *idp) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.requests[id]; q != nil {
		return q, nil
	}
	return nil, errAbsent
}

func (p *idp) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	p.mu.Lock()
	id := p.codes[code]
	p.mu.Unlock()
	return p.AuthRequestByID(ctx, id)
}

func (p *idp) SaveAuthCode(_ context.Context, id, code string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes[code] = id
	return nil
}

func (p *idp) DeleteAuthRequest(_ context.Context, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests[id] = nil
	return nil
}

func (p *idp) CreateAccessToken(context.Context, op.TokenRequest) (string, time.Time, error) {
	return rand.Text(), time.Now().Add(time.Hour), nil
}

type providerKey struct{}

func (providerKey) ID() string                                  { return "key" }
func (providerKey) Use() string                                 { return "sig" }
func (providerKey) Algorithm() jose.SignatureAlgorithm          { return jose.RS256 }
func (providerKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }

type privateKey struct{ providerKey }

func (privateKey) Key() any { return signingKey() }

type publicKey struct{ providerKey }

func (publicKey) Key() any { return &signingKey().PublicKey }

func (p *idp) SigningKey(context.Context) (op.SigningKey, error) { return privateKey{}, nil }
func (p *idp) KeySet(context.Context) ([]op.Key, error)          { return []op.Key{publicKey{}}, nil }
func (p *idp) Health(context.Context) error                      { return nil }
func (p *idp) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}

func (p *idp) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != clientID {
		return nil, errAbsent
	}
	return ourClient{}, nil
}

func (p *idp) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if id != clientID || secret != clientSecret {
		return errAbsent
	}
	return nil
}

func (p *idp) SetUserinfoFromScopes(_ context.Context, info *oidc.UserInfo, subject, _ string, _ []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.accounts[subject]
	info.Subject, info.Name, info.Email, info.EmailVerified = a.subject, a.name, a.email, oidc.Bool(a.verified)
	return nil
}

func (p *idp) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil
}

// ourClient is how the provider knows us.
type ourClient struct{ op.Client }

func (ourClient) GetID() string { return clientID }
func (ourClient) RedirectURIs() []string {
	return []string{"http://tulifo.test/api/auth/oauth/google/callback"}
}
func (ourClient) ApplicationType() op.ApplicationType { return op.ApplicationTypeWeb }
func (ourClient) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodBasic }
func (ourClient) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (ourClient) GrantTypes() []oidc.GrantType         { return []oidc.GrantType{oidc.GrantTypeCode} }
func (ourClient) LoginURL(id string) string            { return "/login?id=" + id }
func (ourClient) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeBearer }
func (ourClient) IDTokenLifetime() time.Duration       { return time.Hour }
func (ourClient) DevMode() bool                        { return true }
func (ourClient) IsScopeAllowed(string) bool           { return false }
func (ourClient) IDTokenUserinfoClaimsAssertion() bool { return true }
func (ourClient) ClockSkew() time.Duration             { return 0 }
func (ourClient) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(s []string) []string { return s }
}
func (ourClient) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(s []string) []string { return s }
}

// startHub is a server that speaks the four addresses of GitHub's sign-in as GitHub does: the token comes as a form unless JSON is asked for, a bad
// code is an error in an answer of 200, and addresses stand in a list of their own.
func startHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{codes: map[string]string{}, tokens: map[string]int64{}, users: map[int64]hubUser{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login/oauth/authorize", h.authorize)
	mux.HandleFunc("POST /login/oauth/access_token", h.token)
	mux.HandleFunc("GET /user", h.api(func(u hubUser) any { return map[string]any{"id": u.id, "login": u.login, "name": u.name, "email": nil} }))
	mux.HandleFunc("GET /user/emails", h.api(func(u hubUser) any { return u.emails }))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		spoil := h.spoil
		h.mu.Unlock()
		if spoil == nil || !spoil(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

type hub struct {
	url    string
	mu     sync.Mutex
	as     int64 // who is signed in there
	codes  map[string]string
	tokens map[string]int64
	users  map[int64]hubUser
	spoil  func(http.ResponseWriter, *http.Request) bool
}

type hubUser struct {
	id          int64
	login, name string
	emails      []map[string]any
}

func (h *hub) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != clientID || q.Get("code_challenge_method") != "S256" || !strings.Contains(q.Get("scope"), "user:email") {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	code := rand.Text()
	h.mu.Lock()
	h.codes[code] = q.Get("code_challenge")
	h.mu.Unlock()
	back := url.Values{"code": {code}, "state": {q.Get("state")}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (h *hub) token(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := url.Values{}
	challenge, known := h.codes[r.FormValue("code")]
	delete(h.codes, r.FormValue("code"))
	switch {
	case r.FormValue("client_id") != clientID || r.FormValue("client_secret") != clientSecret:
		out.Set("error", "incorrect_client_credentials")
	case !known || oidc.NewSHACodeChallenge(r.FormValue("code_verifier")) != challenge:
		out.Set("error", "bad_verification_code")
		out.Set("error_description", "The code passed is incorrect or expired.")
	default:
		access := "gho_" + rand.Text()
		h.tokens[access] = h.as
		out.Set("access_token", access)
		out.Set("token_type", "bearer")
		out.Set("scope", "read:user,user:email")
	}
	w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	io.Copy(w, bytes.NewBufferString(out.Encode()))
}

func (h *hub) api(of func(hubUser) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		access, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		id, ok := h.tokens[access]
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"message":"Bad credentials"}`)
			return
		}
		json.NewEncoder(w).Encode(of(h.users[id]))
	}
}

// withProviders is a world in which people can sign in with both providers.
func withProviders(t *testing.T, change ...func(*auth.Config)) (*world, *idp, *hub) {
	t.Helper()
	p, h := startProvider(t), startHub(t)
	both := func(c *auth.Config) {
		c.GoogleID, c.GoogleSecret, c.GoogleIssuer = clientID, clientSecret, p.url
		c.GithubID, c.GithubSecret, c.GithubURL, c.GithubAPIURL = clientID, clientSecret, h.url, h.url
	}
	return start(t, append([]func(*auth.Config){both}, change...)...), p, h
}

// foreignKey is somebody else's; confusedKey takes the provider's public key, which everybody knows, for a shared secret.
func foreignKey() jose.SigningKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "key"}}
}

func confusedKey(t *testing.T) jose.SigningKey {
	der, err := x509.MarshalPKIXPublicKey(&signingKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return jose.SigningKey{Algorithm: jose.HS256, Key: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
}
