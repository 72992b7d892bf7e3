package endtoend

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"

	"kalamflight/internal/server"
)

// provider is an identity provider of OpenID Connect on this machine.
type provider struct {
	*httptest.Server
	key ed25519.PrivateKey
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: private}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"%s/keys"}`, p.URL, p.URL)
		case "/keys":
			fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","use":"sig","x":%q}]}`,
				base64.RawURLEncoding.EncodeToString(public))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// token is one of the provider for a user with groups.
func (p *provider) token(t *testing.T, user string, life time.Duration, groups ...string) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := part(map[string]any{"alg": "EdDSA", "kid": "one"}) + "." + part(map[string]any{"iss": p.URL, "aud": "kalam",
		"preferred_username": user, "groups": groups, "exp": time.Now().Add(life).Unix()})
	return input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(p.key, []byte(input)))
}

// TestOpenIDConnect: a token of the provider logs in, as a Bearer and as a password; it makes the user when there is
// none, whose role follows the groups; users made by SQL keep the role that SQL says.
func TestOpenIDConnect(t *testing.T) {
	p := newProvider(t)
	logins := cheap()
	logins.JWT = server.JWT{OIDC: p.URL, Audience: "kalam", UserClaim: "preferred_username", RoleClaim: "groups",
		Roles: map[string]string{"apps": "service", "admins": "dba"}, NewUsers: true}
	s := start(t, server.Options{Logins: logins})
	root := connect(t, s.URL(), "")
	root.exec("CREATE USER sami WITH PASSWORD 'sami-password'")
	who := func(opts map[string]string) (string, error) {
		opts[adbc.OptionKeyURI] = s.URL()
		c, err := dialWith(opts)
		if err != nil {
			return "", err
		}
		c.t = t
		defer c.close()
		return fmt.Sprint(c.query(`SELECT name, role FROM system.users WHERE name = current_user()`)), nil
	}
	bearer := func(token string) map[string]string {
		return map[string]string{driver.OptionAuthorizationHeader: "Bearer " + token}
	}
	for _, step := range []struct {
		opts map[string]string
		want string
	}{
		{bearer(p.token(t, "amal", time.Hour)), "[[amal user]]"},
		{bearer(p.token(t, "amal", time.Hour, "apps")), "[[amal service]]"},
		{map[string]string{adbc.OptionKeyUsername: "token", adbc.OptionKeyPassword: p.token(t, "amal", time.Hour, "admins")},
			"[[amal dba]]"},
		{bearer(p.token(t, "sami", time.Hour, "admins")), "[[sami user]]"},
	} {
		if got, err := who(step.opts); err != nil || got != step.want {
			t.Errorf("got %s, %v; want %s", got, err, step.want)
		}
	}
	other := newProvider(t)
	forged := strings.Split(p.token(t, "root", time.Hour), ".")
	forged[2] = strings.Split(other.token(t, "root", time.Hour), ".")[2]
	for name, token := range map[string]string{"of another issuer": other.token(t, "amal", time.Hour),
		"that expired": p.token(t, "amal", -time.Hour), "with another's signature": strings.Join(forged, ".")} {
		if got, err := who(bearer(token)); err == nil {
			t.Errorf("a token %s is %s", name, got)
		}
	}
	for _, name := range []string{"AMAL", "root", "Sami", "", " amal", "a\x00b"} {
		if got, err := who(bearer(p.token(t, name, time.Hour))); err == nil {
			t.Errorf("a token of %q is %s", name, got)
		}
	}
	root.exec("DROP USER amal")
	if got, err := who(bearer(p.token(t, "amal", time.Hour))); err == nil {
		t.Errorf("a dropped user comes again as %s", got)
	}
}
