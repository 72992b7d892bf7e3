package catalog

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kalamflight/engine/access"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Token is an access token: a secret that a program logs in with as a user, until it expires or is dropped. The secret
// itself is not kept. Values in a snapshot are immutable.
type Token struct {
	ID   access.TokenID  `json:"id"`
	User manifest.UserID `json:"user"`
	// Name is the user's own for it.
	Name string `json:"name"`
	// Hash is the SHA-256 of the secret, which is random and long: nobody guesses it.
	Hash []byte `json:"hash"`
	// Created and Expires are microseconds since 1970; Expires is 0 for a token that does not.
	Created int64 `json:"created"`
	Expires int64 `json:"expires,omitempty"`
	// By is who made it.
	By manifest.UserID `json:"by"`
}

// Expired tells whether the token's time is up.
func (t *Token) Expired(now time.Time) bool { return t.Expires != 0 && now.UnixMicro() >= t.Expires }

// TokenPrefix is how the text of an access token begins.
const TokenPrefix = "kft_"

const (
	tokenSecretBytes = 32
	// The tokens of one user, and those of all.
	tokensPerUser = 100
	tokensMax     = 100_000
	// A token's text is the prefix, and its id and secret in base64.
	tokenTextBytes = len(TokenPrefix) + (8+tokenSecretBytes)*8/6 + 1
)

func tokenKey(id access.TokenID) string { return fmt.Sprintf("%s%016x", keyToken, uint64(id)) }

// Tokens lists every token, by user and name.
func (s *Snapshot) Tokens() []*Token {
	all := make([]*Token, 0, len(s.tokens))
	for _, t := range s.tokens {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *Token) int {
		if a.User != b.User {
			return int(int64(a.User) - int64(b.User))
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

// Token finds a token by its id.
func (s *Snapshot) Token(id access.TokenID) (*Token, bool) {
	t, ok := s.tokens[id]
	return t, ok
}

// TokenNamed finds a token by the user's name for it.
func (s *Snapshot) TokenNamed(user manifest.UserID, name string) (*Token, bool) {
	for _, t := range s.tokens {
		if t.User == user && t.Name == name {
			return t, true
		}
	}
	return nil, false
}

// removeTokens takes the tokens of a user out of s, which nobody else sees yet, and returns their keys.
func (s *Snapshot) removeTokens(user manifest.UserID) (keys []string) {
	for id, t := range s.tokens {
		if t.User == user {
			delete(s.tokens, id)
			keys = append(keys, tokenKey(id))
		}
	}
	return keys
}

// NewToken is a token to be made.
type NewToken struct {
	User manifest.UserID
	Name string
	// Expires is the zero time for a token that does not.
	Expires time.Time
	By      manifest.UserID
}

// CreateToken makes a token and returns its text, which cannot be had again.
func (c *Catalog) CreateToken(ctx context.Context, n NewToken) (string, *Token, error) {
	if err := checkName("token", n.Name); err != nil {
		return "", nil, err
	}
	var secret [tokenSecretBytes]byte
	rand.Read(secret[:]) // never fails
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	if u, ok := s.UserByID(n.User); !ok || u.Dropped != 0 {
		return "", nil, noUser("")
	}
	if _, ok := s.TokenNamed(n.User, n.Name); ok {
		return "", nil, &fault.SQL{Kind: fault.ErrExists, Code: "42710",
			Message: fmt.Sprintf("the user has a token %q already", n.Name)}
	}
	own := 0
	for _, t := range s.tokens {
		if t.User == n.User {
			own++
		}
	}
	if own >= tokensPerUser || len(s.tokens) >= tokensMax {
		return "", nil, &fault.SQL{Kind: fault.ErrExhausted, Code: "54000",
			Message: fmt.Sprintf("a user has at most %d tokens, all users %d", tokensPerUser, tokensMax),
			Hint:    "DROP TOKEN takes one away; expired ones count until they are dropped"}
	}
	id, err := c.nextLocked(keyLastToken)
	if err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(secret[:])
	t := &Token{ID: access.TokenID(id), User: n.User, Name: n.Name, Hash: sum[:], Created: nowMicros(), By: n.By}
	if !n.Expires.IsZero() {
		t.Expires = n.Expires.UnixMicro()
	}
	next := s.clone()
	next.tokens[t.ID] = t
	err = c.applyLocked(ctx, next, map[string][]byte{tokenKey(t.ID): encode(t), keyLastToken: counter(id)}, nil)
	if err != nil {
		return "", nil, err
	}
	text := append(binary.BigEndian.AppendUint64(nil, id), secret[:]...)
	return TokenPrefix + base64.RawURLEncoding.EncodeToString(text), t, nil
}

// DropToken forgets a token and returns its id, 0 when the user has none of the name.
func (c *Catalog) DropToken(ctx context.Context, user manifest.UserID, name string) (access.TokenID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	t, ok := s.TokenNamed(user, name)
	if !ok {
		return 0, nil
	}
	next := s.clone()
	delete(next.tokens, t.ID)
	return t.ID, c.applyLocked(ctx, next, nil, []string{tokenKey(t.ID)})
}

var errTokenText = errors.New("not an access token")

// parseToken reads the text of a token.
func parseToken(text string) (id access.TokenID, secret []byte, err error) {
	encoded, ok := strings.CutPrefix(text, TokenPrefix)
	if !ok || len(text) > tokenTextBytes {
		return 0, nil, errTokenText
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || len(b) != 8+tokenSecretBytes {
		return 0, nil, errTokenText
	}
	return access.TokenID(binary.BigEndian.Uint64(b)), b[8:], nil
}

// LoginByToken is the user of an access token, and when it expires: the zero time when it does not. Every refusal but
// that of an expired one reads the same.
func (c *Catalog) LoginByToken(text string) (access.Principal, time.Time, error) {
	refused := &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000", Message: "the token is unknown or was dropped"}
	id, secret, err := parseToken(text)
	if err != nil {
		return access.Principal{}, time.Time{}, refused
	}
	s := c.Snapshot()
	t, ok := s.tokens[id]
	if !ok {
		t = &Token{Hash: make([]byte, sha256.Size)} // compared all the same
	}
	sum := sha256.Sum256(secret)
	if subtle.ConstantTimeCompare(sum[:], t.Hash) != 1 || !ok {
		return access.Principal{}, time.Time{}, refused
	}
	p, err := s.Principal(t.User, t.ID)
	if err != nil || t.Expires == 0 {
		return p, time.Time{}, err
	}
	return p, time.UnixMicro(t.Expires), nil
}

var errLocked = &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000", Message: "this user is locked",
	Hint: "a dba lets them in again with ALTER USER ... UNLOCK"}

// Principal is a user who came with an access token, or with 0 by other means, as they are now. It is
// ErrUnauthenticated when they were dropped or locked, and when the token was dropped or has expired.
func (s *Snapshot) Principal(id manifest.UserID, token access.TokenID) (access.Principal, error) {
	gone := func(format string, args ...any) (access.Principal, error) {
		return access.Principal{}, &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000",
			Message: fmt.Sprintf(format, args...)}
	}
	u, ok := s.users[id]
	if !ok || u.Dropped != 0 {
		return gone("this user does not exist any more")
	}
	if u.Locked {
		return access.Principal{}, errLocked
	}
	if token != 0 {
		t, ok := s.tokens[token]
		if !ok || t.User != id {
			return gone("the token was dropped")
		}
		if t.Expired(time.Now()) {
			return gone("the token %q expired at %s", t.Name, time.UnixMicro(t.Expires).UTC().Format(time.RFC3339))
		}
	}
	p, err := u.Principal()
	p.Token = token
	return p, err
}
