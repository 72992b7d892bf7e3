package jwt

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kalamflight/internal/fault"
)

// The limits of a set of keys.
const (
	keysBytesMax   = 1 << 20
	keysMax        = 100
	rsaBitsMin     = 2048
	rsaBitsMax     = 8192
	secretBytesMin = 32
)

// algorithmOf is the one algorithm that a key is good for: its own, if it goes with its type, else that of the type.
// "" is none.
func algorithmOf(k jose.JSONWebKey) string {
	byType := ""
	switch key := k.Key.(type) {
	case ed25519.PublicKey:
		byType = "EdDSA"
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n >= rsaBitsMin && n <= rsaBitsMax {
			byType = "RS256"
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			byType = "ES256"
		}
	case []byte:
		if len(key) >= secretBytesMin {
			byType = "HS256"
		}
	}
	if k.Algorithm != "" && k.Algorithm != byType {
		return ""
	}
	return byType
}

// Fixed are keys that do not change.
type Fixed []jose.JSONWebKey

// Find implements Keys.
func (f Fixed) Find(_ context.Context, id string) ([]jose.JSONWebKey, error) {
	return matching(f, id), nil
}

// matching are the keys of an id; a token without an id may be of any, a key without one of any token.
func matching(keys []jose.JSONWebKey, id string) []jose.JSONWebKey {
	if id == "" {
		return keys
	}
	var found []jose.JSONWebKey
	for _, k := range keys {
		if k.KeyID == id || k.KeyID == "" {
			found = append(found, k)
		}
	}
	return found
}

// Secret is a key for HS256, which who makes tokens and we share: at least 32 bytes.
func Secret(secret []byte) (Fixed, error) {
	if len(secret) < secretBytesMin {
		return nil, &fault.SQL{Kind: fault.ErrInvalid,
			Message: fmt.Sprintf("a secret for HS256 has at least %d bytes", secretBytesMin)}
	}
	return Fixed{{Key: bytes.Clone(secret), Algorithm: "HS256"}}, nil
}

// Parse reads keys from a text: a set of JSON Web Keys, or public keys in PEM. Private keys are refused: they have no
// business here. Keys of kinds that we do not check tokens by are left out; none that is left is an error.
func Parse(text []byte) (Fixed, error) {
	invalid := func(format string, args ...any) error {
		return &fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf(format, args...)}
	}
	if len(text) > keysBytesMax {
		return nil, invalid("the keys have more than %d bytes", keysBytesMax)
	}
	var keys Fixed
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && trimmed[0] == '{' {
		var set struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := json.Unmarshal(trimmed, &set); err != nil {
			return nil, invalid("the set of keys cannot be read: %v", err)
		}
		if len(set.Keys) > keysMax {
			return nil, invalid("the set has more than %d keys", keysMax)
		}
		for _, raw := range set.Keys {
			var k jose.JSONWebKey
			if err := k.UnmarshalJSON(raw); err == nil { // what we cannot read we cannot check by
				keys = append(keys, k)
			}
		}
	} else {
		var err error
		if keys, err = parsePEM(trimmed); err != nil {
			return nil, err
		}
	}
	var good Fixed
	for _, k := range keys {
		if _, secret := k.Key.([]byte); !k.IsPublic() && !secret {
			return nil, invalid("there is a private key among the keys: only public ones belong there")
		}
		if algorithmOf(k) != "" {
			good = append(good, k)
		}
	}
	if len(good) == 0 {
		return nil, invalid("there is no key for EdDSA, RS256 (of %d bits and more), ES256 or HS256", rsaBitsMin)
	}
	return good, nil
}

func parsePEM(text []byte) (keys Fixed, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		switch block.Type {
		case "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "CERTIFICATE":
			var cert *x509.Certificate
			if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = cert.PublicKey
			}
		default:
			err = fmt.Errorf("a block %q is no public key", block.Type)
		}
		if err != nil {
			return nil, &fault.SQL{Kind: fault.ErrInvalid, Message: "the keys cannot be read: " + err.Error()}
		}
		if keys = append(keys, jose.JSONWebKey{Key: key}); len(keys) > keysMax {
			break
		}
	}
	return keys, nil
}

// Remote are the keys at a URL, fetched when a token needs them and kept for a while. A token of an unknown key has
// them fetched anew, but not often: nobody makes us ask the issuer all the time. It is safe for concurrent use.
type Remote struct {
	client *http.Client
	// locate finds the URL of the keys, once.
	locate func(context.Context) (string, error)
	// freshFor is how long keys are used before they are fetched again; atMost how often they are fetched.
	freshFor, atMost time.Duration
	now              func() time.Time

	mu      sync.Mutex
	url     string
	keys    Fixed
	fetched time.Time
	tried   time.Time
	failed  error
}

// The times of Remote.
const (
	remoteFreshFor = time.Hour
	remoteAtMost   = 10 * time.Second
	remoteTimeout  = 10 * time.Second
)

// checkURL refuses what others on the way could change: anything but HTTPS, but on this machine.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return &fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf("%q is no URL", text)}
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return &fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf("the URL %q is not one of https://", u.Redacted())}
}

// At are the keys at a URL. client nil means one with time limits.
func At(address string, client *http.Client) (*Remote, error) {
	if err := checkURL(address); err != nil {
		return nil, err
	}
	return newRemote(client, func(context.Context) (string, error) { return address, nil }), nil
}

// Discover are the keys of an issuer of OpenID Connect, found by its discovery document.
func Discover(issuer string, client *http.Client) (*Remote, error) {
	if err := checkURL(issuer); err != nil {
		return nil, err
	}
	r := newRemote(client, nil)
	r.locate = func(ctx context.Context) (string, error) {
		body, err := r.fetch(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return "", err
		}
		var d struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := json.Unmarshal(body, &d); err != nil {
			return "", fmt.Errorf("read the discovery document: %w", err)
		}
		if d.Issuer != issuer {
			return "", fmt.Errorf("the discovery document is of the issuer %q, not of %q", d.Issuer, issuer)
		}
		return d.Keys, checkURL(d.Keys)
	}
	return r, nil
}

func newRemote(client *http.Client, locate func(context.Context) (string, error)) *Remote {
	if client == nil {
		client = &http.Client{Timeout: remoteTimeout, CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("too many redirects")
			}
			return checkURL(req.URL.String())
		}}
	}
	return &Remote{client: client, locate: locate, freshFor: remoteFreshFor, atMost: remoteAtMost, now: time.Now}
}

// Find implements Keys. While the issuer cannot be reached, the keys that are known still count.
func (r *Remote) Find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	found := matching(r.keys, id)
	if len(found) > 0 && now.Sub(r.fetched) < r.freshFor {
		return found, nil
	}
	if r.tried.IsZero() || now.Sub(r.tried) >= r.atMost {
		r.tried = now
		if r.failed = r.refreshLocked(ctx); r.failed == nil {
			r.fetched = now
			found = matching(r.keys, id)
		}
	}
	if len(found) == 0 && r.failed != nil {
		return nil, fmt.Errorf("the keys of the issuer cannot be had: %w: %w", r.failed, fault.ErrUnavailable)
	}
	return found, nil
}

// refreshLocked fetches the keys, for all who wait: the caller who goes away does not end it.
func (r *Remote) refreshLocked(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), remoteTimeout)
	defer cancel()
	if r.url == "" {
		address, err := r.locate(ctx)
		if err != nil {
			return err
		}
		r.url = address
	}
	body, err := r.fetch(ctx, r.url)
	if err != nil {
		return err
	}
	keys, err := Parse(body)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if _, secret := k.Key.([]byte); secret {
			return fmt.Errorf("the keys at %s hold a secret", r.url)
		}
	}
	r.keys = keys
	return nil
}

func (r *Remote) fetch(ctx context.Context, address string) (body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	answer, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", req.URL.Redacted(), answer.Status)
	}
	body, err = io.ReadAll(io.LimitReader(answer.Body, keysBytesMax+1))
	if err == nil && len(body) > keysBytesMax {
		err = fmt.Errorf("%s has more than %d bytes", req.URL.Redacted(), keysBytesMax)
	}
	return body, err
}

// parseClaims reads the body of a token. Numbers stay what they are, and a name that comes twice is an error: two
// readers might take another of them.
func parseClaims(body []byte) (map[string]any, error) {
	if err := uniqueNames(body); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var said map[string]any
	if err := decoder.Decode(&said); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the claims")
	}
	return said, nil
}

// uniqueNames refuses an object in which a name of the first level comes twice.
func uniqueNames(body []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return errors.New("the claims are no object")
	}
	seen := map[string]bool{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		text, _ := name.(string)
		if seen[text] {
			return fmt.Errorf("the claim %q comes twice", text)
		}
		seen[text] = true
		var skipped json.RawMessage
		if err := decoder.Decode(&skipped); err != nil {
			return err
		}
	}
	return nil
}

// moment is a claim of seconds since 1970.
func moment(value any) (time.Time, bool) {
	n, ok := value.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := n.Float64()
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// File are the keys in a file, read again when it changes. It is safe for concurrent use.
type File struct {
	name string

	mu      sync.Mutex
	keys    Fixed
	changed time.Time
	checked time.Time
}

// OpenFile reads the keys of a file; see Parse.
func OpenFile(name string) (*File, error) {
	f := &File{name: name}
	return f, f.readLocked() // nobody else knows it yet
}

func (f *File) readLocked() error {
	info, err := os.Stat(f.name)
	if err != nil {
		return err
	}
	f.checked = time.Now()
	if info.ModTime().Equal(f.changed) {
		return nil
	}
	if info.Size() > keysBytesMax {
		return &fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf("%s has more than %d bytes", f.name, keysBytesMax)}
	}
	text, err := os.ReadFile(f.name)
	if err != nil {
		return err
	}
	keys, err := Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	f.keys, f.changed = keys, info.ModTime()
	return nil
}

// Find implements Keys. A file that cannot be read leaves the old keys.
func (f *File) Find(_ context.Context, id string) ([]jose.JSONWebKey, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.checked) > time.Second {
		if err := f.readLocked(); err != nil {
			f.checked = time.Now()
		}
	}
	return matching(f.keys, id), nil
}
