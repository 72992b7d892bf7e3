package flightsrv

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"kalamflight/internal/fault"
)

// rates bounds how often something happens for each key: an address, a user. It is safe for concurrent use.
type rates struct {
	what string
	each rate.Limit

	mu    sync.Mutex
	byKey map[string]*rate.Limiter
}

const (
	// rateBurst is how many seconds' worth may come at once.
	rateBurst = 10
	// rateKeysMax bounds the keys that are remembered.
	rateKeysMax = 100_000
)

// newRates allows so many a second for each key, none or fewer for no bound.
func newRates(what string, each float64) *rates {
	return &rates{what: what, each: rate.Limit(each), byKey: map[string]*rate.Limiter{}}
}

// take counts one for a key, or says that it is too much.
func (r *rates) take(key string) error {
	if r.each <= 0 || key == "" {
		return nil
	}
	r.mu.Lock()
	l := r.byKey[key]
	if l == nil {
		if len(r.byKey) >= rateKeysMax {
			for other := range r.byKey { // any will do: an attacker who has so many addresses has no bound anyway
				delete(r.byKey, other)
				break
			}
		}
		l = rate.NewLimiter(r.each, max(1, int(r.each*rateBurst)))
		r.byKey[strings.Clone(key)] = l
	}
	r.mu.Unlock()
	if l.Allow() {
		return nil
	}
	return &fault.SQL{Kind: fault.ErrExhausted, Code: "53400",
		Message: fmt.Sprintf("too many %s: more than %g a second", r.what, float64(r.each)),
		Hint:    "slow down and try again"}
}

// sweep forgets keys that have been quiet.
func (r *rates) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, l := range r.byKey {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(r.byKey, key)
		}
	}
}

// addressKey is the address of host:port without the port: of IPv6 the network of 64 bits, which is what one customer
// has.
func addressKey(remote string) string {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	address := a.Addr().Unmap()
	if address.Is6() {
		if network, err := address.Prefix(64); err == nil {
			return network.String()
		}
	}
	return address.String()
}
