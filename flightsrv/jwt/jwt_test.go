package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kalamflight/internal/fault"
)

// signers are a key of each kind.
type signers struct {
	ed     ed25519.PrivateKey
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	secret []byte
}

func newSigners(t testing.TB) signers {
	t.Helper()
	var s signers
	var err1, err2, err3 error
	_, s.ed, err1 = ed25519.GenerateKey(rand.Reader)
	s.rsa, err2 = rsa.GenerateKey(rand.Reader, 2048)
	s.ec, err3 = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	s.secret = []byte("a secret of more than 32 bytes, as it has to be")
	return s
}

// public are the keys for those who check.
func (s signers) public() Fixed {
	return Fixed{{Key: s.ed.Public(), KeyID: "ed"}, {Key: &s.rsa.PublicKey, KeyID: "rsa"},
		{Key: &s.ec.PublicKey, KeyID: "ec"}, {Key: s.secret, KeyID: "hs"}}
}

func encoded(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// token puts a token together by hand, so that it may be wrong in every way.
func token(header map[string]any, body any, sign func(input []byte) []byte) string {
	input := encoded(header) + "." + encoded(body)
	return input + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(input)))
}

func (s signers) signEd(input []byte) []byte { return ed25519.Sign(s.ed, input) }

func (s signers) signRSA(input []byte) []byte {
	sum := sha256.Sum256(input)
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.rsa, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return signature
}

func (s signers) signEC(input []byte) []byte {
	sum := sha256.Sum256(input)
	r, v, err := ecdsa.Sign(rand.Reader, s.ec, sum[:])
	if err != nil {
		panic(err)
	}
	return append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
}

func signHS(secret []byte) func([]byte) []byte {
	return func(input []byte) []byte {
		m := hmac.New(sha256.New, secret)
		m.Write(input)
		return m.Sum(nil)
	}
}

// claims are good ones, with changes; nil takes one away.
func claims(changes ...any) map[string]any {
	c := map[string]any{"iss": "https://issuer.example", "aud": "kalam", "sub": "amal",
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for i := 0; i < len(changes); i += 2 {
		if name := changes[i].(string); changes[i+1] == nil {
			delete(c, name)
		} else {
			c[name] = changes[i+1]
		}
	}
	return c
}

func verifier(t testing.TB, keys Keys, change func(*Options)) *Verifier {
	t.Helper()
	o := Options{Issuer: "https://issuer.example", Audience: "kalam", Keys: keys,
		Algorithms: []string{"EdDSA", "RS256", "ES256", "HS256"}}
	if change != nil {
		change(&o)
	}
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func header(alg, kid string, more ...any) map[string]any {
	h := map[string]any{"alg": alg, "typ": "JWT"}
	if kid != "" {
		h["kid"] = kid
	}
	for i := 0; i < len(more); i += 2 {
		h[more[i].(string)] = more[i+1]
	}
	return h
}

func TestGoodTokens(t *testing.T) {
	s := newSigners(t)
	v := verifier(t, s.public(), func(o *Options) {
		o.RoleClaim, o.Roles = "realm.roles", map[string]string{"apps": "service", "admins": "dba"}
		o.RoleOrder = []string{"user", "service", "dba", "system"}
	})
	roles := map[string]any{"roles": []string{"apps", "admins", "others"}}
	for name, text := range map[string]string{
		"EdDSA":          token(header("EdDSA", "ed"), claims(), s.signEd),
		"RS256":          token(header("RS256", "rsa"), claims(), s.signRSA),
		"ES256":          token(header("ES256", "ec"), claims(), s.signEC),
		"HS256":          token(header("HS256", "hs"), claims(), signHS(s.secret)),
		"no key id":      token(header("ES256", ""), claims(), s.signEC),
		"many audiences": token(header("EdDSA", "ed"), claims("aud", []string{"other", "kalam"}), s.signEd),
		"just expired":   token(header("EdDSA", "ed"), claims("exp", time.Now().Add(-5*time.Second).Unix()), s.signEd),
		"a clock behind": token(header("EdDSA", "ed"), claims("nbf", time.Now().Add(20*time.Second).Unix()), s.signEd),
	} {
		for range 2 { // the second time from memory
			if c, err := v.Verify(context.Background(), text); err != nil || c.User != "amal" || c.Role != "" {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
		}
	}
	c, err := v.Verify(context.Background(), token(header("EdDSA", "ed"), claims("realm", roles), s.signEd))
	if err != nil || c.Role != "dba" {
		t.Errorf("with groups: %+v, %v", c, err)
	}
}

// TestBadTokens has one token for each trick.
func TestBadTokens(t *testing.T) {
	s, other := newSigners(t), newSigners(t)
	v := verifier(t, s.public(), nil)
	none := func([]byte) []byte { return nil }
	rsaPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix(t, &s.rsa.PublicKey)})
	own := jose.JSONWebKey{Key: other.ed.Public()}
	ownKey, err := own.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	good := token(header("EdDSA", "ed"), claims(), s.signEd)
	parts := strings.Split(good, ".")
	for name, text := range map[string]string{
		"empty":                   "",
		"not a token":             "a.b.c",
		"alg none":                token(header("none", ""), claims(), none),
		"alg None":                token(header("None", ""), claims(), none),
		"no alg":                  token(map[string]any{"typ": "JWT"}, claims(), s.signEd),
		"no signature":            parts[0] + "." + parts[1] + ".",
		"HS256 by the public key": token(header("HS256", "rsa"), claims(), signHS(rsaPEM)),
		"HS256 by an RSA modulus": token(header("HS256", "rsa"), claims(), signHS(s.rsa.N.Bytes())),
		"RS256 for the EC key":    token(header("RS256", "ec"), claims(), s.signRSA),
		"EdDSA for the RSA key":   token(header("EdDSA", "rsa"), claims(), s.signEd),
		"RS512":                   token(header("RS512", "rsa"), claims(), s.signRSA),
		"PS256":                   token(header("PS256", "rsa"), claims(), s.signRSA),
		"another's key":           token(header("EdDSA", "ed"), claims(), other.signEd),
		"an embedded key":         token(header("EdDSA", "ed", "jwk", json.RawMessage(ownKey)), claims(), other.signEd),
		"a key's URL":             token(header("EdDSA", "ed", "jku", "http://127.0.0.1/keys"), claims(), s.signEd),
		"x5u":                     token(header("EdDSA", "ed", "x5u", "http://127.0.0.1/cert"), claims(), s.signEd),
		"crit":                    token(header("EdDSA", "ed", "crit", []string{"x"}, "x", 1), claims(), s.signEd),
		"kid of a path":           token(header("EdDSA", "../../etc/passwd"), claims(), s.signEd),
		"kid of SQL":              token(header("EdDSA", "' OR 1=1 --"), claims(), s.signEd),
		"kid /dev/null":           token(header("HS256", "/dev/null"), claims(), signHS(nil)),
		"kid of a number":         token(header("EdDSA", "", "kid", 7), claims(), s.signEd),
		"another issuer":          token(header("EdDSA", "ed"), claims("iss", "https://issuer.example/"), s.signEd),
		"no issuer":               token(header("EdDSA", "ed"), claims("iss", nil), s.signEd),
		"issuers":                 token(header("EdDSA", "ed"), claims("iss", []string{v.o.Issuer}), s.signEd),
		"another audience":        token(header("EdDSA", "ed"), claims("aud", "kalam2"), s.signEd),
		"no audience":             token(header("EdDSA", "ed"), claims("aud", nil), s.signEd),
		"expired":                 token(header("EdDSA", "ed"), claims("exp", time.Now().Unix()-60), s.signEd),
		"no end":                  token(header("EdDSA", "ed"), claims("exp", nil), s.signEd),
		"an end of text":          token(header("EdDSA", "ed"), claims("exp", "9999999999"), s.signEd),
		"an endless end":          token(header("EdDSA", "ed"), claims("exp", json.Number("1e300")), s.signEd),
		"good for years":          token(header("EdDSA", "ed"), claims("exp", time.Now().Unix()+300_000_000), s.signEd),
		"not yet":                 token(header("EdDSA", "ed"), claims("nbf", time.Now().Unix()+3600), s.signEd),
		"of the future":           token(header("EdDSA", "ed"), claims("iat", time.Now().Unix()+3600), s.signEd),
		"no user":                 token(header("EdDSA", "ed"), claims("sub", nil), s.signEd),
		"a user of a number":      token(header("EdDSA", "ed"), claims("sub", 7), s.signEd),
		"claims of a list":        token(header("EdDSA", "ed"), []int{1}, s.signEd),
		"a body twice":            twice(s),
		"too long":                token(header("EdDSA", "ed"), claims("x", strings.Repeat("x", tokenBytesMax)), s.signEd),
		"JSON":                    fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, parts[1], parts[0], parts[2]),
		"four parts":              good + ".x",
		"a byte more":             good + "A",
		"another body":            parts[0] + "." + encoded(claims("sub", "root")) + "." + parts[2],
	} {
		if c, err := v.Verify(context.Background(), text); !errors.Is(err, fault.ErrUnauthenticated) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	// What is not allowed by name is refused, whatever keys there are.
	strict := verifier(t, s.public(), func(o *Options) { o.Algorithms = nil })
	shared := token(header("HS256", "hs"), claims(), signHS(s.secret))
	if _, err := strict.Verify(context.Background(), shared); err == nil {
		t.Error("HS256 is allowed unasked")
	}
}

func pkix(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// twice is a token whose claims have a name twice.
func twice(s signers) string {
	body := strings.TrimSuffix(string(mustJSON(claims())), "}") + `,"sub":"root"}`
	input := encoded(header("EdDSA", "ed")) + "." + base64.RawURLEncoding.EncodeToString([]byte(body))
	return input + "." + base64.RawURLEncoding.EncodeToString(s.signEd([]byte(input)))
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func TestParse(t *testing.T) {
	s := newSigners(t)
	private := mustJSON(map[string]any{"keys": []jose.JSONWebKey{{Key: s.ed, KeyID: "ed"}}})
	public := mustJSON(map[string]any{"keys": []jose.JSONWebKey{{Key: s.ed.Public(), KeyID: "ed"},
		{Key: &s.rsa.PublicKey, KeyID: "enc", Use: "enc"}}})
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil {
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix(t, &short.PublicKey)})
		if _, err := Parse(text); err == nil {
			t.Error("an RSA key of 1024 bits is taken")
		}
	}
	if keys, err := Parse(public); err != nil || len(keys) != 2 {
		t.Errorf("a set of keys: %d, %v", len(keys), err)
	}
	two := append(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix(t, s.ed.Public())}),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix(t, &s.ec.PublicKey)})...)
	if keys, err := Parse(two); err != nil || len(keys) != 2 {
		t.Errorf("two keys in PEM: %d, %v", len(keys), err)
	}
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	for name, text := range map[string][]byte{"private keys": private, "a private key in PEM": secret, "nothing": nil,
		"no keys": []byte(`{"keys":[]}`), "no JSON": []byte(`{"keys":`), "garbage": []byte("garbage")} {
		if _, err := Parse(text); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Secret([]byte("short")); err == nil {
		t.Error("a short secret is taken")
	}
}

// issuer is one of OpenID Connect, of this machine.
type issuer struct {
	*httptest.Server
	keys    atomic.Pointer[Fixed]
	asked   atomic.Int32
	broken  atomic.Bool
	pretend atomic.Pointer[string]
}

func newIssuer(t *testing.T, keys Fixed) *issuer {
	t.Helper()
	i := &issuer{}
	i.keys.Store(&keys)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		if i.broken.Load() {
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			name := i.URL
			if p := i.pretend.Load(); p != nil {
				name = *p
			}
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, name, i.URL+"/keys")
		case "/keys":
			_, _ = w.Write(mustJSON(map[string]any{"keys": *i.keys.Load()}))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(i.Close)
	return i
}

func TestDiscovery(t *testing.T) {
	s, next := newSigners(t), newSigners(t)
	i := newIssuer(t, s.public()[:3])
	remote, err := Discover(i.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	remote.now = func() time.Time { return now }
	v := verifier(t, remote, func(o *Options) { o.Issuer = i.URL })
	verify := func(s signers, kid string) error {
		_, err := v.Verify(context.Background(), token(header("EdDSA", kid), claims("iss", i.URL, "jti", kid), s.signEd))
		return err
	}
	if err := verify(s, "ed"); err != nil {
		t.Fatal(err)
	}
	before := i.asked.Load()
	for k := range 100 { // nobody makes us ask for each unknown key
		if err := verify(next, fmt.Sprint("key ", k)); !errors.Is(err, fault.ErrUnauthenticated) {
			t.Fatalf("an unknown key: %v", err)
		}
	}
	if n := i.asked.Load() - before; n > 1 {
		t.Errorf("the issuer was asked %d times for unknown keys", n)
	}
	rolled := Fixed{{Key: next.ed.Public(), KeyID: "new"}}
	i.keys.Store(&rolled)
	now = now.Add(11 * time.Second)
	if err := verify(next, "new"); err != nil {
		t.Errorf("a new key: %v", err)
	}
	if err := verify(s, "ed"); err == nil {
		t.Log("the old token is remembered until it ends") // it is the same token
	}
	i.broken.Store(true)
	now = now.Add(2 * time.Hour)
	if err := verify(next, "new"); err != nil {
		t.Errorf("while the issuer is away, known keys are not used: %v", err)
	}
	if err := verify(s, "other"); err == nil {
		t.Error("an unknown key while the issuer is away")
	}
}

func TestDiscoveryOfAnother(t *testing.T) {
	i := newIssuer(t, newSigners(t).public()[:3])
	another := "https://another.example"
	i.pretend.Store(&another)
	remote, err := Discover(i.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Find(context.Background(), "ed"); !errors.Is(err, fault.ErrUnavailable) {
		t.Errorf("a document of another issuer: %v", err)
	}
	i.pretend.Store(nil)
	with := newSigners(t).public()
	i.keys.Store(&with)
	if remote, err = At(i.URL+"/keys", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Find(context.Background(), "hs"); err == nil {
		t.Error("a secret that anybody may read is taken")
	}
	for _, address := range []string{"http://issuer.example", "file:///etc/passwd", "issuer", "ftp://127.0.0.1/x"} {
		if _, err := Discover(address, nil); err == nil {
			t.Errorf("%s is taken", address)
		}
		if _, err := At(address, nil); err == nil {
			t.Errorf("%s is taken", address)
		}
	}
}

func TestOptions(t *testing.T) {
	keys := newSigners(t).public()
	for name, o := range map[string]Options{"nothing": {}, "no audience": {Issuer: "i", Keys: keys},
		"none":    {Issuer: "i", Audience: "a", Keys: keys, Algorithms: []string{"none"}},
		"leeway":  {Issuer: "i", Audience: "a", Keys: keys, Leeway: time.Hour},
		"no keys": {Issuer: "i", Audience: "a"}} {
		if _, err := New(o); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzVerify: no text passes that was not signed, and none ends the process.
func FuzzVerify(f *testing.F) {
	s := newSigners(f)
	v := verifier(f, s.public(), nil)
	f.Add(token(header("EdDSA", "ed"), claims(), func([]byte) []byte { return make([]byte, 64) }))
	f.Add(token(header("none", ""), claims(), func([]byte) []byte { return nil }))
	f.Add("eyJ.eyJ.")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := v.Verify(context.Background(), text); err == nil {
			t.Errorf("%q is %+v", text, c)
		}
	})
}

// FuzzClaims: claims that are signed are read or refused, whatever is in them.
func FuzzClaims(f *testing.F) {
	v := verifier(f, newSigners(f).public(), func(o *Options) { o.UserClaim, o.RoleClaim = "a.b.c", "x.y" })
	f.Add(string(mustJSON(claims())))
	f.Add(`{"iss":{},"aud":[[]],"exp":1e400,"a":{"b":{"c":"d"}}}`)
	f.Fuzz(func(t *testing.T, body string) {
		if c, err := v.claims([]byte(body), time.Now()); err == nil && c.User == "" {
			t.Errorf("%q is nobody", body)
		}
	})
}
