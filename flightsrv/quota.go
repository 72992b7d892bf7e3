package flightsrv

import (
	"fmt"
	"sync"

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
func (q *quota) take(user manifest.UserID) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	message := ""
	switch {
	case q.byUser[user] >= q.userMax:
		message = fmt.Sprintf("this user has %d %s already", q.userMax, q.what)
	case q.all >= q.max:
		message = fmt.Sprintf("there are %d %s already", q.max, q.what)
	default:
		q.all++
		q.byUser[user]++
		return nil
	}
	return &fault.SQL{Kind: fault.ErrExhausted, Code: q.sqlState, Message: message}
}

// give takes one back from the count.
func (q *quota) give(user manifest.UserID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all--
	if q.byUser[user]--; q.byUser[user] == 0 {
		delete(q.byUser, user)
	}
}

// count is how many there are.
func (q *quota) count() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.all
}
