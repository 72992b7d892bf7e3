package endtoend

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
	"kalamflight/internal/tlsconf"
)

// dialWith opens a connection of the stock driver with options of its own.
func dialWith(opts map[string]string) (*client, error) {
	db, err := driver.NewDriver(memory.DefaultAllocator).NewDatabase(opts)
	if err != nil {
		return nil, err
	}
	if l, ok := db.(adbc.DatabaseLogging); ok {
		l.SetLogger(slog.New(slog.DiscardHandler))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := db.Open(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	c := &client{db: db, conn: conn}
	if _, err := c.tryQuery("SELECT 1"); err != nil { // the driver connects late when there is no user
		c.close()
		return nil, err
	}
	return c, nil
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTLS(t *testing.T) {
	s := start(t, server.Options{TLS: server.TLS{Auto: true}})
	trusting := map[string]string{adbc.OptionKeyURI: s.URL(), driver.OptionSSLRootCerts: readFile(t, s.CAFile())}
	c, err := dialWith(trusting)
	if err != nil {
		t.Fatal(err)
	}
	c.t = t
	defer c.close()
	c.exec("CREATE TABLE t (id BIGINT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
	if got := fmt.Sprint(c.query("SELECT count(*) FROM t")); got != "[[2]]" {
		t.Errorf("got %s", got)
	}
	if _, err := dialWith(map[string]string{adbc.OptionKeyURI: s.URL()}); err == nil ||
		!strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("without the authority: %v", err)
	}
	plain := strings.Replace(s.URL(), "grpc+tls", "grpc", 1)
	if _, err := dialWith(map[string]string{adbc.OptionKeyURI: plain, adbc.OptionKeyUsername: "root",
		adbc.OptionKeyPassword: "secret"}); err == nil || !strings.Contains(err.Error(), "this port speaks TLS") {
		t.Errorf("in the clear: %v", err)
	}
}

// TestStrangersAtTheDoor: who comes with the wrong protocol is told so, or is cut, and the port goes on.
func TestStrangersAtTheDoor(t *testing.T) {
	for name, tls := range map[string]server.TLS{"plain": {}, "tls": {Auto: true}} {
		s := start(t, server.Options{TLS: tls})
		if name == "plain" {
			secure := strings.Replace(s.URL(), "grpc", "grpc+tls", 1)
			_, err := dialWith(map[string]string{adbc.OptionKeyURI: secure})
			if err == nil || !strings.Contains(err.Error(), "does not look like a TLS handshake") {
				t.Errorf("TLS to a plaintext port: %v", err)
			}
		}
		if text := knock(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.Contains(text, "Arrow Flight SQL") {
			t.Errorf("%s: a browser reads %q", name, text)
		}
		knock(t, s, "\x00\x00")
		knock(t, s, "\x16\x03\x01\xff\xff")
		knock(t, s, strings.Repeat("\x16", 100))
		trusting := map[string]string{adbc.OptionKeyURI: s.URL()}
		if name == "tls" {
			trusting[driver.OptionSSLRootCerts] = readFile(t, s.CAFile())
		}
		c, err := dialWith(trusting)
		if err != nil {
			t.Fatalf("%s: after the strangers: %v", name, err)
		}
		c.close()
	}
}

// knock sends bytes and returns the body of the answer, if it is one of HTTP.
func knock(t *testing.T, s *server.Server, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.SetDeadline(time.Now().Add(5*time.Second)), write(c, text)); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

func write(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

// TestProbesNeedNoCertificate: the HTTP port of a server that requires certificates answers those who have none, and
// speak HTTP/1.1.
func TestProbesNeedNoCertificate(t *testing.T) {
	var nobody *authority
	_, caPEM, _ := nobody.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	caFile := filepath.Join(t.TempDir(), "clients.pem")
	if err := os.WriteFile(caFile, []byte(caPEM), 0o600); err != nil {
		t.Fatal(err)
	}
	// On a loopback address the port is in the clear.
	s := start(t, server.Options{HTTP: server.HTTP{Listen: "0.0.0.0:0", Token: "for the scraper"},
		TLS: server.TLS{Auto: true, ClientCAFile: caFile, ClientRequired: true}})
	trusting := map[string]string{adbc.OptionKeyURI: s.URL(), driver.OptionSSLRootCerts: readFile(t, s.CAFile())}
	if _, err := dialWith(trusting); err == nil {
		t.Error("a driver without a certificate is let in")
	}
	roots, err := tlsconf.Client(tlsconf.ClientOptions{CAFile: s.CAFile()})
	if err != nil {
		t.Fatal(err)
	}
	roots.NextProtos = []string{"http/1.1"}
	web := http.Client{Transport: &http.Transport{TLSClientConfig: roots}, Timeout: 5 * time.Second}
	defer web.CloseIdleConnections()
	_, port, err := net.SplitHostPort(s.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := web.Get("https://127.0.0.1:" + port + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("a probe is answered %s", answer.Status)
	}
}

// authority signs certificates of clients.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// sign makes a certificate of a user, by itself when a is nil.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (made *authority, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, by := template, private
	if a != nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		parent, by = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	made = &authority{key: private}
	secret, err1 := x509.MarshalPKCS8PrivateKey(private)
	made.cert, err = x509.ParseCertificate(der)
	if err := errors.Join(err, err1); err != nil {
		t.Fatal(err)
	}
	return made, pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", secret)
}

func named(name string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: name}}
}

// TestClientCertificates: a certificate of an authority that we believe is a user; a password or a token beside it says
// who calls instead.
func TestClientCertificates(t *testing.T) {
	var nobody *authority
	ca, caPEM, _ := nobody.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	stranger, _, _ := nobody.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	caFile := filepath.Join(t.TempDir(), "clients.pem")
	if err := os.WriteFile(caFile, []byte(caPEM), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, server.Options{Logins: cheap(), TLS: server.TLS{Auto: true, ClientCAFile: caFile}})
	trusting := func(more ...string) map[string]string {
		opts := map[string]string{adbc.OptionKeyURI: s.URL(), driver.OptionSSLRootCerts: readFile(t, s.CAFile())}
		for i := 0; i < len(more); i += 2 {
			opts[more[i]] = more[i+1]
		}
		return opts
	}
	root, err := dialWith(trusting())
	if err != nil {
		t.Fatal(err)
	}
	root.t = t
	defer root.close()
	root.exec("CREATE USER amal WITH PASSWORD 'amal-password'", "ALTER USER root PASSWORD 'root-password'")
	as := func(a *authority, template *x509.Certificate, more ...string) (string, error) {
		_, cert, key := a.sign(t, template)
		c, err := dialWith(trusting(append(more, driver.OptionMTLSCertChain, cert, driver.OptionMTLSPrivateKey, key)...))
		if err != nil {
			return "", err
		}
		c.t = t
		defer c.close()
		return c.query("SELECT current_user()")[0][0], nil
	}
	if who, err := as(ca, named("amal")); err != nil || who != "amal" {
		t.Errorf("by certificate: %q, %v", who, err)
	}
	password := []string{adbc.OptionKeyUsername, "root", adbc.OptionKeyPassword, "root-password"}
	if who, err := as(ca, named("amal"), password...); err != nil || who != "root" {
		t.Errorf("by password beside a certificate: %q, %v", who, err)
	}
	past := named("amal")
	past.NotAfter = time.Now().Add(-time.Minute)
	for what, try := range map[string]func() (string, error){
		"of nobody":            func() (string, error) { return as(ca, named("nobody")) },
		"in another case":      func() (string, error) { return as(ca, named("AMAL")) },
		"without a name":       func() (string, error) { return as(ca, named("")) },
		"of another authority": func() (string, error) { return as(stranger, named("amal")) },
		"that has expired":     func() (string, error) { return as(ca, past) },
	} {
		if who, err := try(); err == nil {
			t.Errorf("a certificate %s is %s", what, who)
		}
	}
	if _, err := dialWith(trusting()); err == nil {
		t.Error("nobody is somebody")
	}
}
