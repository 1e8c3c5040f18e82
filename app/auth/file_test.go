package auth_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chatring/chatring/app/auth"
)

// Secrets are rotated by writing the file: the new one beside the old one, and
// after a while the new one alone. No node restarts, and no token that should
// be good is refused.
func TestSecretIsRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.SecretFile = file(t, secret)
		j := newJWT(t, o)
		old := hmac.sign(t, claims(nil))
		next := strings.ToUpper(secret)
		fresh := pair{method: jwt.SigningMethodHS256, private: []byte(next)}.sign(t, claims(nil))
		for _, c := range []struct {
			content    string
			old, fresh bool
		}{
			{secret, true, false},
			{next + "\n" + secret + "\n", true, true},
			{next + "\n", false, true},
		} {
			write(t, o.SecretFile, c.content)
			time.Sleep(auth.LookAgain)
			if got := taken(t, j, old); got != c.old {
				t.Errorf("secrets %q: the old token is taken: %v, want %v", c.content, got, c.old)
			}
			if got := taken(t, j, fresh); got != c.fresh {
				t.Errorf("secrets %q: the new token is taken: %v, want %v", c.content, got, c.fresh)
			}
		}
	})
}

// Public keys are rotated the same way, also by a file that takes the other's
// place, and by a link that is turned elsewhere, as Kubernetes does.
func TestKeysAreRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPair(t, "one"), newPair(t, "two")
		dir := t.TempDir()
		o := options()
		o.KeyFile = filepath.Join(dir, "keys")
		write(t, filepath.Join(dir, "1"), jwks(t, one))
		write(t, filepath.Join(dir, "2"), jwks(t, two)) // as long as the first
		if err := os.Symlink("1", o.KeyFile); err != nil {
			t.Fatal(err)
		}
		j := newJWT(t, o)
		check := func(when string, wantOne, wantTwo bool) {
			t.Helper()
			if got := taken(t, j, one.named(t, claims(nil))); got != wantOne {
				t.Errorf("%s: the first key's token is taken: %v, want %v", when, got, wantOne)
			}
			if got := taken(t, j, two.named(t, claims(nil))); got != wantTwo {
				t.Errorf("%s: the second key's token is taken: %v, want %v", when, got, wantTwo)
			}
		}
		check("at first", true, false)
		replace := func(put func(path string) error) {
			t.Helper()
			path := filepath.Join(dir, "new")
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path, o.KeyFile); err != nil {
				t.Fatal(err)
			}
		}
		replace(func(path string) error { return os.Symlink("2", path) })
		check("before anybody looks again", true, false)
		time.Sleep(auth.LookAgain)
		check("a link elsewhere", false, true)
		replace(func(path string) error { return os.WriteFile(path, []byte(jwks(t, one, two)), 0o600) })
		time.Sleep(auth.LookAgain)
		check("a file in its place", true, true)
	})
}

// A file that is gone or cannot be read changes nothing, and is told of, once
// for each change; the next good one counts.
func TestBrokenFileChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		before := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
		defer slog.SetDefault(before)
		o := options()
		o.SecretFile = file(t, secret)
		j := newJWT(t, o)
		token := hmac.sign(t, claims(nil))
		told := func() int {
			n := strings.Count(log.String(), "level=ERROR")
			if strings.Contains(log.String(), "short and secret") {
				t.Error("the log shows a secret")
			}
			log.Reset()
			return n
		}
		write(t, o.SecretFile, "short and secret")
		for _, want := range []int{1, 0, 0} {
			time.Sleep(auth.LookAgain)
			if !taken(t, j, token) {
				t.Error("a file with a short secret took the old one away")
			}
			if got := told(); got != want {
				t.Errorf("the log has %d errors, want %d", got, want)
			}
		}
		if err := os.Remove(o.SecretFile); err != nil {
			t.Fatal(err)
		}
		time.Sleep(auth.LookAgain)
		if !taken(t, j, token) || told() != 1 {
			t.Error("a file that is gone took the secret away, or was not told of")
		}
		write(t, o.SecretFile, strings.ToUpper(secret))
		time.Sleep(auth.LookAgain)
		if taken(t, j, token) {
			t.Error("the new file is not looked at")
		}
	})
}
