package tlsconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// How long what is made is good: the authority for ten years, a server certificate for at most what browsers and
// operating systems accept. A certificate is made again when a third of its time is left.
const (
	authorityFor = 10 * 365 * 24 * time.Hour
	serverFor    = 396 * 24 * time.Hour
	// backdated allows for clocks that are behind.
	backdated = time.Hour
)

// pair names the files of a certificate and its key.
type pair struct{ cert, key string }

func authorityFiles(dir string) pair {
	return pair{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")}
}

func serverFiles(dir string) pair {
	return pair{filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem")}
}

// auto reads the server's certificate from a folder, and makes it, and the authority that signs it, when it is missing,
// old, or not for all the hosts. renew is when it should be asked again.
func auto(dir string, hosts []string, now time.Time) (cert tls.Certificate, renew time.Time, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cert, renew, fmt.Errorf("make the folder of certificates: %w", err)
	}
	authority, err := openAuthority(authorityFiles(dir), now)
	if err != nil {
		return cert, renew, err
	}
	names := hostsOf(hosts)
	files := serverFiles(dir)
	// Nobody knows this certificate but by its authority: whatever is wrong with it, another will do.
	cert, err = readPair(files.cert, files.key)
	if err != nil || !usable(cert.Leaf, authority.leaf, names, now) {
		if cert, err = makeServer(files, authority, names, now); err != nil {
			return cert, renew, err
		}
	}
	return cert, renewAt(cert.Leaf), nil
}

// renewAt is when a third of a certificate's time is left.
func renewAt(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
}

// hostsOf are the names and addresses that a certificate should hold, in order and once each.
func hostsOf(more []string) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append(hosts, strings.ToLower(name))
	}
	for _, h := range more {
		if ip := net.ParseIP(h); ip != nil && ip.IsUnspecified() || h == "" {
			continue
		}
		hosts = append(hosts, strings.ToLower(h))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// usable tells whether a certificate is signed by the authority, is good for a while and holds every host.
func usable(c, authority *x509.Certificate, hosts []string, now time.Time) bool {
	if c.CheckSignatureFrom(authority) != nil || now.Before(c.NotBefore) || now.After(renewAt(c)) {
		return false
	}
	return !slices.ContainsFunc(hosts, func(h string) bool { return c.VerifyHostname(h) != nil })
}

// signer is an authority.
type signer struct {
	leaf *x509.Certificate
	key  *ecdsa.PrivateKey
}

// openAuthority reads the authority, or makes it when neither file is there. One that has expired is not replaced:
// clients believe in it by its file.
func openAuthority(files pair, now time.Time) (signer, error) {
	cert, err := readPair(files.cert, files.key)
	if err == nil {
		key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
		switch {
		case !ok || !cert.Leaf.IsCA:
			return signer{}, fmt.Errorf("%s is not an authority made by --tls auto", files.cert)
		case now.After(cert.Leaf.NotAfter):
			return signer{}, fmt.Errorf("the authority %s expired at %s; remove it to have another made, and give that to "+
				"the clients", files.cert, cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
		}
		return signer{cert.Leaf, key}, nil
	}
	_, certErr := os.Stat(files.cert)
	if !errors.Is(err, fs.ErrNotExist) || certErr == nil { // never make a new one beside one that clients may know
		return signer{}, fmt.Errorf("read the authority: %w", err)
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "kalamflight local authority"},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(authorityFor), IsCA: true, BasicConstraintsValid: true,
		MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	made, err := issue(files, template, signer{})
	if err != nil {
		return signer{}, fmt.Errorf("make the authority: %w", err)
	}
	return signer{made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)}, nil
}

func makeServer(files pair, authority signer, hosts []string, now time.Time) (tls.Certificate, error) {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "kalamflight"}, NotBefore: now.Add(-backdated),
		NotAfter: now.Add(serverFor), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if authority.leaf.NotAfter.Before(template.NotAfter) {
		template.NotAfter = authority.leaf.NotAfter
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	made, err := issue(files, template, authority)
	if err != nil {
		return made, fmt.Errorf("make the server's certificate: %w", err)
	}
	return made, nil
}

// issue signs a certificate with a new key and writes both to files, the chain with the authority behind. The zero
// authority lets it sign itself.
func issue(files pair, template *x509.Certificate, authority signer) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return tls.Certificate{}, err
	}
	parent, by := authority.leaf, authority.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		return tls.Certificate{}, err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if authority.leaf != nil {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.leaf.Raw})...)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyText := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	if err := writeFile(files.key, keyText, 0o600); err != nil {
		return tls.Certificate{}, err
	}
	if err := writeFile(files.cert, chain, 0o644); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(chain, keyText)
}

// writeFile replaces a file whole.
func writeFile(name string, text []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
