package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/internal/fault"
)

const rightPassword = "a long enough one"

// withNoor is a catalog with the user noor.
func withNoor(t *testing.T, m *memory) (*catalog.Catalog, access.Principal) {
	t.Helper()
	c := open(t, m)
	if _, err := c.CreateUser(context.Background(), newUser("noor", rightPassword), false); err != nil {
		t.Fatal(err)
	}
	u, ok := c.Snapshot().User("noor")
	if !ok {
		t.Fatal("there is no noor")
	}
	p, err := u.Principal()
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

func fail(t *testing.T, c *catalog.Catalog, name string, times int) {
	t.Helper()
	for range times {
		if _, err := c.Login(context.Background(), name, "wrong password", true); !errors.Is(err,
			fault.ErrUnauthenticated) {
			t.Fatalf("a wrong password of %s: %v", name, err)
		}
	}
}

// TestLockoutLasts: a restart does not end it, its time and UNLOCK do, and names of nobody read the same.
func TestLockoutLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		m := newMemory()
		c, noor := withNoor(t, m)
		tooMany := func(c *catalog.Catalog, name string) bool {
			_, err := c.Login(ctx, name, rightPassword, true)
			return err != nil && strings.Contains(err.Error(), "too many failed logins")
		}
		fail(t, c, "noor", 4)
		if _, err := c.Login(ctx, "noor", rightPassword, true); err != nil {
			t.Fatalf("after four failures: %v", err)
		}
		fail(t, c, "NOOR", 5)
		fail(t, c, "nobody", 5)
		if !tooMany(c, "noor") || !tooMany(c, "nobody") {
			t.Error("five failures lock nobody out")
		}
		c = open(t, m)
		if !tooMany(c, "noor") || c.LockedOut(noor.ID).IsZero() {
			t.Error("a restart ended the lockout")
		}
		time.Sleep(16 * time.Minute)
		if _, err := c.Login(ctx, "noor", rightPassword, true); err != nil {
			t.Errorf("after its time: %v", err)
		}
		if !c.LockedOut(noor.ID).IsZero() || !open(t, m).LockedOut(noor.ID).IsZero() {
			t.Error("the lockout is still there")
		}
		fail(t, c, "noor", 5)
		unlocked := false
		if err := c.AlterUser(ctx, "noor", catalog.UserChange{Locked: &unlocked}); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, m).Login(ctx, "noor", rightPassword, true); err != nil {
			t.Errorf("after UNLOCK: %v", err)
		}
		fail(t, c, "noor", 4)
		time.Sleep(16 * time.Minute)
		c.SweepLogins(time.Now())
		fail(t, c, "noor", 4)
		if _, err := c.Login(ctx, "noor", rightPassword, true); err != nil {
			t.Errorf("failures that lie far apart count together: %v", err)
		}
	})
}

// TestManyGuessesAtOnce: those who wait for their turn do not get more guesses than the lockout allows, but for those
// that run already.
func TestManyGuessesAtOnce(t *testing.T) {
	c, _ := withNoor(t, newMemory())
	var wg sync.WaitGroup
	var mu sync.Mutex
	checked := 0
	for range 100 {
		wg.Go(func() {
			_, err := c.Login(context.Background(), "noor", "wrong password", true)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && strings.Contains(err.Error(), "the password is wrong") {
				checked++
			}
		})
	}
	wg.Wait()
	if checked < 5 || checked > 8 {
		t.Errorf("%d guesses were checked, not 5 and at most 3 more", checked)
	}
}

func TestTooManyWait(t *testing.T) {
	m := newMemory()
	withNoor(t, m)
	c, err := catalog.Open(context.Background(), m, catalog.Options{PasswordKiB: 16 << 10, PasswordChecks: 1,
		PasswordWaiting: 1})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	refused := 0
	for i := range 50 {
		wg.Go(func() {
			_, err := c.Login(context.Background(), fmt.Sprintf("nobody %d", i), "wrong password", true)
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, fault.ErrExhausted) {
				refused++
			}
		})
	}
	wg.Wait()
	if refused == 0 {
		t.Error("fifty logins waited where one may")
	}
}

// TestHashesAreKeptAnew: a password that was kept for less than the options say, or by bcrypt, is kept anew at its next
// use, and tokens do not notice.
func TestHashesAreKeptAnew(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	c := open(t, m)
	bcrypted, err := bcrypt.GenerateFromPassword([]byte(rightPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	hash := string(bcrypted)
	imported := catalog.NewUser{Name: "old", Role: access.RoleUser, Password: &hash, Hashed: true}
	if _, err := c.CreateUser(ctx, imported, false); err != nil {
		t.Fatal(err)
	}
	stored := func(c *catalog.Catalog) *catalog.User { u, _ := c.Snapshot().User("old"); return u }
	for _, o := range []catalog.Options{{PasswordKiB: 64, PasswordPasses: 1}, {PasswordKiB: 128, PasswordPasses: 2}} {
		if c, err = catalog.Open(ctx, m, o); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Login(ctx, "old", "wrong password", true); err == nil {
			t.Fatal("a wrong password")
		}
		if _, err := c.Login(ctx, "old", rightPassword, true); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=1$", o.PasswordKiB, o.PasswordPasses)
		if u := stored(c); !strings.HasPrefix(u.Password, want) || u.Epoch != 0 {
			t.Errorf("kept as %.30s at epoch %d, want %s", u.Password, u.Epoch, want)
		}
	}
	before := stored(c).Password
	if c, err = catalog.Open(ctx, m, catalog.Options{PasswordKiB: 64, PasswordPasses: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Login(ctx, "old", rightPassword, true); err != nil || stored(c).Password != before {
		t.Errorf("a stronger hash was kept anew: %v", err)
	}
	for _, bad := range []catalog.Options{{PasswordKiB: 1 << 30}, {PasswordPasses: -1}, {PasswordLength: 1000}} {
		if _, err := catalog.Open(ctx, m, bad); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestTokens(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	c, noor := withNoor(t, m)
	text, made, err := c.CreateToken(ctx, catalog.NewToken{User: noor.ID, Name: "ci", By: 1})
	if err != nil || !strings.HasPrefix(text, catalog.TokenPrefix) {
		t.Fatalf("%q, %v", text, err)
	}
	for key, value := range m.kv {
		if bytes.Contains(value, []byte(text[12:40])) {
			t.Errorf("%s has the token's text", key)
		}
	}
	c = open(t, m)
	if p, until, err := c.LoginByToken(text); err != nil || p.ID != noor.ID || p.Token != made.ID || !until.IsZero() {
		t.Errorf("LoginByToken = %+v, %v, %v", p, until, err)
	}
	for i := range text {
		forged := []byte(text)
		forged[i] ^= 1
		if _, _, err := c.LoginByToken(string(forged)); !errors.Is(err, fault.ErrUnauthenticated) {
			t.Errorf("with byte %d changed: %v", i, err)
		}
	}
	for _, other := range []string{"", "kft_", text + "A", text[:len(text)-1], text + "\n"} {
		if _, _, err := c.LoginByToken(other); !errors.Is(err, fault.ErrUnauthenticated) {
			t.Errorf("%q: %v", other, err)
		}
	}
	if id, err := c.DropToken(ctx, noor.ID, "ci"); err != nil || id != made.ID {
		t.Fatalf("DropToken = %d, %v", id, err)
	}
	if _, _, err := c.LoginByToken(text); !errors.Is(err, fault.ErrUnauthenticated) {
		t.Errorf("a dropped token: %v", err)
	}
	again, made2, err := c.CreateToken(ctx, catalog.NewToken{User: noor.ID, Name: "ci", By: 1})
	if err != nil || made2.ID == made.ID || again == text {
		t.Errorf("a token of the same name: %d after %d, %v", made2.ID, made.ID, err)
	}
	for i := range 99 {
		if _, _, err := c.CreateToken(ctx, catalog.NewToken{User: noor.ID, Name: fmt.Sprint(i), By: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.CreateToken(ctx, catalog.NewToken{User: noor.ID, Name: "more"}); !errors.Is(err,
		fault.ErrExhausted) {
		t.Errorf("the 101st token: %v", err)
	}
	if err := c.DropUser(ctx, "noor"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.LoginByToken(again); !errors.Is(err, fault.ErrUnauthenticated) {
		t.Errorf("the token of a dropped user: %v", err)
	}
	if err := c.PurgeUser(ctx, noor.ID); err != nil {
		t.Fatal(err)
	}
	for key := range m.kv {
		if strings.HasPrefix(key, "token/") || strings.HasPrefix(key, "lockout/") {
			t.Errorf("%s is left of a purged user", key)
		}
	}
}

func TestTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, noor := withNoor(t, newMemory())
		text, _, err := c.CreateToken(context.Background(), catalog.NewToken{User: noor.ID, Name: "ci",
			Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		p, until, err := c.LoginByToken(text)
		if err != nil || time.Until(until) != time.Hour {
			t.Fatalf("until %v, %v", until, err)
		}
		time.Sleep(time.Hour)
		if _, _, err := c.LoginByToken(text); err == nil || !strings.Contains(err.Error(), "expired at") {
			t.Errorf("after its time: %v", err)
		}
		if _, err := c.Snapshot().Principal(p.ID, p.Token); !errors.Is(err, fault.ErrUnauthenticated) {
			t.Errorf("who came by it: %v", err)
		}
	})
}

// FuzzHash: no hash that is imported makes a check panic or cost much, and none that is refused is checked.
func FuzzHash(f *testing.F) {
	for _, s := range []string{"", "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$2a$04$/WMJcezFxH77XvL88LHUuOS1ncjGCmwzxXGUgvmq0scdkVnDvl1ti", "$argon2id$v=19$m=-1,t=0,p=999$$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, hash string) {
		if strings.Contains(hash, "m=") && !strings.Contains(hash, "m=64,t=1,p=1") || strings.HasPrefix(hash, "$2") &&
			!strings.HasPrefix(hash, "$2a$04$") {
			t.Skip("it may be slow, and allowed")
		}
		c := open(t, newMemory())
		user := catalog.NewUser{Name: "x", Role: access.RoleUser, Password: &hash, Hashed: true}
		if _, err := c.CreateUser(context.Background(), user, false); err != nil {
			return
		}
		if _, err := c.Login(context.Background(), "x", "\x00 not this", true); !errors.Is(err, fault.ErrUnauthenticated) {
			t.Errorf("%q: %v", hash, err)
		}
	})
}

// FuzzToken: no text logs in but the one that was given out.
func FuzzToken(f *testing.F) {
	f.Add("kft_AAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("kft_" + strings.Repeat("=", 60))
	f.Fuzz(func(t *testing.T, text string) {
		m := newMemory()
		c := open(t, m)
		if _, _, err := c.CreateToken(context.Background(), catalog.NewToken{User: 1, Name: "x"}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.LoginByToken(text); !errors.Is(err, fault.ErrUnauthenticated) {
			t.Errorf("%q logs in: %v", text, err)
		}
	})
}
