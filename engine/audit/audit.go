// Package audit keeps the log of who did what: an append-only, hash-chained, durable file of JSON lines that says if it
// was changed. It does not decide what is written there (engine does), holds no names of people but keyed hashes of
// them, and no values of rows. FORMAT.md has the bytes.
package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Record is one line of the log. What is not known is left out.
type Record struct {
	// Seq counts the records from 1, without gaps. Time is microseconds since 1970 UTC. Both are the log's to set.
	Seq  uint64 `json:"seq"`
	Time int64  `json:"time"`
	// Kind is what was done, as CREATE USER, LOGIN or SELECT.
	Kind string `json:"kind"`
	// User is who did it and Name the Pseudonym of their name; As and AsName are for whom, when that was somebody else.
	User   manifest.UserID `json:"user,omitempty"`
	Name   string          `json:"name,omitempty"`
	As     manifest.UserID `json:"as,omitempty"`
	AsName string          `json:"as_name,omitempty"`
	// Session is the id of the session and From the address of the client.
	Session string `json:"session,omitempty"`
	From    string `json:"from,omitempty"`
	// Object is the table, namespace or thing that it was done to; Target and TargetName are the person.
	Object     string          `json:"object,omitempty"`
	Target     manifest.UserID `json:"target,omitempty"`
	TargetName string          `json:"target_name,omitempty"`
	// Rows were read or changed.
	Rows int64 `json:"rows,omitempty"`
	// Outcome is an SQLSTATE, 00000 for success. It is empty in an attempt: a record of something that is about to be
	// done. Of, in the record that tells its outcome, is the Seq of the attempt.
	Outcome string `json:"outcome,omitempty"`
	Of      uint64 `json:"of,omitempty"`
	// Prev is the SHA-256 of the line before without its newline, in hexadecimal; zeros in the first. The log's to set.
	Prev string `json:"prev"`
}

// The limits of a record.
const (
	kindBytesMax   = 64
	objectBytesMax = 512
	lineBytesMax   = 8 << 10
)

// clip bounds what came from outside.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	s = s[:n]
	for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	if r, size := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && size == 1 {
		s = s[:len(s)-1]
	}
	return s
}

func (r *Record) clip() {
	r.Kind = clip(r.Kind, kindBytesMax)
	r.Object = clip(r.Object, objectBytesMax)
	r.Session, r.From = clip(r.Session, kindBytesMax), clip(r.From, 2*kindBytesMax)
	r.Name, r.AsName, r.TargetName = clip(r.Name, kindBytesMax), clip(r.AsName, kindBytesMax), clip(r.TargetName,
		kindBytesMax)
	r.Outcome = clip(r.Outcome, kindBytesMax)
}

// hash is the link of the chain to a line.
func hash(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// start is the link of the very first record.
var start = strings.Repeat("0", 2*sha256.Size)

// parse reads a line without its newline.
func parse(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("not a record: %w: %w", err, fault.ErrCorrupt)
	}
	return r, nil
}

// Pseudonym is what stands for a person's name: a keyed hash of it, 32 hexadecimal digits, the same for names that
// differ only in case. Whoever knows the name and the data folder's secret can tell that a record is about them; once
// the person is erased nobody can find the name from it.
func (l *Log) Pseudonym(name string) string {
	if name == "" {
		return ""
	}
	mac := hmac.New(sha256.New, l.opts.Secret)
	mac.Write([]byte("kalamflight audit\x00" + strings.ToLower(name)))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// Options configures a log. Dir and Secret are required.
type Options struct {
	// Dir is the folder of the log; it is made when it is missing. One process uses it at a time, which is the caller's to
	// see to.
	Dir string
	// Secret keys the pseudonyms.
	Secret []byte
	// FileBytes ends a file; 0 means 16 MiB. KeepBytes bounds all files together, 0 means 1 GiB, and KeepFor their age, 0
	// means 400 days: the oldest files go whole, but never the newest.
	FileBytes, KeepBytes int64
	KeepFor              time.Duration
	// Delay bounds how long a record that nobody waits for stays in memory; 0 means 200 ms.
	Delay time.Duration
	// Failed hears of a write that failed; nil discards.
	Failed func(error)
}

func (o *Options) fill() error {
	if o.Dir == "" || len(o.Secret) == 0 {
		return fmt.Errorf("audit log: Dir and Secret are required: %w", fault.ErrInvalid)
	}
	if o.FileBytes == 0 {
		o.FileBytes = 16 << 20
	}
	if o.KeepBytes == 0 {
		o.KeepBytes = 1 << 30
	}
	if o.KeepFor == 0 {
		o.KeepFor = 400 * 24 * time.Hour
	}
	if o.Delay == 0 {
		o.Delay = 200 * time.Millisecond
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	return nil
}
