package catalog

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"kalamflight/internal/fault"
)

// Options say how passwords are kept and checked.
type Options struct {
	// PasswordLength is the least number of characters of a new password; 0 means 8.
	PasswordLength int
	// PasswordPasses and PasswordKiB are the passes and the memory of argon2id; 0 means 2 and 19,456, OWASP's minimum,
	// which is about 20 ms of a core. Passwords that were kept for less are kept anew when they are used.
	PasswordPasses, PasswordKiB int
	// PasswordChecks bounds the checks at once, and so their memory; 0 means 4. PasswordWaiting bounds those that wait; 0
	// means 256.
	PasswordChecks, PasswordWaiting int
}

// The limits of what is read from a hash: a hash is imported by a dba, but nobody may ask for 100 GiB by one.
const (
	passwordBytesMax = 1024
	passesMax        = 16
	memoryKiBMax     = 1 << 20
	threadsMax       = 16
	hashBytesMax     = 256
)

func (o *Options) fill() error {
	for _, f := range []struct {
		name            string
		value           *int
		least, most, is int
	}{{"PasswordLength", &o.PasswordLength, 1, 256, 8}, {"PasswordPasses", &o.PasswordPasses, 1, passesMax, 2},
		{"PasswordKiB", &o.PasswordKiB, 8, memoryKiBMax, 19 * 1024}, {"PasswordChecks", &o.PasswordChecks, 1, 1024, 4},
		{"PasswordWaiting", &o.PasswordWaiting, 1, 1 << 20, 256}} {
		if *f.value == 0 {
			*f.value = f.is
		}
		if *f.value < f.least || *f.value > f.most {
			return fmt.Errorf("catalog options: %s is %d, not between %d and %d: %w", f.name, *f.value, f.least, f.most,
				fault.ErrInvalid)
		}
	}
	return nil
}

// argon are the parameters, the salt and the key of a hash by argon2id.
type argon struct {
	passes, kib uint32
	threads     uint8
	salt, key   []byte
}

const (
	argonKeyBytes  = 32
	argonSaltBytes = 16
)

// String is the hash as a PHC string.
func (a argon) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, a.kib, a.passes, a.threads,
		b64.EncodeToString(a.salt), b64.EncodeToString(a.key))
}

// parseArgon reads a PHC string; false when it is none, or asks for more than the limits.
func parseArgon(hash string) (argon, bool) {
	parts := strings.Split(hash, "$")
	if len(hash) > hashBytesMax || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" ||
		parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return argon{}, false
	}
	var a argon
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &a.kib, &a.passes, &a.threads); err != nil {
		return argon{}, false
	}
	var err1, err2 error
	a.salt, err1 = base64.RawStdEncoding.DecodeString(parts[4])
	a.key, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	ok := err1 == nil && err2 == nil && a.passes >= 1 && a.passes <= passesMax && a.threads >= 1 &&
		a.threads <= threadsMax && a.kib >= 8*uint32(a.threads) && a.kib <= memoryKiBMax && len(a.salt) >= 8 &&
		len(a.key) >= 16
	return a, ok
}

func (a argon) matches(password string) bool {
	got := argon2.IDKey([]byte(password), a.salt, a.passes, a.kib, a.threads, uint32(len(a.key)))
	return subtle.ConstantTimeCompare(got, a.key) == 1
}

// hash is the PHC string of a password.
func (o Options) hash(password string) string {
	a := argon{passes: uint32(o.PasswordPasses), kib: uint32(o.PasswordKiB), threads: 1,
		salt: make([]byte, argonSaltBytes)}
	rand.Read(a.salt) // never fails
	a.key = argon2.IDKey([]byte(password), a.salt, a.passes, a.kib, a.threads, argonKeyBytes)
	return a.String()
}

// decoy is a hash that no password matches, and that costs as much to check as one of ours.
func (o Options) decoy() string {
	a := argon{passes: uint32(o.PasswordPasses), kib: uint32(o.PasswordKiB), threads: 1,
		salt: make([]byte, argonSaltBytes), key: make([]byte, argonKeyBytes)}
	return a.String()
}

// weak tells whether a hash that matched should be made anew: it is bcrypt's, or costs less than the options say.
func (o Options) weak(hash string) bool {
	a, ok := parseArgon(hash)
	return !ok || int(a.passes) < o.PasswordPasses || int(a.kib) < o.PasswordKiB
}

// passwordHash is what is kept of a new password, or of a hash of one; "" for none.
func (c *Catalog) passwordHash(password *string, hashed bool) (string, error) {
	switch {
	case password == nil:
		return "", nil
	case hashed:
		return *password, checkHash(*password)
	}
	least := c.logins.o.PasswordLength
	if utf8.RuneCountInString(*password) < least || len(*password) > passwordBytesMax {
		return "", &fault.SQL{Kind: fault.ErrInvalid, Code: "22023",
			Message: fmt.Sprintf("a password has at least %d characters and at most %d bytes", least, passwordBytesMax)}
	}
	return c.logins.o.hash(*password), nil
}

func checkHash(hash string) error {
	if _, ok := parseArgon(hash); ok {
		return nil
	}
	if cost, err := bcrypt.Cost([]byte(hash)); err == nil && len(hash) == 60 && cost <= 16 {
		return nil
	}
	return &fault.SQL{Kind: fault.ErrInvalid, Code: "22023", Message: "this is no hash of a password that can be used",
		Hint: "hashes are those of argon2id ($argon2id$v=19$m=...) and of bcrypt ($2b$...), up to a cost of 16"}
}

// checkPassword compares in constant time. An unreadable hash matches nothing.
func checkPassword(hash, password string) bool {
	if len(password) > passwordBytesMax {
		return false
	}
	if strings.HasPrefix(hash, "$2") {
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	}
	a, ok := parseArgon(hash)
	return ok && a.matches(password)
}
