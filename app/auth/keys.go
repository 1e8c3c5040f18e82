package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// The algorithms that a key can be for.
var (
	hs256 = jwt.SigningMethodHS256.Alg()
	rs256 = jwt.SigningMethodRS256.Alg()
	es256 = jwt.SigningMethodES256.Alg()
	edDSA = jwt.SigningMethodEdDSA.Alg()
)

// A key verifies tokens of one algorithm, which its type decides: what is
// published as an RSA key is never taken for a secret of HS256.
type key struct {
	id     string // "kid"; empty: none
	alg    string
	public any // []byte for HS256
}

const (
	minSecret = 32   // bytes; RFC 7518 §3.2: as long as the hash
	minRSA    = 2048 // bits; RFC 7518 §3.3
	maxRSA    = 4096 // bits; verifying grows with the square of it
	maxKeys   = 32   // of one source; a token without "kid" may be tried with each
)

// parseSecrets reads the secrets of HS256, one a line; white space around one
// is not part of it.
func parseSecrets(b []byte) ([]key, error) {
	var keys []key
	for line := range bytes.Lines(b) {
		secret := bytes.Clone(bytes.TrimSpace(line))
		if len(secret) == 0 {
			continue
		}
		if len(secret) < minSecret {
			return nil, fmt.Errorf("secret %d has %d bytes, want at least %d (try: openssl rand -hex 32)", len(keys)+1, len(secret), minSecret)
		}
		keys = append(keys, key{alg: hs256, public: secret})
	}
	return keys, checkCount(keys)
}

func checkCount(keys []key) error {
	if len(keys) == 0 {
		return errors.New("there is nothing in it")
	}
	if len(keys) > maxKeys {
		return fmt.Errorf("%d keys, want %d at the most", len(keys), maxKeys)
	}
	return nil
}

// parseKeys reads public keys: PEM blocks (keys or certificates), or a JWKS.
// Every one must be usable.
func parseKeys(b []byte) ([]key, error) {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		keys, unusable, err := parseJWKS(b)
		return keys, errors.Join(append(unusable, err)...)
	}
	var keys []key
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		k, err := parsePEM(block)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(keys)+1, err)
		}
		keys, b = append(keys, k), rest
	}
	if len(keys) == 0 {
		return nil, errors.New("there is neither a PEM block (BEGIN PUBLIC KEY) nor a JWKS in it")
	}
	return keys, checkCount(keys)
}

func parsePEM(block *pem.Block) (key, error) {
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = c.PublicKey
		}
	default:
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return key{}, errors.New("this is a private key: nodes need the public one (openssl pkey -in private.pem -pubout)")
		}
		return key{}, fmt.Errorf("a block %q, want PUBLIC KEY", block.Type)
	}
	if err != nil {
		return key{}, err
	}
	return newKey("", public)
}

// newKey finds the algorithm that a public key is for.
func newKey(id string, public any) (key, error) {
	if len(id) > maxKeyID {
		return key{}, fmt.Errorf("its kid is longer than %d bytes", maxKeyID)
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
			return key{}, fmt.Errorf("RSA with %d bits, want %d to %d", bits, minRSA, maxRSA)
		}
		return key{id, rs256, k}, nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return key{}, fmt.Errorf("curve %s, want P-256", k.Params().Name)
		}
		return key{id, es256, k}, nil
	case ed25519.PublicKey:
		return key{id, edDSA, k}, nil
	}
	return key{}, fmt.Errorf("a key of type %T, want RSA, P-256 or Ed25519", public)
}

// parseJWKS reads a JWK Set (RFC 7517). Those of its keys that cannot be used
// are told of and left out: issuers publish keys for other purposes, too.
func parseJWKS(b []byte) (keys []key, unusable []error, err error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, nil, fmt.Errorf("no JWKS: %w", err)
	}
	for i, raw := range set.Keys[:min(len(set.Keys), 4*maxKeys)] {
		k, err := parseJWK(raw)
		if err != nil {
			unusable = append(unusable, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		keys = append(keys, k)
	}
	return keys, unusable, checkCount(keys)
}

func parseJWK(raw []byte) (key, error) {
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(raw); err != nil {
		return key{}, err
	}
	if !k.IsPublic() {
		return key{}, errors.New("it is not public: whoever can read it can make tokens")
	}
	if k.Use != "" && k.Use != "sig" {
		return key{}, fmt.Errorf("it is for %q, not for signatures", k.Use)
	}
	found, err := newKey(k.KeyID, k.Key)
	if err == nil && !slices.Contains([]string{"", found.alg}, k.Algorithm) {
		return key{}, fmt.Errorf("it is for %s, which is not taken", k.Algorithm)
	}
	return found, err
}
