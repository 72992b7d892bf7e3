package main

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"kalamflight/internal/server"
	"kalamflight/internal/tlsconf"
)

// secureFlags are the settings of a server that say how connections are secured.
type secureFlags struct {
	TLS               string   `help:"How connections are secured: off, auto (certificates in the folder tls of the data folder, made and renewed) or files." enum:"off,auto,files," default:"" placeholder:"off|auto|files" env:"KALAMFLIGHT_TLS" name:"tls"`
	TLSHosts          []string `help:"Names and addresses, besides localhost and this machine's name, that an auto certificate is good for." placeholder:"HOST" env:"KALAMFLIGHT_TLS_HOSTS" name:"tls-hosts"`
	TLSCert           string   `help:"The server's certificate and those between it and the authority, in PEM; read again when it changes." placeholder:"FILE" env:"KALAMFLIGHT_TLS_CERT" name:"tls-cert"`
	TLSKey            string   `help:"The key of the certificate, in PEM." placeholder:"FILE" env:"KALAMFLIGHT_TLS_KEY" name:"tls-key"`
	TLSClientCA       string   `help:"Authorities, in PEM, of the certificates that clients may log in with." placeholder:"FILE" env:"KALAMFLIGHT_TLS_CLIENT_CA" name:"tls-client-ca"`
	TLSClientRequired bool     `help:"Refuse connections without such a certificate." env:"KALAMFLIGHT_TLS_CLIENT_REQUIRED" name:"tls-client-required"`

	RootPasswordFile string `help:"File with the password that root gets when it has none; KALAMFLIGHT_ROOT_PASSWORD is one." placeholder:"FILE" env:"KALAMFLIGHT_ROOT_PASSWORD_FILE"`

	TLSClientName string `help:"Where in a client's certificate its user is: cn, dns, email or uri." enum:"cn,dns,email,uri" default:"cn" env:"KALAMFLIGHT_TLS_CLIENT_NAME" name:"tls-client-name"`

	PasswordLength   int              `help:"Least number of characters of a new password." default:"8" env:"KALAMFLIGHT_PASSWORD_LENGTH"`
	PasswordMemory   server.ByteCount `help:"Memory of one check of a password (Argon2id)." default:"19MiB" env:"KALAMFLIGHT_PASSWORD_MEMORY"`
	PasswordPasses   int              `help:"Passes over that memory." default:"2" env:"KALAMFLIGHT_PASSWORD_PASSES"`
	PasswordChecks   int              `help:"Checks of passwords at once." default:"4" env:"KALAMFLIGHT_PASSWORD_CHECKS"`
	LoginRateAddress float64          `help:"Checks of passwords a second from one address; ten times as many at once; 0 is no bound." default:"20" env:"KALAMFLIGHT_LOGIN_RATE_ADDRESS"`
	LoginRateUser    float64          `help:"The same for one user." default:"5" env:"KALAMFLIGHT_LOGIN_RATE_USER"`
	CallRateAddress  float64          `help:"Calls a second from one address; ten times as many at once; 0 is no bound." default:"0" env:"KALAMFLIGHT_CALL_RATE_ADDRESS"`
	CallRateUser     float64          `help:"The same for one user." default:"0" env:"KALAMFLIGHT_CALL_RATE_USER"`
	TokenTTL         time.Duration    `help:"How long the token of a login is good; clients get a new one when half of it is over." default:"12h" env:"KALAMFLIGHT_TOKEN_TTL" name:"token-ttl"`

	JWTIssuer     string            `help:"Issuer (iss) of JSON Web Tokens that users log in with." env:"KALAMFLIGHT_JWT_ISSUER" name:"jwt-issuer"`
	JWTAudience   string            `help:"Audience (aud) that their tokens have to be for; with OpenID Connect, the client id." env:"KALAMFLIGHT_JWT_AUDIENCE" name:"jwt-audience"`
	JWTKeys       string            `help:"The issuer's public keys: a file (JWKS or PEM), read again when it changes, or an https:// URL of a JWKS." placeholder:"FILE|URL" env:"KALAMFLIGHT_JWT_KEYS" name:"jwt-keys"`
	JWTSecretFile string            `help:"File with the secret of 32 bytes or more that the issuer shares with us, for HS256." placeholder:"FILE" env:"KALAMFLIGHT_JWT_SECRET_FILE" name:"jwt-secret-file"`
	JWTAlgorithms []string          `help:"Algorithms that are allowed; a key is good for the one of its type only." enum:"EdDSA,RS256,ES256,HS256" default:"EdDSA,RS256,ES256" env:"KALAMFLIGHT_JWT_ALGORITHMS" name:"jwt-algorithms"`
	JWTUserClaim  string            `help:"Claim that names the user." default:"sub" env:"KALAMFLIGHT_JWT_USER_CLAIM" name:"jwt-user-claim"`
	JWTRoleClaim  string            `help:"Claim with the user's groups." env:"KALAMFLIGHT_JWT_ROLE_CLAIM" name:"jwt-role-claim"`
	JWTRoles      map[string]string `help:"Roles of these groups, as admins=dba;apps=service. They count for users that --jwt-new-users has made." mapsep:";" placeholder:"GROUP=ROLE" env:"KALAMFLIGHT_JWT_ROLES" name:"jwt-roles"`
	JWTNewUsers   bool              `help:"Make users whom a token names and who are not there yet." env:"KALAMFLIGHT_JWT_NEW_USERS" name:"jwt-new-users"`
	JWTLeeway     time.Duration     `help:"How far the issuer's clock may be from ours." default:"30s" env:"KALAMFLIGHT_JWT_LEEWAY" name:"jwt-leeway"`
	OIDCIssuer    string            `help:"Issuer (URL) of OpenID Connect, whose keys are found by discovery." placeholder:"URL" env:"KALAMFLIGHT_OIDC_ISSUER" name:"oidc-issuer"`
}

// jwt is whose tokens the server believes.
func (f *secureFlags) jwt() server.JWT {
	j := server.JWT{Issuer: f.JWTIssuer, SecretFile: f.JWTSecretFile, OIDC: f.OIDCIssuer, Audience: f.JWTAudience,
		UserClaim: f.JWTUserClaim, RoleClaim: f.JWTRoleClaim, Algorithms: f.JWTAlgorithms, Roles: f.JWTRoles,
		Leeway: f.JWTLeeway, NewUsers: f.JWTNewUsers}
	if strings.Contains(f.JWTKeys, "://") {
		j.KeysURL = f.JWTKeys
	} else {
		j.KeysFile = f.JWTKeys
	}
	if f.JWTSecretFile != "" && !slices.Contains(j.Algorithms, "HS256") { // a secret is good for nothing else
		j.Algorithms = append(slices.Clone(j.Algorithms), "HS256")
	}
	return j
}

// logins is how the server lets callers in.
func (f *secureFlags) logins() server.Logins {
	bound := func(each float64) float64 {
		if each <= 0 {
			return -1
		}
		return each
	}
	return server.Logins{PasswordLength: f.PasswordLength, PasswordPasses: f.PasswordPasses,
		PasswordKiB: int(f.PasswordMemory >> 10), PasswordChecks: f.PasswordChecks, TokenTTL: f.TokenTTL,
		PerAddress: bound(f.LoginRateAddress), PerUser: bound(f.LoginRateUser), CallsPerAddress: f.CallRateAddress,
		CallsPerUser: f.CallRateUser, CertificateName: f.TLSClientName, JWT: f.jwt()}
}

// tls is how the server secures its connections. Certificates that are named turn TLS on.
func (f *secureFlags) tls() server.TLS {
	mode := cmp.Or(f.TLS, "off")
	if f.TLS == "" && (f.TLSCert != "" || f.TLSKey != "") {
		mode = "files"
	}
	t := server.TLS{Auto: mode == "auto", Hosts: f.TLSHosts, ClientCAFile: f.TLSClientCA,
		ClientRequired: f.TLSClientRequired}
	if mode != "off" {
		t.CertFile, t.KeyFile = f.TLSCert, f.TLSKey
	}
	if mode == "files" && t.CertFile == "" { // an empty file is an error, and no plaintext
		t.CertFile = "--tls-cert"
	}
	return t
}

// trustFlags are the settings of a client for URLs of grpc+tls.
type trustFlags struct {
	TLSCA         string `help:"Authorities, in PEM, that are believed instead of the system's; with --tls auto, the server's tls/ca.pem." placeholder:"FILE" env:"KALAMFLIGHT_TLS_CA" name:"tls-ca"`
	TLSClientCert string `help:"Certificate, in PEM, to log in with." placeholder:"FILE" env:"KALAMFLIGHT_TLS_CLIENT_CERT" name:"tls-cert"`
	TLSClientKey  string `help:"Its key, in PEM." placeholder:"FILE" env:"KALAMFLIGHT_TLS_CLIENT_KEY" name:"tls-key"`
	TLSSkipVerify bool   `help:"Believe every server; whoever is in between can read and change everything." env:"KALAMFLIGHT_TLS_SKIP_VERIFY" name:"tls-skip-verify"`
}

func (f *trustFlags) options() tlsconf.ClientOptions {
	return tlsconf.ClientOptions{CAFile: f.TLSCA, CertFile: f.TLSClientCert, KeyFile: f.TLSClientKey,
		SkipVerify: f.TLSSkipVerify}
}

// shownValue is a setting as system.settings shows it. Secrets come from files and the environment and are no settings,
// but a URL may have one in it.
func shownValue(v any) string {
	text := fmt.Sprint(v)
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	return text
}
