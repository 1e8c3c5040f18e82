package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/chatring/chatring/app/auth"
)

const secret = "0123456789abcdef0123456789abcdef"

// A pair signs tokens of one algorithm, and is told apart by its kid.
type pair struct {
	kid     string
	method  jwt.SigningMethod
	private any // []byte for HS256
}

var hmac = pair{method: jwt.SigningMethodHS256, private: []byte(secret)}

// pairs makes one key of each kind; it takes a moment, so they are made once.
var pairs = sync.OnceValue(func() map[string]pair {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]pair{
		"HS256": hmac,
		"RS256": {"rsa1", jwt.SigningMethodRS256, rsaKey},
		"ES256": {"ec1", jwt.SigningMethodES256, ecKey},
		"EdDSA": {"ed1", jwt.SigningMethodEdDSA, edKey},
	}
})

// newPair is another Ed25519 key.
func newPair(t *testing.T, kid string) pair {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pair{kid, jwt.SigningMethodEdDSA, private}
}

func (p pair) public() crypto.PublicKey { return p.private.(crypto.Signer).Public() }

func (p pair) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: p.public(), KeyID: p.kid, Use: "sig", Algorithm: p.method.Alg()}
}

func (p pair) pem(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(p.public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// sign makes a token; header are names and values beside alg and typ.
func (p pair) sign(t testing.TB, claims jwt.MapClaims, header ...any) string {
	t.Helper()
	token := jwt.NewWithClaims(p.method, claims)
	for i := 0; i+1 < len(header); i += 2 {
		token.Header[header[i].(string)] = header[i+1]
	}
	s, err := token.SignedString(p.private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// named is sign with the key's name in the header.
func (p pair) named(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	return p.sign(t, claims, "kid", p.kid)
}

// jwks is a JWKS of these keys.
func jwks(t testing.TB, pairs ...pair) string {
	t.Helper()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, p := range pairs {
		set.Keys = append(set.Keys, p.jwk())
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func file(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	write(t, name, content)
	return name
}

// options are those of a node as it comes, but for its keys.
func options() auth.Options {
	return auth.Options{
		Algorithms: []string{"HS256", "RS256", "ES256", "EdDSA"},
		Leeway:     30 * time.Second, MaxLife: 30 * 24 * time.Hour, OpenRooms: []string{"*"},
	}
}

func newJWT(t testing.TB, o auth.Options) *auth.JWT {
	t.Helper()
	j, err := auth.NewJWT(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// claims are those of a good token, but for what change says; a nil value
// takes a claim out.
func claims(change jwt.MapClaims) jwt.MapClaims {
	now := time.Now()
	c := jwt.MapClaims{"sub": "alice", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	for name, value := range change {
		c[name] = value
		if value == nil {
			delete(c, name)
		}
	}
	return c
}

// taken says whether a token is good, and fails when it is refused in another
// way than strangers may hear of.
func taken(t testing.TB, j *auth.JWT, token string) bool {
	t.Helper()
	id, err := j.Authenticate(auth.Credentials{Token: token, User: "eve"})
	if err == nil {
		if id.User != "alice" {
			t.Errorf("a token of alice makes %q", id.User)
		}
		return true
	}
	if !errors.Is(err, auth.ErrRefused) || id != (auth.Identity{}) {
		t.Errorf("%v, %v, want refused", id, err)
	}
	return false
}

// Keys that cannot be used are refused when the node starts, with the reason
// and without the secret.
func TestUnusableKeys(t *testing.T) {
	ps := pairs()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(ps["EdDSA"].private)
	if err != nil {
		t.Fatal(err)
	}
	set := func(keys ...jose.JSONWebKey) string {
		b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct{ name, secrets, keys, want string }{
		{"a short secret", secret[1:], "", "secret 1 has 31 bytes, want at least 32"},
		{"a short secret but for white space", secret[1:] + "  \n", "", "31 bytes"},
		{"a short secret behind a good one", secret + "\n" + secret[1:], "", "secret 2 has 31 bytes"},
		{"no secret", "\n \n", "", "nothing in it"},
		{"too many secrets", strings.Repeat(secret+"\n", 33), "", "33 keys, want 32"},
		{"no key", "", "hello", "neither a PEM block"},
		{"nothing", "", "\n", "neither a PEM block"},
		{"RSA of 1024 bits", "", pair{private: weak}.pem(t), "key 1: RSA with 1024 bits, want 2048"},
		{"a second key of 1024 bits", "", ps["ES256"].pem(t) + pair{private: weak}.pem(t), "key 2: RSA with 1024"},
		{"P-384", "", pair{private: p384}.pem(t), "curve P-384, want P-256"},
		{"a private key", "", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "nodes need the public one"},
		{"garbage in PEM", "", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "key 1: "},
		{"a JWKS without keys", "", `{"keys":[]}`, "nothing in it"},
		{"no JWKS", "", `{"keys":7}`, "no JWKS"},
		{"a JWKS with a secret", "", set(jose.JSONWebKey{Key: []byte(secret), KeyID: "s"}), "not public"},
		{"a JWKS with a secret and public keys", "", set(ps["RS256"].jwk(), jose.JSONWebKey{Key: []byte(secret), KeyID: "s"}), "key 2: it is not public"},
		{"a JWKS with a private key", "", set(jose.JSONWebKey{Key: ps["EdDSA"].private, KeyID: "p"}), "not public"},
		{"a key to encrypt with", "", set(jose.JSONWebKey{Key: ps["RS256"].public(), Use: "enc"}), "not for signatures"},
		{"a key of RS512", "", set(jose.JSONWebKey{Key: ps["RS256"].public(), Algorithm: "RS512"}), "RS512, which is not taken"},
		{"a public key named as one of HS256", "", set(jose.JSONWebKey{Key: ps["RS256"].public(), Algorithm: "HS256"}), "HS256, which is not taken"},
		{"a long kid", "", set(jose.JSONWebKey{Key: ps["RS256"].public(), KeyID: strings.Repeat("k", 257)}), "kid is longer"},
	} {
		o := options()
		if c.secrets != "" {
			o.SecretFile = file(t, c.secrets)
		}
		if c.keys != "" {
			o.KeyFile = file(t, c.keys)
		}
		_, err := auth.NewJWT(o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		} else if strings.Contains(err.Error(), secret[1:]) {
			t.Errorf("%s: %v shows the secret", c.name, err)
		}
	}
	for _, o := range []auth.Options{{SecretFile: filepath.Join(t.TempDir(), "none")}, {KeyFile: filepath.Join(t.TempDir(), "none")}} {
		if _, err := auth.NewJWT(o); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without a file: %v", err)
		}
	}
}

// Each kind of key verifies its tokens, from a PEM file and from a JWKS, with
// its name in the token and without; what another key signed is refused.
func TestEveryAlgorithm(t *testing.T) {
	ps := pairs()
	public := []pair{ps["RS256"], ps["ES256"], ps["EdDSA"]}
	var pemFile string
	for _, p := range public {
		pemFile += p.pem(t)
	}
	for name, keys := range map[string]string{"PEM": pemFile, "JWKS": jwks(t, public...)} {
		o := options()
		o.SecretFile, o.KeyFile = file(t, secret), file(t, keys)
		j := newJWT(t, o)
		for alg, p := range ps {
			if !taken(t, j, p.sign(t, claims(nil))) || !taken(t, j, p.named(t, claims(nil))) {
				t.Errorf("%s: a good token of %s is refused", name, alg)
			}
			token := p.named(t, claims(nil))
			cut := strings.LastIndex(token, ".") + 1
			flipped := byte('A')
			if token[cut] == flipped {
				flipped = 'B'
			}
			if taken(t, j, token[:cut]+string(flipped)+token[cut+1:]) {
				t.Errorf("%s: a forged token of %s is taken", name, alg)
			}
		}
		if stranger := newPair(t, "ed1"); taken(t, j, stranger.named(t, claims(nil))) || taken(t, j, stranger.sign(t, claims(nil))) {
			t.Errorf("%s: a token of another key is taken", name)
		}
	}
	// Only what is on the list, whatever keys there are.
	o := options()
	o.SecretFile, o.KeyFile, o.Algorithms = file(t, secret), file(t, pemFile), []string{"ES256"}
	j := newJWT(t, o)
	for alg, p := range ps {
		if got, want := taken(t, j, p.sign(t, claims(nil))), alg == "ES256"; got != want {
			t.Errorf("only ES256 may be used, and %s: taken %v, want %v", alg, got, want)
		}
	}
}

// A token that names a key is tried with that one and with those that have no
// name, and with no other.
func TestNamedKeys(t *testing.T) {
	one, two := newPair(t, "one"), newPair(t, "two")
	o := options()
	o.KeyFile = file(t, jwks(t, one, two))
	j := newJWT(t, o)
	for _, c := range []struct {
		name, token string
		ok          bool
	}{
		{"the right name", two.sign(t, claims(nil), "kid", "two"), true},
		{"the other's name", two.sign(t, claims(nil), "kid", "one"), false},
		{"a name that no key has", two.sign(t, claims(nil), "kid", "three"), false},
		{"no name", two.sign(t, claims(nil)), true},
		{"an empty name", two.sign(t, claims(nil), "kid", ""), true},
	} {
		if got := taken(t, j, c.token); got != c.ok {
			t.Errorf("%s: taken %v, want %v", c.name, got, c.ok)
		}
	}
}
