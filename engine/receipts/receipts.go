// Package receipts signs and verifies what an erasure leaves: a statement of what was removed and when, signed with the
// data folder's own Ed25519 key. It does not erase anything, and knows nothing of users but their number. FORMAT.md has
// the bytes.
package receipts

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Format is the version of the file that Sign writes.
const Format = 1

// fileBytesMax bounds what Verify and List read of one file.
const fileBytesMax = 16 << 20

// Receipt says what was erased. It names nobody: a person is their number and the pseudonym that the audit log has.
type Receipt struct {
	// ID is that of the job, Subject the user's number and Pseudonym what stands for their name.
	ID        string          `json:"id"`
	Subject   manifest.UserID `json:"subject"`
	Pseudonym string          `json:"pseudonym"`
	// By is the user who asked for it; 0 is the grace period's end.
	By manifest.UserID `json:"by"`
	// Dropped is when the user was dropped, Began and Ended are the erasure's; microseconds since 1970 UTC.
	Dropped int64 `json:"dropped"`
	Began   int64 `json:"began"`
	Ended   int64 `json:"ended"`
	// Tables had rows of the user.
	Tables []Table `json:"tables"`
	// Files and Bytes are those of the user's folder: segments, marks and manifests.
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	// Digest is the SHA-256 over the SHA-256 of each of these files, in the order of their names.
	Digest string `json:"digest"`
	// Exports were removed with the user.
	Exports int64 `json:"exports"`
	// Software is the program that erased.
	Software string `json:"software,omitempty"`
}

// Table is what a user had in one table when the erasure began, all versions counted.
type Table struct {
	Name string `json:"name"`
	// HotRows were in the log, Rows in segments.
	HotRows int64 `json:"hot_rows"`
	Rows    int64 `json:"rows"`
	// Segments held them.
	Segments int64 `json:"segments"`
}

// envelope is a receipt's file. The signature is over the bytes of Receipt as they stand there.
type envelope struct {
	Format    int             `json:"format"`
	Receipt   json.RawMessage `json:"receipt"`
	Key       string          `json:"key"`
	Signature string          `json:"signature"`
}

// signed is what a signature is over: it cannot be mistaken for one over anything else.
func signed(receipt []byte) []byte { return append([]byte("kalamflight receipt 1\n"), receipt...) }

// The files in a folder of receipts.
const (
	suffix     = ".receipt.json"
	publicName = "receipts.pub.pem"
)

// Signer makes receipts in a folder. It is safe for concurrent use.
type Signer struct {
	dir string
	key ed25519.PrivateKey
}

// OpenSigner reads the key at keyFile, or makes one, and leaves its public half in dir, where the receipts are.
func OpenSigner(keyFile, dir string) (*Signer, error) {
	s := &Signer{dir: dir}
	b, err := os.ReadFile(keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, s.key, err = ed25519.GenerateKey(rand.Reader); err != nil {
			return nil, fmt.Errorf("make the key of receipts: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(s.key)
		if err != nil {
			return nil, fmt.Errorf("make the key of receipts: %w", err)
		}
		if err := write(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			return nil, fmt.Errorf("write the key of receipts: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("read the key of receipts: %w", err)
	default:
		if s.key, err = parsePrivate(b); err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Base(keyFile), err)
		}
	}
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		return nil, fmt.Errorf("write the public key of receipts: %w", err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if old, err := os.ReadFile(filepath.Join(dir, publicName)); err == nil && bytes.Equal(old, public) {
		return s, nil
	}
	if err := write(filepath.Join(dir, publicName), public, 0o644); err != nil {
		return nil, fmt.Errorf("write the public key of receipts: %w", err)
	}
	return s, nil
}

func parsePrivate(b []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("no PEM block: %w", fault.ErrCorrupt)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fault.ErrCorrupt, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("not an Ed25519 key: %w", fault.ErrCorrupt)
	}
	return key, nil
}

// ParsePublic reads a public key as OpenSigner writes it: PEM.
func ParsePublic(b []byte) (ed25519.PublicKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("public key: no PEM block: %w", fault.ErrInvalid)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("public key: %w: %w", fault.ErrInvalid, err)
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("public key: not an Ed25519 key: %w", fault.ErrInvalid)
	}
	return key, nil
}

// write makes a file durable and whole, and the folder for it.
func write(path string, b []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".tmp~", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp~", path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Sign makes the receipt durable, in a file named by its ID, and returns the file's name. Signing the same erasure
// again replaces the file.
func (s *Signer) Sign(r Receipt) (string, error) {
	body, err := json.Marshal(&r)
	if err != nil {
		return "", err
	}
	public := s.key.Public().(ed25519.PublicKey)
	out, err := json.Marshal(&envelope{Format: Format, Receipt: body, Key: base64.StdEncoding.EncodeToString(public),
		Signature: base64.StdEncoding.EncodeToString(ed25519.Sign(s.key, signed(body)))})
	if err != nil {
		return "", err
	}
	name := r.ID + suffix
	if err := write(filepath.Join(s.dir, name), append(out, '\n'), 0o600); err != nil {
		return "", fmt.Errorf("write receipt %s: %w", r.ID, err)
	}
	return name, nil
}

// Stored is a receipt and its file.
type Stored struct {
	Receipt
	// File is the name of the file in the folder.
	File string
	// Problem says why the file is no receipt of this data folder; empty when it is.
	Problem string
}

// List reads the receipts of the folder, the oldest first.
func (s *Signer) List() ([]Stored, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list receipts: %w", err)
	}
	var all []Stored
	public := s.key.Public().(ed25519.PublicKey)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) || !e.Type().IsRegular() {
			continue
		}
		r, err := Verify(filepath.Join(s.dir, e.Name()), public)
		one := Stored{Receipt: r, File: e.Name()}
		if err != nil {
			one.Problem = err.Error()
		}
		all = append(all, one)
	}
	slices.SortStableFunc(all, func(a, b Stored) int { return int(a.Ended - b.Ended) })
	return all, nil
}

// Verify reads a receipt and checks its signature. key is the key that must have signed it; without one (nil) it is
// receipts.pub.pem beside the file, and when that is missing too the receipt's own key, which proves only that it was
// not changed since. A file that is no receipt or has a wrong signature is fault.ErrCorrupt.
func Verify(file string, key ed25519.PublicKey) (Receipt, error) {
	e, err := read(file)
	if err != nil {
		return Receipt{}, err
	}
	own, err := base64.StdEncoding.DecodeString(e.Key)
	if err != nil || len(own) != ed25519.PublicKeySize {
		return Receipt{}, fmt.Errorf("%s: no public key: %w", filepath.Base(file), fault.ErrCorrupt)
	}
	if key == nil {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(file), publicName))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			key = own
		case err != nil:
			return Receipt{}, err
		default:
			if key, err = ParsePublic(b); err != nil {
				return Receipt{}, err
			}
		}
	}
	if !bytes.Equal(key, own) {
		return Receipt{}, fmt.Errorf("%s: signed with another key: %w", filepath.Base(file), fault.ErrCorrupt)
	}
	signature, err := base64.StdEncoding.DecodeString(e.Signature)
	if err != nil || len(signature) != ed25519.SignatureSize || !ed25519.Verify(key, signed(e.Receipt), signature) {
		return Receipt{}, fmt.Errorf("%s: the signature is wrong: it was changed: %w", filepath.Base(file),
			fault.ErrCorrupt)
	}
	var r Receipt
	if err := json.Unmarshal(e.Receipt, &r); err != nil {
		return Receipt{}, fmt.Errorf("%s: %w: %w", filepath.Base(file), fault.ErrCorrupt, err)
	}
	return r, nil
}

func read(file string) (envelope, error) {
	info, err := os.Stat(file)
	if err != nil {
		return envelope{}, err
	}
	if info.Size() > fileBytesMax {
		return envelope{}, fmt.Errorf("%s: longer than %d bytes: %w", filepath.Base(file), fileBytesMax, fault.ErrCorrupt)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return envelope{}, err
	}
	var e envelope
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil || e.Format != Format {
		return envelope{}, fmt.Errorf("%s: not a receipt of format %d: %w", filepath.Base(file), Format, fault.ErrCorrupt)
	}
	return e, nil
}
