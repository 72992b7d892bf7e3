// Package tlsconf opens the certificates of TLS: for a server one from files that are read again when they change, or
// one that it makes itself, signed by an authority of its own in a folder, and the authorities whose clients it
// believes; for a client the authorities that it believes and a certificate of its own. It does not listen, and does
// not know what a certificate of a client is good for.
package tlsconf

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kalamflight/internal/fault"
)

// Options say where certificates come from: either AutoDir, or CertFile and KeyFile.
type Options struct {
	// AutoDir is the folder of an authority and a server certificate that are made when they are missing, and of which
	// the latter is renewed; "" when files are given.
	AutoDir string
	// Hosts are the names and addresses that a certificate which is made holds besides localhost, the loopback addresses
	// and the name of this machine.
	Hosts []string
	// CertFile is a chain in PEM, the server's certificate first; KeyFile its key.
	CertFile, KeyFile string
	// ClientCAFile are the authorities in PEM whose certificates clients may show; "" asks for none.
	ClientCAFile string
	// ClientRequired refuses connections without such a certificate.
	ClientRequired bool
	// CheckEvery is how often, at most, the files are looked at for a change; 0 means one second.
	CheckEvery time.Duration
	// Logger hears of changes; nil discards.
	Logger *slog.Logger
}

// fileBytesMax bounds a file of certificates or a key.
const fileBytesMax = 1 << 20

// Source gives each connection the certificates of now. It looks at its files when a connection comes, so that it needs
// no goroutine. It is safe for concurrent use.
type Source struct {
	o     Options
	state atomic.Pointer[state]

	mu sync.Mutex
	// checked is when the files were looked at last; seen is what they were like then.
	checked time.Time
	seen    string
}

// state is what was read at one time. It is immutable.
type state struct {
	config, web *tls.Config
	// renew is when a certificate that was made is due to be made again; zero for one from files.
	renew time.Time
}

// Open reads the certificates, or makes them.
func Open(o Options) (*Source, error) {
	if (o.AutoDir == "") == (o.CertFile == "") || (o.CertFile == "") != (o.KeyFile == "") {
		return nil, &fault.SQL{Kind: fault.ErrInvalid,
			Message: "TLS needs either --tls auto, or both --tls-cert and --tls-key"}
	}
	if o.ClientRequired && o.ClientCAFile == "" {
		return nil, &fault.SQL{Kind: fault.ErrInvalid,
			Message: "certificates of clients can only be required with --tls-client-ca, which says whose to believe"}
	}
	if o.CheckEvery == 0 {
		o.CheckEvery = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Source{o: o}
	st, err := s.load()
	if err != nil {
		return nil, err
	}
	s.state.Store(st)
	s.checked, s.seen = time.Now(), s.look()
	return s, nil
}

// Config is for a listener of gRPC. Each connection gets the certificates of the time when it comes.
func (s *Source) Config() *tls.Config {
	c := s.state.Load().config.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current().config, nil }
	return c
}

// Web is for a listener of HTTP: as Config, but it speaks HTTP/1.1 too and asks for no certificates, which probes and
// scrapers have not.
func (s *Source) Web() *tls.Config {
	c := s.state.Load().web.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current().web, nil }
	return c
}

// CAFile is the authority that clients need to believe in, when it is one of ours; "" with certificates from files.
func (s *Source) CAFile() string {
	if s.o.AutoDir == "" {
		return ""
	}
	return authorityFiles(s.o.AutoDir).cert
}

// Fingerprint is the SHA-256 of the authority's certificate, or with certificates from files of the server's own, as
// openssl x509 -fingerprint -sha256 prints it.
func (s *Source) Fingerprint() string {
	chain := s.state.Load().config.Certificates[0].Certificate
	sum := sha256.Sum256(chain[len(chain)-1])
	if s.o.AutoDir == "" {
		sum = sha256.Sum256(chain[0])
	}
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = strings.ToUpper(hex.EncodeToString([]byte{b}))
	}
	return strings.Join(pairs, ":")
}

// current is the state, read again when the files have changed or the certificate is due. What cannot be read leaves
// the old state, and a line in the log.
func (s *Source) current() *state {
	old := s.state.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.checked) < s.o.CheckEvery {
		return s.state.Load()
	}
	s.checked = now
	seen := s.look()
	due := !old.renew.IsZero() && now.After(old.renew)
	if seen == s.seen && !due {
		return old
	}
	fresh, err := s.load()
	if err != nil {
		s.o.Logger.Warn("certificates changed and cannot be used; the old ones stay", "err", err)
		s.seen = seen // complain once for each change
		return old
	}
	s.seen = s.look()
	s.state.Store(fresh)
	s.o.Logger.Info("certificates loaded", "expires", fresh.config.Certificates[0].Leaf.NotAfter.UTC().
		Format(time.RFC3339))
	return fresh
}

// look is what the files are like: their times and sizes.
func (s *Source) look() string {
	files := []string{s.o.CertFile, s.o.KeyFile, s.o.ClientCAFile}
	if s.o.AutoDir != "" {
		a, b := authorityFiles(s.o.AutoDir), serverFiles(s.o.AutoDir)
		files = append(files, a.cert, a.key, b.cert, b.key)
	}
	var b strings.Builder
	for _, name := range files {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%s: missing\n", name)
			continue
		}
		fmt.Fprintf(&b, "%s: %d bytes, %d\n", name, info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}

func (s *Source) load() (*state, error) {
	st := &state{}
	var cert tls.Certificate
	var err error
	if s.o.AutoDir != "" {
		cert, st.renew, err = auto(s.o.AutoDir, s.o.Hosts, time.Now())
	} else {
		cert, err = readPair(s.o.CertFile, s.o.KeyFile)
	}
	if err != nil {
		return nil, err
	}
	// TLS 1.3, or 1.2 with the cipher suites that Go deems safe: drivers of Java 8 and old load balancers speak no newer.
	st.config = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert},
		NextProtos: []string{"h2"}}
	st.web = st.config.Clone()
	st.web.NextProtos = []string{"h2", "http/1.1"}
	if s.o.ClientCAFile == "" {
		return st, nil
	}
	if st.config.ClientCAs, err = ReadPool(s.o.ClientCAFile); err != nil {
		return nil, err
	}
	st.config.ClientAuth = tls.VerifyClientCertIfGiven
	if s.o.ClientRequired {
		st.config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return st, nil
}

// readPair reads a chain and its key.
func readPair(certFile, keyFile string) (tls.Certificate, error) {
	certText, err := readFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyText, err := readFile(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("use the certificate %s with the key %s: %w", certFile, keyFile, err)
	}
	return cert, nil
}

// ReadPool reads the authorities in a file of PEM blocks; one without any is an error.
func ReadPool(file string) (*x509.CertPool, error) {
	text, err := readFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	found := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read the certificates in %s: %w", file, err)
		}
		pool.AddCert(cert)
		found++
	}
	if found == 0 {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > fileBytesMax {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d of a file of certificates", name, info.Size(),
			fileBytesMax)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New(name + " is empty")
	}
	return text, nil
}
