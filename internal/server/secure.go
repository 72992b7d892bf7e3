package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"kalamflight/engine"
	"kalamflight/engine/catalog"
	"kalamflight/flightsrv"
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
}

func (l Logins) catalog() catalog.Options {
	return catalog.Options{PasswordLength: l.PasswordLength, PasswordPasses: l.PasswordPasses,
		PasswordKiB: l.PasswordKiB, PasswordChecks: l.PasswordChecks}
}

// wire puts what concerns the wire into its options.
func (l Logins) wire(o *flightsrv.Options) {
	o.TokenTTL, o.CertificateName = l.TokenTTL, flightsrv.CertificateName(l.CertificateName)
	o.LoginsPerAddress, o.LoginsPerUser = l.PerAddress, l.PerUser
	o.CallsPerAddress, o.CallsPerUser = l.CallsPerAddress, l.CallsPerUser
}

func (t TLS) on() bool { return t.Auto || t.CertFile != "" || t.KeyFile != "" }

// secure opens the certificates; nil for plaintext. listen is the address that was asked for.
func (t TLS) secure(dataDir, listen string, log *slog.Logger) (*tlsconf.Source, *tls.Config, error) {
	if !t.on() {
		if t.ClientCAFile != "" || t.ClientRequired {
			return nil, nil, &fault.SQL{Kind: fault.ErrInvalid, Message: "certificates of clients need TLS",
				Hint: "add --tls auto, or --tls-cert and --tls-key"}
		}
		return nil, nil, nil
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
		return nil, nil, fmt.Errorf("open the certificates: %w", err)
	}
	log.Info("tls", "ca", source.CAFile(), "sha256", source.Fingerprint())
	return source, source.Config(), nil
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
