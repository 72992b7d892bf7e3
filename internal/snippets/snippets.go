// Package snippets makes what is pasted into other programs to connect them to a server: code and settings with the
// address, the user and the certificates of one server. Passwords are never part of them: they come from the variable
// KALAMFLIGHT_PASSWORD or are typed.
package snippets

import (
	"bytes"
	"embed"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"text/template"

	"kalamflight/internal/fault"
)

//go:embed text/*.txt
var texts embed.FS

// Options are about the server.
type Options struct {
	// URL is grpc://HOST[:PORT] or grpc+tls://HOST[:PORT]. Required.
	URL string
	// User is whom to log in; "" for a server that lets root in without a password.
	User string
	// CAFile are the authorities that are believed; "" for those of the system.
	CAFile string
}

// Programs are what there are snippets for.
func Programs() []string {
	return []string{"pandas", "duckdb", "jdbc", "dbeaver", "grafana", "go", "rust", "npm"}
}

// server is what the texts speak of.
type server struct {
	URL, Host, Port, Address, User, CAFile string
	TLS                                    bool
}

// For is the snippet for a program.
func For(program string, o Options) (string, error) {
	if !slices.Contains(Programs(), program) {
		return "", (&fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf("there is no snippet for %q", program)}).
			WithHint("there are some for %s", strings.Join(Programs(), ", "))
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "grpc" && u.Scheme != "grpc+tls" {
		return "", &fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf("%q is no URL of a server", o.URL),
			Hint: "it is grpc://HOST:PORT, or grpc+tls://HOST:PORT with TLS"}
	}
	s := server{Host: u.Hostname(), Port: u.Port(), User: o.User, CAFile: o.CAFile, TLS: u.Scheme == "grpc+tls"}
	if s.Port == "" {
		s.Port = "8815"
	}
	s.Address = net.JoinHostPort(s.Host, s.Port)
	s.URL = u.Scheme + "://" + s.Address
	text, err := template.New(program+".txt").Funcs(template.FuncMap{"query": url.QueryEscape}).
		ParseFS(texts, "text/"+program+".txt")
	if err != nil {
		return "", fmt.Errorf("bug: snippet for %s: %w", program, err)
	}
	var b bytes.Buffer
	if err := text.Execute(&b, s); err != nil {
		return "", fmt.Errorf("bug: snippet for %s: %w", program, err)
	}
	return b.String(), nil
}
