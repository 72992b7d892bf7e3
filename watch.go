package main

import (
	"kalamflight/internal/server"
)

// watchFlags are the settings of serve for whoever watches the server.
type watchFlags struct {
	HTTPListen       string `help:"Address of the HTTP port (/metrics, /livez, /readyz), or off; 127.0.0.1 and the port after that of --listen when empty." placeholder:"HOST:PORT" env:"KALAMFLIGHT_HTTP_LISTEN" name:"http-listen"`
	MetricsTokenFile string `help:"File with the token that /metrics asks for (Authorization: Bearer); KALAMFLIGHT_METRICS_TOKEN is one." placeholder:"FILE" env:"KALAMFLIGHT_METRICS_TOKEN_FILE"`
	Profiles         bool   `help:"Serve /debug/pprof on the HTTP port, which must be loopback." env:"KALAMFLIGHT_PROFILES"`
}

// http is the port for metrics and health.
func (f *watchFlags) http() (server.HTTP, error) {
	token, err := secret(f.MetricsTokenFile, "KALAMFLIGHT_METRICS_TOKEN")
	return server.HTTP{Listen: f.HTTPListen, Token: token, Profiles: f.Profiles}, err
}
