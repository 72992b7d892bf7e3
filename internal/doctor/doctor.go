// Package doctor examines a data folder that no server has open, and a server that runs. It reads everything and
// changes nothing. What it finds are checks with a status and, where something is wrong, what to do.
package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Status is how a check ended.
type Status string

// The statuses, from good to bad. A check that could not be made is skipped.
const (
	OK      Status = "ok"
	Skipped Status = "skipped"
	Warned  Status = "warning"
	Failed  Status = "failed"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Found is what was seen, in a few words; Hint is what to do, when there is something to do.
	Found string `json:"found"`
	Hint  string `json:"hint,omitempty"`
}

// Report are the checks in the order in which they were made. It is for one goroutine.
type Report struct {
	Checks []Check `json:"checks"`
}

func (r *Report) add(name string, s Status, hint, format string, args ...any) {
	r.Checks = append(r.Checks, Check{Name: name, Status: s, Found: fmt.Sprintf(format, args...), Hint: hint})
}

// Failed tells whether a check has failed.
func (r *Report) Failed() bool { return r.count(Failed) > 0 }

func (r *Report) count(s Status) (n int) {
	for _, c := range r.Checks {
		if c.Status == s {
			n++
		}
	}
	return n
}

// JSON writes the report as one JSON object.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		OK bool `json:"ok"`
		*Report
	}{!r.Failed(), r})
}

// Text writes the report for people: a line for each check, and what to do below it.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%-8s %-12s %s\n", c.Status, c.Name, c.Found)
		if c.Hint != "" {
			fmt.Fprintf(&b, "%-21s hint: %s\n", "", c.Hint)
		}
	}
	fmt.Fprintf(&b, "%d checks: %d failed, %d warnings, %d skipped\n", len(r.Checks), r.count(Failed), r.count(Warned),
		r.count(Skipped))
	_, err := io.WriteString(w, b.String())
	return err
}
