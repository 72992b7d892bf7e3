package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"kalamflight/engine"
	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/flightsrv"
	"kalamflight/flightsrv/jwt"
	"kalamflight/internal/fault"
	"kalamflight/internal/tlsconf"
)

// TLS says how connections are secured. The zero value is plaintext.
type TLS struct {
	// Auto makes an authority and a certificate in the folder tls of the data folder, for Hosts besides localhost and the
	// name of the machine.
	Auto  bool
	Hosts []string
	// CertFile and KeyFile are a certificate in PEM, read again when they change.
	CertFile, KeyFile string
	// ClientCAFile are the authorities of certificates that clients may show; ClientRequired refuses who shows none.
	ClientCAFile   string
	ClientRequired bool
}

// Logins says how callers are let in. The zero value has the defaults of the rooms.
type Logins struct {
	// PasswordLength, PasswordPasses, PasswordKiB and PasswordChecks are as in catalog.Options.
	PasswordLength, PasswordPasses, PasswordKiB, PasswordChecks int
	// TokenTTL is how long the token of a login is good.
	TokenTTL time.Duration
	// PerAddress and PerUser bound the checks of passwords a second, CallsPerAddress and CallsPerUser the calls; as in
	// flightsrv.Options.
	PerAddress, PerUser, CallsPerAddress, CallsPerUser float64
	// CertificateName is where in a client's certificate its user is: cn, dns, email or uri.
	CertificateName string
	// JWT are the issuers whose tokens are believed; none when it is zero.
	JWT JWT
}

// JWT says which tokens of identity providers are believed.
type JWT struct {
	// Issuer and its keys: KeysFile, KeysURL, or SecretFile with what both sides know. OIDC is an issuer whose keys are
	// found by discovery. Both may be given.
	Issuer, KeysFile, KeysURL, SecretFile, OIDC string
	// The rest is as in jwt.Options.
	Audience, UserClaim, RoleClaim string
	Algorithms                     []string
	Roles                          map[string]string
	Leeway                         time.Duration
	// NewUsers makes users whom a token names and we do not know.
	NewUsers bool
}

// secretBytesMax bounds a file with a secret.
const secretBytesMax = 64 << 10

// verifiers are those of the issuers.
func (j JWT) verifiers() (all []*jwt.Verifier, err error) {
	o := jwt.Options{Audience: j.Audience, Algorithms: j.Algorithms, UserClaim: j.UserClaim, RoleClaim: j.RoleClaim,
		Roles: j.Roles, RoleOrder: []string{"user", "service", "dba", "system"}, Leeway: j.Leeway}
	for group, role := range j.Roles {
		if _, err := access.ParseRole(role); err != nil {
			return nil, fmt.Errorf("the role of the group %s: %w", group, err)
		}
	}
	add := func(issuer string, keys jwt.Keys, err error) error {
		if err != nil {
			return fmt.Errorf("open the keys of %s: %w", issuer, err)
		}
		o.Issuer, o.Keys = issuer, keys
		v, err := jwt.New(o)
		if err == nil {
			all = append(all, v)
		}
		return err
	}
	if j.OIDC != "" {
		keys, err := jwt.Discover(j.OIDC, nil)
		if err := add(j.OIDC, keys, err); err != nil {
			return nil, err
		}
	}
	if j.Issuer == j.OIDC && j.Issuer != "" {
		return nil, &fault.SQL{Kind: fault.ErrInvalid, Message: "--jwt-issuer and --oidc-issuer name the same issuer"}
	}
	if j.Issuer != "" {
		keys, err := j.keys()
		if err := add(j.Issuer, keys, err); err != nil {
			return nil, err
		}
	}
	if len(all) == 0 && (j.Audience != "" || j.KeysFile != "" || j.KeysURL != "" || j.SecretFile != "" || j.NewUsers) {
		return nil, &fault.SQL{Kind: fault.ErrInvalid, Message: "tokens (JWT) need --jwt-issuer or --oidc-issuer"}
	}
	return all, nil
}

// keys are those of the issuer without discovery.
func (j JWT) keys() (jwt.Keys, error) {
	given := 0
	for _, s := range []string{j.KeysFile, j.KeysURL, j.SecretFile} {
		if s != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, &fault.SQL{Kind: fault.ErrInvalid,
			Message: "--jwt-issuer needs one of --jwt-keys and --jwt-secret-file"}
	case j.KeysFile != "":
		return jwt.OpenFile(j.KeysFile)
	case j.KeysURL != "":
		return jwt.At(j.KeysURL, nil)
	}
	info, err := os.Stat(j.SecretFile)
	if err != nil {
		return nil, err
	}
	if info.Size() > secretBytesMax {
		return nil, fmt.Errorf("%s has more than %d bytes", j.SecretFile, secretBytesMax)
	}
	secret, err := os.ReadFile(j.SecretFile)
	if err != nil {
		return nil, err
	}
	return jwt.Secret(bytes.TrimRight(secret, "\r\n"))
}

func (l Logins) catalog() catalog.Options {
	return catalog.Options{PasswordLength: l.PasswordLength, PasswordPasses: l.PasswordPasses,
		PasswordKiB: l.PasswordKiB, PasswordChecks: l.PasswordChecks}
}

// wire puts what concerns the wire into its options.
func (l Logins) wire(o *flightsrv.Options) (err error) {
	if o.Issuers, err = l.JWT.verifiers(); err != nil {
		return err
	}
	o.NewUsers = l.JWT.NewUsers
	o.TokenTTL, o.CertificateName = l.TokenTTL, flightsrv.CertificateName(l.CertificateName)
	o.LoginsPerAddress, o.LoginsPerUser = l.PerAddress, l.PerUser
	o.CallsPerAddress, o.CallsPerUser = l.CallsPerAddress, l.CallsPerUser
	return nil
}

func (t TLS) on() bool { return t.Auto || t.CertFile != "" || t.KeyFile != "" }

// secure opens the certificates; nil for plaintext. listen is the address that was asked for.
func (t TLS) secure(dataDir, listen string, log *slog.Logger) (*tlsconf.Source, error) {
	if !t.on() {
		if t.ClientCAFile != "" || t.ClientRequired {
			return nil, &fault.SQL{Kind: fault.ErrInvalid, Message: "certificates of clients need TLS",
				Hint: "add --tls auto, or --tls-cert and --tls-key"}
		}
		return nil, nil
	}
	o := tlsconf.Options{Hosts: t.Hosts, CertFile: t.CertFile, KeyFile: t.KeyFile, ClientCAFile: t.ClientCAFile,
		ClientRequired: t.ClientRequired, Logger: log}
	if t.Auto {
		o.AutoDir = filepath.Join(dataDir, "tls")
		if host, _, err := net.SplitHostPort(listen); err == nil {
			o.Hosts = append(o.Hosts[:len(o.Hosts):len(o.Hosts)], host)
		}
	}
	source, err := tlsconf.Open(o)
	if err != nil {
		return nil, fmt.Errorf("open the certificates: %w", err)
	}
	log.Info("tls", "ca", source.CAFile(), "sha256", source.Fingerprint())
	return source, nil
}

// firstPassword gives root the password of the options, and refuses an address that others can reach while root has
// none: a proxy on this machine would make root of everybody.
func firstPassword(ctx context.Context, o Options, e *engine.Engine) error {
	if o.RootPassword != "" {
		if err := e.FirstPassword(ctx, o.RootPassword); err != nil {
			return fmt.Errorf("set root's first password: %w", err)
		}
	}
	if o.Insecure || e.RootHasPassword() || loopback("--listen", o.Listen) == nil {
		return nil
	}
	return &fault.SQL{Kind: fault.ErrPrecondition, Message: fmt.Sprintf("--listen %s can be reached from other "+
		"machines, and root has no password yet", o.Listen),
		Hint: "put one into --root-password-file or KALAMFLIGHT_ROOT_PASSWORD, or add --insecure"}
}
