package flightsrv

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// quota counts what all users have together and what each has, so that no user takes everybody's share. It is safe for
// concurrent use.
type quota struct {
	// what is counted, in the plural.
	what         string
	max, userMax int64
	sqlState     string
	mu           sync.Mutex
	all          int64
	byUser       map[manifest.UserID]int64
}

func newQuota(what, sqlState string, most, userMost int64) *quota {
	return &quota{what: what, sqlState: sqlState, max: most, userMax: userMost, byUser: map[manifest.UserID]int64{}}
}

// take counts one more, or says which limit was reached.
func (q *quota) take(user manifest.UserID) error { return q.takeSome(user, 1) }

// takeSome counts n more, all or none of them.
func (q *quota) takeSome(user manifest.UserID, n int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	message := ""
	switch {
	case q.byUser[user] > q.userMax-n:
		message = fmt.Sprintf("this user has %d %s already%s", q.byUser[user], q.what, more(n, q.userMax))
	case q.all > q.max-n:
		message = fmt.Sprintf("there are %d %s already%s", q.all, q.what, more(n, q.max))
	default:
		q.all += n
		q.byUser[user] += n
		return nil
	}
	return &fault.SQL{Kind: fault.ErrExhausted, Code: q.sqlState, Message: message}
}

const (
	// quotaWait is how long takeWaiting waits, and quotaPoll how often it looks.
	quotaWait = 30 * time.Second
	quotaPoll = 10 * time.Millisecond
)

// takeWaiting is takeSome for what others give back soon: it waits for that, until ctx ends, but not for long. Who asks
// for more than a user may have gets as much as that. It returns what was taken.
func (q *quota) takeWaiting(ctx context.Context, user manifest.UserID, n int64) (int64, error) {
	n = min(n, q.userMax, q.max)
	for began := time.Now(); ; {
		err := q.takeSome(user, n)
		if err == nil {
			return n, nil
		}
		if time.Since(began) > quotaWait {
			return 0, err
		}
		select {
		case <-time.After(quotaPoll):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// more says of what is counted in bulk how much was asked for.
func more(n, most int64) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(", and %d more would pass the limit of %d", n, most)
}

// give takes one back from the count.
func (q *quota) give(user manifest.UserID) { q.giveSome(user, 1) }

// giveSome takes n back.
func (q *quota) giveSome(user manifest.UserID, n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all -= n
	if q.byUser[user] -= n; q.byUser[user] == 0 {
		delete(q.byUser, user)
	}
}

// count is how many there are.
func (q *quota) count() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.all
}
