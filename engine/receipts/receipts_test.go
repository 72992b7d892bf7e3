package receipts_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamflight/engine/receipts"
	"kalamflight/internal/fault"
)

func TestReceipts(t *testing.T) {
	root := t.TempDir()
	key, dir := filepath.Join(root, "keys", "receipts.pem"), filepath.Join(root, "receipts")
	s, err := receipts.OpenSigner(key, dir)
	if err != nil {
		t.Fatal(err)
	}
	want := receipts.Receipt{ID: "17", Subject: 5, Pseudonym: "ab", Ended: 3, Files: 2, Bytes: 9, Digest: "00",
		Tables: []receipts.Table{{Name: "default.t", HotRows: 1, Rows: 2, Segments: 1}}}
	name, err := s.Sign(want)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name)
	got, err := receipts.Verify(file, nil)
	if err != nil || got.Subject != 5 || got.Tables[0] != want.Tables[0] {
		t.Fatalf("%+v, %v", got, err)
	}
	again, err := receipts.OpenSigner(key, dir)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := again.List(); err != nil || len(all) != 1 || all[0].Problem != "" {
		t.Fatalf("%+v, %v", all, err)
	}

	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole[:len(whole)-1] {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := receipts.Verify(file, nil); !errors.Is(err, fault.ErrCorrupt) {
			// A base64 text has bits that mean nothing at its end: the signature is the same then.
			if !bytes.ContainsAny(whole[i+1:i+2], "=") {
				t.Errorf("byte %d of %s changed: %+v, %v", i, whole, r, err)
			}
		}
	}
	if all, err := again.List(); err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}

	// Another key, though it has signed it well.
	other, err := receipts.OpenSigner(filepath.Join(root, "other.pem"), filepath.Join(root, "others"))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := other.Sign(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(root, "others", forged), file); err != nil {
		t.Fatal(err)
	}
	if _, err := receipts.Verify(file, nil); !errors.Is(err, fault.ErrCorrupt) ||
		!strings.Contains(err.Error(), "another key") {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(root, "others", "receipts.pub.pem"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := receipts.ParsePublic(public)
	if err != nil || len(parsed) != ed25519.PublicKeySize {
		t.Fatal(err)
	}
	if _, err := receipts.Verify(file, parsed); err != nil {
		t.Fatal(err)
	}
	if _, err := receipts.ParsePublic([]byte("no")); !errors.Is(err, fault.ErrInvalid) {
		t.Fatal(err)
	}
}
