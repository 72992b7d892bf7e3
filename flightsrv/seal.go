package flightsrv

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"kalamflight/engine/access"
	"kalamflight/manifest"
)

// sealer signs bytes that clients carry for us. Each purpose has a key of its own, so that a token is never a ticket.
// It is safe for concurrent use.
type sealer struct{ key []byte }

func newSealer(secret []byte, purpose string) sealer {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(purpose))
	return sealer{m.Sum(nil)}
}

func (s sealer) mac(b []byte) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write(b)
	return m.Sum(nil)
}

// seal is b with its signature behind it.
func (s sealer) seal(b []byte) []byte { return append(b, s.mac(b)...) }

// open takes the signature off; ok is false when it does not fit.
func (s sealer) open(sealed []byte) (b []byte, ok bool) {
	n := len(sealed) - sha256.Size
	if n < 0 {
		return nil, false
	}
	b = sealed[:n:n]
	return b, hmac.Equal(s.mac(b), sealed[n:])
}

// token is what a login gives a client. It names the user by id and the epoch of their password and role, so that a
// change ends it.
type token struct {
	user    manifest.UserID
	epoch   uint64
	issued  time.Time
	expires time.Time
	// id tells the tokens of one user apart: each login has a session of its own.
	id [8]byte
	// source is the access token that it was issued for, 0 for none; until is when what it was issued for ends, the zero
	// time for never.
	source access.TokenID
	until  time.Time
}

// tokenPrefix tells our tokens from a JWT at a glance, and has the version.
const tokenPrefix = "kf1."

const tokenBytes = 6*8 + 8

func (s sealer) sealToken(t token) string {
	b := make([]byte, 0, tokenBytes+sha256.Size)
	until := uint64(0)
	if !t.until.IsZero() {
		until = uint64(t.until.Unix())
	}
	for _, n := range []uint64{uint64(t.user), t.epoch, uint64(t.issued.Unix()), uint64(t.expires.Unix()),
		uint64(t.source), until} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = append(b, t.id[:]...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(s.seal(b))
}

var errToken = errors.New("the token is not one of ours")

func (s sealer) openToken(text string) (token, error) {
	encoded, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(encoded) > 256 {
		return token{}, errToken
	}
	sealed, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return token{}, errToken
	}
	b, ok := s.open(sealed)
	if !ok || len(b) != tokenBytes {
		return token{}, errToken
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	t := token{user: manifest.UserID(n(0)), epoch: n(1), issued: time.Unix(int64(n(2)), 0),
		expires: time.Unix(int64(n(3)), 0), source: access.TokenID(n(4))}
	if until := int64(n(5)); until != 0 {
		t.until = time.Unix(until, 0)
	}
	copy(t.id[:], b[6*8:])
	return t, nil
}
