package tlsconf_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kalamflight/internal/tlsconf"
)

// serve answers each TLS connection with the common name of the client's certificate.
func serve(t *testing.T, s *tlsconf.Source) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", s.Config())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ended by the Close below
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if err := c.(*tls.Conn).HandshakeContext(context.Background()); err == nil {
				name := "nobody"
				if chains := c.(*tls.Conn).ConnectionState().VerifiedChains; len(chains) > 0 {
					name = chains[0][0].Subject.CommonName
				}
				_, _ = io.WriteString(c, name)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// greet connects and returns what the server said, and the serial number of its certificate.
func greet(t *testing.T, address string, o tlsconf.ClientOptions) (said, serial string, err error) {
	t.Helper()
	config, err := tlsconf.Client(o)
	if err != nil {
		t.Fatal(err)
	}
	config.ServerName = "localhost"
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	return string(text), c.ConnectionState().PeerCertificates[0].SerialNumber.String(), err
}

func open(t *testing.T, o tlsconf.Options) *tlsconf.Source {
	t.Helper()
	s, err := tlsconf.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAutoIsKeptAndRenewed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	s := open(t, tlsconf.Options{AutoDir: dir})
	said, first, err := greet(t, serve(t, s), tlsconf.ClientOptions{CAFile: s.CAFile()})
	if err != nil || said != "nobody" {
		t.Fatalf("said %q, %v", said, err)
	}
	again := open(t, tlsconf.Options{AutoDir: dir})
	if again.Fingerprint() != s.Fingerprint() || strings.Count(s.Fingerprint(), ":") != 31 {
		t.Errorf("fingerprints %s and %s", s.Fingerprint(), again.Fingerprint())
	}
	if _, serial, err := greet(t, serve(t, again), tlsconf.ClientOptions{CAFile: s.CAFile()}); err != nil ||
		serial != first {
		t.Errorf("serial %s after a restart, %s before; %v", serial, first, err)
	}
	// Another host is another certificate of the same authority.
	more := open(t, tlsconf.Options{AutoDir: dir, Hosts: []string{"db.example.com", "10.1.2.3"}})
	if _, serial, err := greet(t, serve(t, more), tlsconf.ClientOptions{CAFile: s.CAFile()}); err != nil ||
		serial == first {
		t.Errorf("serial %s for another host; %v", serial, err)
	}
	// A pair that does not fit, as after a crash between the two files, is made again.
	if err := os.WriteFile(filepath.Join(dir, "server.pem"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := greet(t, serve(t, open(t, tlsconf.Options{AutoDir: dir})),
		tlsconf.ClientOptions{CAFile: s.CAFile()}); err != nil {
		t.Errorf("after the certificate was damaged: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, "ca-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the authority's key: %v, %v", info.Mode(), err)
	}
	// The authority is never replaced: clients know it.
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tlsconf.Open(tlsconf.Options{AutoDir: dir}); err == nil {
		t.Error("a damaged authority was replaced")
	}
}

func TestFilesAreReadAgain(t *testing.T) {
	one, two, dir := t.TempDir(), t.TempDir(), t.TempDir()
	open(t, tlsconf.Options{AutoDir: one})
	open(t, tlsconf.Options{AutoDir: two})
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	use := func(from string) {
		t.Helper()
		for name, to := range map[string]string{"server.pem": cert, "server-key.pem": key} {
			text, err := os.ReadFile(filepath.Join(from, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	use(one)
	s := open(t, tlsconf.Options{CertFile: cert, KeyFile: key, CheckEvery: time.Nanosecond})
	address := serve(t, s)
	trust := func(dir string) tlsconf.ClientOptions {
		return tlsconf.ClientOptions{CAFile: filepath.Join(dir, "ca.pem")}
	}
	if _, _, err := greet(t, address, trust(one)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, []byte("half a certif"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := greet(t, address, trust(one)); err != nil {
		t.Errorf("a damaged file took the old certificate away: %v", err)
	}
	use(two)
	if _, _, err := greet(t, address, trust(two)); err != nil {
		t.Errorf("the new certificate is not used: %v", err)
	}
	var unknown x509.UnknownAuthorityError
	if _, _, err := greet(t, address, trust(one)); !errors.As(err, &unknown) {
		t.Errorf("the old authority still counts: %v", err)
	}
}

func TestClientsCertificates(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	open(t, tlsconf.Options{AutoDir: dir})
	open(t, tlsconf.Options{AutoDir: other})
	s := open(t, tlsconf.Options{AutoDir: dir, ClientCAFile: filepath.Join(other, "ca.pem"), ClientRequired: true})
	address := serve(t, s)
	trust := tlsconf.ClientOptions{CAFile: s.CAFile()}
	if said, _, err := greet(t, address, trust); err == nil {
		t.Errorf("without a certificate: said %q", said)
	}
	// A certificate for servers is none for clients.
	trust.CertFile, trust.KeyFile = filepath.Join(other, "server.pem"), filepath.Join(other, "server-key.pem")
	if said, _, err := greet(t, address, trust); err == nil {
		t.Errorf("with a server's certificate: said %q", said)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]tlsconf.Options{"nothing": {}, "a certificate alone": {CertFile: empty},
		"a key alone": {KeyFile: empty}, "both ways": {AutoDir: dir, CertFile: empty, KeyFile: empty},
		"no authority": {AutoDir: dir, ClientRequired: true}, "empty files": {CertFile: empty, KeyFile: empty},
		"empty authority": {AutoDir: dir, ClientCAFile: empty}, "no file": {CertFile: dir + "/x", KeyFile: dir + "/y"}} {
		if _, err := tlsconf.Open(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := tlsconf.Client(tlsconf.ClientOptions{CertFile: empty}); err == nil {
		t.Error("a client's certificate without a key is accepted")
	}
	if c, err := tlsconf.Client(tlsconf.ClientOptions{}); c != nil || err != nil {
		t.Errorf("no options: %v, %v", c, err)
	}
}
