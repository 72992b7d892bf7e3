package tlsconf

import (
	"crypto/tls"
	"errors"
)

// ClientOptions say whom a client believes and who it is. The zero value believes the system's authorities.
type ClientOptions struct {
	// CAFile are the authorities in PEM that are believed instead of the system's.
	CAFile string
	// CertFile and KeyFile are the client's own certificate in PEM.
	CertFile, KeyFile string
	// SkipVerify believes every server: whoever is in between can read and change everything.
	SkipVerify bool
}

// Client is the configuration of a client, nil for the zero value.
func Client(o ClientOptions) (*tls.Config, error) {
	if o == (ClientOptions{}) {
		return nil, nil
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("a client's certificate needs both --tls-cert and --tls-key")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.SkipVerify}
	var err error
	if o.CAFile != "" {
		if c.RootCAs, err = ReadPool(o.CAFile); err != nil {
			return nil, err
		}
	}
	if o.CertFile != "" {
		cert, err := readPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}
