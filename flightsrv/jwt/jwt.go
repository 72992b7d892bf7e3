// Package jwt checks JSON Web Tokens of one issuer: the signature by a key that is configured and pinned to one
// algorithm, the issuer, the audience and the time, and reads in the claims who comes and with which role. It makes no
// tokens and knows no users.
package jwt

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kalamflight/internal/fault"
)

// Options say which tokens to believe.
type Options struct {
	// Issuer is what the claim iss has to be. Required.
	Issuer string
	// Audience is one of what the claim aud has to name. Required.
	Audience string
	// Keys has the keys. Required.
	Keys Keys
	// Algorithms are those that are allowed, of EdDSA, RS256, ES256 and HS256; nil means the first three. A key is good
	// for the one algorithm of its type, or with an alg of its own for that.
	Algorithms []string
	// UserClaim is the claim that names the user; "" means sub. A dot leads into an object.
	UserClaim string
	// RoleClaim is the claim with the user's groups, a text or a list of texts; "" for none. Roles says which role of ours
	// a group is. The last of RoleOrder that is among them counts.
	RoleClaim string
	Roles     map[string]string
	RoleOrder []string
	// Leeway is how far clocks may be apart; 0 means 30 seconds, and it is at most 5 minutes.
	Leeway time.Duration
	// LifeMax is the longest time between now and the token's end; 0 means 24 hours.
	LifeMax time.Duration
	// Kept bounds the tokens whose signature was checked that are remembered; 0 means 4,096.
	Kept int
}

// Keys finds keys by the id in a token's header, which is a name to compare and nothing else; "" asks for all. It is
// safe for concurrent use.
type Keys interface {
	Find(ctx context.Context, id string) ([]jose.JSONWebKey, error)
}

// Claims is who comes with a token.
type Claims struct {
	// User is the name of the user, and Role their role by the claim, "" when there is no such claim or no group of it has
	// a role.
	User, Role string
	// Expires is when the token ends.
	Expires time.Time
}

// The limits of a token.
const (
	tokenBytesMax = 16 << 10
	leewayMax     = 5 * time.Minute
	keysTriedMax  = 16
)

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	o          Options
	algorithms []jose.SignatureAlgorithm

	mu sync.Mutex
	// kept are the claims of tokens by their SHA-256. They do not outlive the token.
	kept map[[sha256.Size]byte]Claims
}

// New makes a verifier.
func New(o Options) (*Verifier, error) {
	invalid := func(format string, args ...any) error {
		return &fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf(format, args...)}
	}
	if o.Issuer == "" || o.Audience == "" || o.Keys == nil {
		return nil, invalid("tokens (JWT) need an issuer, an audience and keys")
	}
	if o.Algorithms == nil {
		o.Algorithms = []string{"EdDSA", "RS256", "ES256"}
	}
	v := &Verifier{o: o, kept: map[[sha256.Size]byte]Claims{}}
	for _, a := range o.Algorithms {
		if !slices.Contains([]string{"EdDSA", "RS256", "ES256", "HS256"}, a) {
			return nil, invalid("the algorithm %q is none of EdDSA, RS256, ES256 and HS256", a)
		}
		v.algorithms = append(v.algorithms, jose.SignatureAlgorithm(a))
	}
	if o.Leeway < 0 || o.Leeway > leewayMax {
		return nil, invalid("clocks may be apart by at most %s", leewayMax)
	}
	if o.Leeway == 0 {
		v.o.Leeway = 30 * time.Second
	}
	if o.LifeMax == 0 {
		v.o.LifeMax = 24 * time.Hour
	}
	if o.UserClaim == "" {
		v.o.UserClaim = "sub"
	}
	if o.Kept == 0 {
		v.o.Kept = 4096
	}
	return v, nil
}

func refused(format string, args ...any) error {
	return &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000", Message: "the token (JWT) " +
		fmt.Sprintf(format, args...)}
}

// Verify checks a token. A refusal says which of the checks failed, but not what would have passed.
func (v *Verifier) Verify(ctx context.Context, text string) (Claims, error) {
	if len(text) > tokenBytesMax {
		return Claims{}, refused("has more than %d bytes", tokenBytesMax)
	}
	sum := sha256.Sum256([]byte(text))
	v.mu.Lock()
	known, ok := v.kept[sum]
	v.mu.Unlock()
	if ok && time.Now().Before(known.Expires) {
		return known, nil
	}
	body, err := v.verified(ctx, text)
	if err != nil {
		return Claims{}, err
	}
	c, err := v.claims(body, time.Now())
	if err != nil {
		return Claims{}, err
	}
	v.keep(sum, c)
	return c, nil
}

func (v *Verifier) keep(sum [sha256.Size]byte, c Claims) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.kept) >= v.o.Kept {
		now := time.Now()
		for other, o := range v.kept {
			if now.After(o.Expires) {
				delete(v.kept, other)
			}
		}
		for other := range v.kept { // any will do
			if len(v.kept) < v.o.Kept {
				break
			}
			delete(v.kept, other)
		}
	}
	v.kept[sum] = c
}

// verified is the body of a token whose signature is right.
func (v *Verifier) verified(ctx context.Context, text string) ([]byte, error) {
	// ParseSignedCompact takes none but the algorithms that it is given: not "none", and none with another kind of key.
	signed, err := jose.ParseSignedCompact(text, v.algorithms)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, refused("cannot be read, or its algorithm is not allowed here")
	}
	header := signed.Signatures[0].Protected
	if header.JSONWebKey != nil || header.ExtraHeaders["jku"] != nil || header.ExtraHeaders["x5u"] != nil ||
		header.ExtraHeaders["x5c"] != nil || header.ExtraHeaders["crit"] != nil {
		return nil, refused("brings a key of its own, or asks for what is not supported")
	}
	keys, err := v.o.Keys.Find(ctx, header.KeyID)
	if err != nil {
		return nil, err
	}
	tried := 0
	for _, k := range keys {
		if algorithmOf(k) != header.Algorithm || !slices.Contains(v.o.Algorithms, header.Algorithm) ||
			k.Use != "" && k.Use != "sig" {
			continue
		}
		if tried++; tried > keysTriedMax {
			break
		}
		if body, err := signed.Verify(k.Key); err == nil {
			return body, nil
		}
	}
	if tried == 0 {
		return nil, refused("is signed by a key that is not known here")
	}
	return nil, refused("has a wrong signature")
}

// claims reads what a token says. Its signature was right.
func (v *Verifier) claims(body []byte, now time.Time) (Claims, error) {
	said, err := parseClaims(body)
	if err != nil {
		return Claims{}, refused("has claims that cannot be read")
	}
	if iss, _ := said["iss"].(string); iss != v.o.Issuer {
		return Claims{}, refused("is of another issuer")
	}
	if !slices.Contains(texts(said["aud"]), v.o.Audience) {
		return Claims{}, refused("is for another audience")
	}
	expires, ok := moment(said["exp"])
	switch {
	case !ok:
		return Claims{}, refused("does not say when it ends")
	case !now.Before(expires.Add(v.o.Leeway)):
		return Claims{}, refused("expired at %s", expires.UTC().Format(time.RFC3339))
	case expires.Sub(now) > v.o.LifeMax+v.o.Leeway:
		return Claims{}, refused("is good for longer than %s", v.o.LifeMax)
	}
	for _, name := range []string{"nbf", "iat"} {
		if said[name] == nil {
			continue
		}
		if at, ok := moment(said[name]); !ok || now.Add(v.o.Leeway).Before(at) {
			return Claims{}, refused("is not good yet")
		}
	}
	c := Claims{User: at(said, v.o.UserClaim), Expires: expires.Add(v.o.Leeway)}
	if c.User == "" {
		return Claims{}, refused("has no claim %s that names the user", v.o.UserClaim)
	}
	c.Role = v.role(said)
	return c, nil
}

// role is the greatest role of the groups in the claim.
func (v *Verifier) role(said map[string]any) string {
	if v.o.RoleClaim == "" {
		return ""
	}
	best := -1
	for _, group := range texts(within(said, v.o.RoleClaim)) {
		if role, ok := v.o.Roles[group]; ok {
			best = max(best, slices.Index(v.o.RoleOrder, role))
		}
	}
	if best < 0 {
		return ""
	}
	return v.o.RoleOrder[best]
}

// within follows the dots of a claim's name into objects. A claim whose own name has dots, as URLs do, comes first.
func within(said map[string]any, name string) any {
	if value, ok := said[name]; ok {
		return value
	}
	var value any = said
	for part := range strings.SplitSeq(name, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[part]
	}
	return value
}

// at is a claim that is a text; "" when it is none.
func at(said map[string]any, name string) string {
	text, _ := within(said, name).(string)
	return text
}

// texts are the texts of a claim that is one or a list of them.
func texts(value any) []string {
	switch v := value.(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	return nil
}

// Issuer is what the claim iss of a token has to be.
func (v *Verifier) Issuer() string { return v.o.Issuer }

// IssuerOf is whom a token says that it is of, which nobody has checked; "" when it cannot be read. It finds the
// verifier among several.
func IssuerOf(text string) string {
	if len(text) > tokenBytesMax {
		return ""
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return ""
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	said, err := parseClaims(body)
	if err != nil {
		return ""
	}
	return at(said, "iss")
}
