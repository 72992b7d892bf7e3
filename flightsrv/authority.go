package flightsrv

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"kalamflight/engine"
	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/flightsrv/jwt"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// authority knows users by their credentials. It is safe for concurrent use.
type authority struct {
	backend Backend
	tokens  sealer
	ttl     time.Duration
	// byCertificate reads the name of a user in a client's certificate.
	byCertificate func(*x509.Certificate) string
	// addresses and names bound the checks of passwords.
	addresses, names *rates
	// issuers are those of the JWT that are believed; newUsers makes users whom we do not know.
	issuers  []*jwt.Verifier
	newUsers bool
	// salt keys the cache: it holds no password, and no hash of one that means anything after a restart.
	salt        [32]byte
	verdictTTL  time.Duration
	verdictsMax int

	mu       sync.Mutex
	verdicts map[[32]byte]verdict
	// noRoot: root has a password, so that nobody is root without credentials any more. Root's password is never taken
	// away, and asking the engine each time would count as a failed login of root.
	noRoot bool
}

// verdict is a password that was right a short time ago.
type verdict struct {
	user    manifest.UserID
	epoch   uint64
	expires time.Time
}

// identity is who has shown credentials.
type identity struct {
	access.Principal
	// until is when the credentials end, the zero time when they do not of themselves.
	until time.Time
	// session is the session token that they are, if they are one.
	session *token
	// how they are called in the audit log: password, token, jwt, mtls, or session for a token of ours.
	how string
}

// The ways to log in.
const (
	howPassword    = "password"
	howToken       = "token"
	howJWT         = "jwt"
	howCertificate = "mtls"
	howSession     = "session"
)

func newAuthority(b Backend, o Options) *authority {
	a := &authority{backend: b, tokens: newSealer(b.Secret(), "token"), ttl: o.TokenTTL, verdictTTL: o.VerdictTTL,
		verdictsMax: o.Verdicts, verdicts: map[[32]byte]verdict{},
		byCertificate: o.CertificateName.reader(), issuers: o.Issuers, newUsers: o.NewUsers,
		addresses: newRates("logins from this address", o.LoginsPerAddress),
		names:     newRates("logins of this user", o.LoginsPerUser)}
	rand.Read(a.salt[:]) // never fails
	return a
}

func loopback(remote string) bool {
	a, err := netip.ParseAddrPort(remote)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// rootName is who callers on loopback are while root has no password.
const rootName = "root"

// credentials are what a call, or a handshake, brings.
type credentials struct {
	header      string
	certificate *x509.Certificate
	remote      string
}

// identify finds out who calls: by password or token, else by certificate, else, on loopback and only while root has
// no password, as root.
func (a *authority) identify(ctx context.Context, c credentials) (identity, error) {
	switch scheme, rest := cutScheme(c.header); scheme {
	case "":
		if c.certificate != nil {
			return a.certified(ctx, c.certificate)
		}
		p, err := a.anonymous(ctx, c.remote)
		return identity{Principal: p}, err
	case "basic":
		return a.basic(ctx, rest, c.remote)
	case "bearer":
		return a.bearer(ctx, rest)
	}
	return identity{}, unauthenticated("the authorization scheme is neither Basic nor Bearer")
}

func (a *authority) anonymous(ctx context.Context, remote string) (access.Principal, error) {
	refused := unauthenticated("log in with a user and a password, or with a token")
	a.mu.Lock()
	off := a.noRoot
	a.mu.Unlock()
	if off || !loopback(remote) {
		return access.Principal{}, refused
	}
	p, err := a.backend.Login(ctx, rootName, "", remote)
	if errors.Is(err, fault.ErrUnauthenticated) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.noRoot = true
		return access.Principal{}, refused
	}
	return p, err
}

// certified is the user whom a certificate names. TLS has checked that one of our authorities signed it and that it is
// good now.
func (a *authority) certified(ctx context.Context, c *x509.Certificate) (identity, error) {
	name := a.byCertificate(c)
	if name == "" {
		return identity{how: howCertificate}, unauthenticated("the certificate names no user")
	}
	p, err := a.backend.PrincipalNamed(ctx, name)
	if errors.Is(err, fault.ErrNotFound) {
		err = unauthenticated("the certificate is of %q, who is no user here", clip(name))
	}
	return identity{Principal: p, until: c.NotAfter, how: howCertificate}, err
}

// basic checks "user:password" in base64. The password may be a token: many programs know no other place for one. The
// user is then whose it is, or "token".
func (a *authority) basic(ctx context.Context, encoded, remote string) (identity, error) {
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		decoded, err = base64.RawStdEncoding.DecodeString(encoded)
	}
	name, password, ok := strings.Cut(string(decoded), ":")
	if err != nil || !ok {
		return identity{}, unauthenticated("the Basic credentials cannot be read")
	}
	if isToken(password) {
		id, err := a.bearer(ctx, password)
		if err == nil && name != tokenUser && name != "" && !strings.EqualFold(name, id.Name) {
			err = unauthenticated("the token is not of the user %q", clip(name))
		}
		return id, err
	}
	p, err := a.password(ctx, name, password, remote)
	return identity{Principal: p, how: howPassword}, err
}

// tokenUser is the user's name that goes with any token in the place of a password.
const tokenUser = "token"

// isToken tells whether a text can be nothing but a token.
func isToken(text string) bool {
	return strings.HasPrefix(text, catalog.TokenPrefix) && len(text) > 50 || isJWT(text)
}

// isJWT tells whether a text has the shape of a JWT: three parts, the first of which is a JSON object in base64.
func isJWT(text string) bool { return strings.HasPrefix(text, "eyJ") && strings.Count(text, ".") == 2 }

// password checks a password. That costs tens of milliseconds on purpose, so clients that send theirs with each call
// are answered from the verdicts; the principal is read again each time. Somebody who was let in is not locked out by
// the failures of others.
func (a *authority) password(ctx context.Context, name, password, remote string) (access.Principal, error) {
	key := a.verdictKey(name, password)
	now := time.Now()
	a.mu.Lock()
	v, ok := a.verdicts[key]
	if ok = ok && now.Before(v.expires); ok {
		a.verdicts[key] = verdict{v.user, v.epoch, now.Add(a.verdictTTL)}
	}
	a.mu.Unlock()
	if ok {
		if p, err := a.backend.Principal(ctx, v.user, 0); err != nil || p.Epoch == v.epoch {
			return p, err
		}
	}
	if err := errors.Join(a.addresses.take(addressKey(remote)), a.names.take(strings.ToLower(name))); err != nil {
		return access.Principal{}, err
	}
	p, err := a.backend.Login(ctx, name, password, remote)
	if err != nil || password == "" { // root without a password: cheap, and not for long
		return p, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.verdicts) >= a.verdictsMax {
		for other := range a.verdicts { // any will do
			delete(a.verdicts, other)
			break
		}
	}
	a.verdicts[key] = verdict{p.ID, p.Epoch, now.Add(a.verdictTTL)}
	return p, nil
}

func (a *authority) verdictKey(name, password string) (key [32]byte) {
	m := hmac.New(sha256.New, a.salt[:])
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(name)))
	m.Write(n[:])
	m.Write([]byte(name))
	m.Write([]byte(password))
	copy(key[:], m.Sum(nil))
	return key
}

// sweep forgets verdicts whose time is up, and who has been quiet.
func (a *authority) sweep(now time.Time) {
	a.addresses.sweep(now)
	a.names.sweep(now)
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.verdicts, func(_ [32]byte, v verdict) bool { return now.After(v.expires) })
}

// bearer is the user of a token: one of our sessions', an access token, or a JWT.
func (a *authority) bearer(ctx context.Context, text string) (identity, error) {
	if strings.HasPrefix(text, catalog.TokenPrefix) {
		p, until, err := a.backend.LoginByToken(ctx, text)
		return identity{Principal: p, until: until, how: howToken}, err
	}
	if len(a.issuers) > 0 && isJWT(text) {
		return a.claimed(ctx, text)
	}
	t, err := a.tokens.openToken(text)
	if err != nil {
		return identity{how: howToken}, unauthenticated("%s", err)
	}
	if time.Now().After(t.expires) {
		return identity{}, unauthenticated("the token expired at %s: log in again", t.expires.UTC().Format(time.RFC3339))
	}
	p, err := a.backend.Principal(ctx, t.user, t.source)
	if err != nil {
		return identity{}, err
	}
	if p.Epoch != t.epoch {
		return identity{}, unauthenticated("the password or the role has changed: log in again")
	}
	return identity{Principal: p, until: t.until, session: &t, how: howSession}, nil
}

// claimed is the user of a JWT. Users whom we do not know are made, when that is wanted; their role, and no other's, is
// that of the token's groups.
func (a *authority) claimed(ctx context.Context, text string) (identity, error) {
	issuer := jwt.IssuerOf(text)
	for _, v := range a.issuers {
		if v.Issuer() != issuer {
			continue
		}
		c, err := v.Verify(ctx, text)
		if err != nil {
			return identity{how: howJWT}, err
		}
		p, err := a.backend.External(ctx, c.User, c.Role, a.newUsers)
		if errors.Is(err, fault.ErrNotFound) {
			err = unauthenticated("the token is of %q, who is no user here", clip(c.User))
		}
		return identity{Principal: p, until: c.Expires, how: howJWT}, err
	}
	return identity{how: howJWT}, unauthenticated("the token (JWT) is of an issuer that is not known here")
}

// issue makes a session token for who has shown credentials; it is good no longer than they are. id is that of the
// session.
func (a *authority) issue(who identity, id [8]byte) string {
	now := time.Now()
	t := token{user: who.ID, epoch: who.Epoch, issued: now, expires: now.Add(a.ttl), id: id, source: who.Token,
		until: who.until}
	if !t.until.IsZero() && t.until.Before(t.expires) {
		t.expires = t.until
	}
	return a.tokens.sealToken(t)
}

// newSession is the id of a session that a handshake begins.
func newSession() (id [8]byte) {
	rand.Read(id[:]) // never fails
	return id
}

// renew sends a fresh token in the headers once half of the old one's time is over; clients put it in place of the
// old one.
func (a *authority) renew(ctx context.Context, who identity) error {
	t := who.session
	if time.Until(t.expires) > t.expires.Sub(t.issued)/2 || !t.until.IsZero() && !t.until.After(t.expires) {
		return nil
	}
	return sendToken(ctx, a.issue(who, t.id))
}

// note writes a login to the audit log, and its failure: once for each connection and user, as a token or a certificate
// comes with every call. The engine itself notes those by password.
func (a *authority) note(c *conn, who identity, err error) {
	switch who.how {
	case howToken, howJWT, howCertificate:
	default:
		return
	}
	if err == nil && c.noted.Swap(uint64(who.ID)) == uint64(who.ID) {
		return
	}
	a.backend.NoteLogin(engine.LoginNote{How: who.how, Name: who.Name, User: who.Principal, Remote: c.remote, Err: err})
}

// greet sends a token to who sends their password with each call, for the calls after this one. It has no id of its
// own, so that it finds the session of the password.
func (a *authority) greet(ctx context.Context, c *conn, who identity) error {
	if c.greeted.Swap(uint64(who.ID)) == uint64(who.ID) {
		return nil
	}
	return sendToken(ctx, a.issue(who, [8]byte{}))
}

func sendToken(ctx context.Context, text string) error {
	return grpc.SetHeader(ctx, metadata.Pairs(headerAuth, "Bearer "+text))
}

// CertificateName says where in a client's certificate the name of the user is.
type CertificateName string

// The places. The default is the common name of the subject.
const (
	CertificateCN    CertificateName = "cn"
	CertificateDNS   CertificateName = "dns"
	CertificateEmail CertificateName = "email"
	CertificateURI   CertificateName = "uri"
)

func (n CertificateName) check() error {
	switch n {
	case "", CertificateCN, CertificateDNS, CertificateEmail, CertificateURI:
		return nil
	}
	return fmt.Errorf("flightsrv: there is no name %q in certificates: %w", string(n), fault.ErrInvalid)
}

// reader reads the name. A certificate with several alternative names of the kind names nobody.
func (n CertificateName) reader() func(*x509.Certificate) string {
	only := func(names []string) string {
		if len(names) == 1 {
			return names[0]
		}
		return ""
	}
	return func(c *x509.Certificate) string {
		switch n {
		case CertificateDNS:
			return only(c.DNSNames)
		case CertificateEmail:
			return only(c.EmailAddresses)
		case CertificateURI:
			if len(c.URIs) == 1 {
				return c.URIs[0].String()
			}
			return ""
		}
		return c.Subject.CommonName
	}
}
