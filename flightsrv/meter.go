package flightsrv

import (
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"kalamflight/internal/tally"
)

// CallKey is what calls are counted by: the service and the method as in FlightService/DoGet, and gRPC's name of the
// status code.
type CallKey struct{ Method, Code string }

// meter counts the calls that have ended. Only methods that the server has are counted, so there are few keys. It is
// safe for concurrent use.
type meter struct {
	codes tally.Counts[CallKey]
	took  tally.Histograms[string]
}

func (m *meter) count(fullMethod string, code codes.Code, took time.Duration) {
	// The package of a service says nothing that its name does not.
	method := fullMethod[strings.LastIndexByte(fullMethod, '.')+1:]
	m.codes.Add(CallKey{method, code.String()}, 1)
	m.took.Observe(method, took)
}
