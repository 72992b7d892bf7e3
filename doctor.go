package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"kalamflight/engine/audit"
	"kalamflight/engine/receipts"
)

// doctorAudit follows the chain of an audit log.
type doctorAudit struct {
	DataDir string `arg:"" help:"Data folder, or its folder audit." default:"kalamflight-data" placeholder:"DIR"`
}

// Run verifies the chain; a broken one is an error.
func (c *doctorAudit) Run() error {
	dir := filepath.Join(c.DataDir, "audit")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		dir = c.DataDir
	}
	report, err := audit.Verify(dir)
	if err != nil {
		return err
	}
	if report.Broken != nil {
		return report.Broken
	}
	fmt.Printf("the audit log is whole: %d records in %d files, %d to %d\nhead: %s\n", report.Records, report.Files,
		report.First, report.Last, report.Head)
	return nil
}

// doctorReceipt checks a signature.
type doctorReceipt struct {
	File string `arg:"" help:"The receipt; they are in the folder receipts of the data folder." placeholder:"FILE"`
	Key  string `help:"File with the public key that must have signed it; receipts.pub.pem beside the receipt when empty." placeholder:"FILE"`
}

// Run verifies the signature and says what was erased.
func (c *doctorReceipt) Run() error {
	var key ed25519.PublicKey
	if c.Key != "" {
		b, err := os.ReadFile(c.Key)
		if err != nil {
			return err
		}
		if key, err = receipts.ParsePublic(b); err != nil {
			return err
		}
	}
	r, err := receipts.Verify(c.File, key)
	if err != nil {
		return err
	}
	at := func(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339) }
	fmt.Printf("the receipt is genuine: user %d (%s) was dropped at %s and erased at %s\n", r.Subject, r.Pseudonym,
		at(r.Dropped), at(r.Ended))
	for _, t := range r.Tables {
		fmt.Printf("  %s: %d rows in %d segments, %d rows in the log\n", t.Name, t.Rows, t.Segments, t.HotRows)
	}
	fmt.Printf("  %d files of %d bytes, %d exports\n", r.Files, r.Bytes, r.Exports)
	return nil
}
