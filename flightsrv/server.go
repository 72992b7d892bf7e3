// Package flightsrv is the wire: an Arrow Flight SQL service over an engine, with its sessions, tokens, tickets and status codes. It holds
// no rows and knows no storage; the client's side of it is in flightsrv/client.
package flightsrv
