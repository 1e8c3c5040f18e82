package auth

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chatring/chatring/app/chat"
)

// A Signer makes tokens. Nodes do not need one.
type Signer struct {
	method jwt.SigningMethod
	key    any
}

// NewSecretSigner signs with the first secret of a file.
func NewSecretSigner(file string) (Signer, error) {
	b, err := os.ReadFile(file) // #nosec G304 -- whoever runs this names it
	if err != nil {
		return Signer{}, fmt.Errorf("secret to sign with: %w", err)
	}
	keys, err := parseSecrets(b)
	if err != nil {
		return Signer{}, fmt.Errorf("secret to sign with: %s: %w", file, err)
	}
	return Signer{jwt.SigningMethodHS256, keys[0].public}, nil
}

// NewKeySigner signs with a private key, in a PEM file.
func NewKeySigner(file string) (Signer, error) {
	b, err := os.ReadFile(file) // #nosec G304 -- whoever runs this names it
	if err != nil {
		return Signer{}, fmt.Errorf("key to sign with: %w", err)
	}
	private, err := parsePrivate(b)
	if err != nil {
		return Signer{}, fmt.Errorf("key to sign with: %s: %w", file, err)
	}
	public, err := newKey("", private.Public())
	if err != nil {
		return Signer{}, fmt.Errorf("key to sign with: %s: %w", file, err)
	}
	return Signer{jwt.GetSigningMethod(public.alg), private}, nil
}

func parsePrivate(b []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return nil, errors.New("there is no private key in it (PEM, BEGIN PRIVATE KEY)")
		}
		switch block.Type {
		case "EC PRIVATE KEY":
			return x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		case "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			if s, ok := k.(crypto.Signer); ok {
				return s, nil
			}
			return nil, fmt.Errorf("a key of type %T cannot sign", k)
		}
	}
}

// Claims are what a token says.
type Claims struct {
	User     chat.UserID
	For      time.Duration
	Service  []string // scopes of a service, whose name User is; empty: it is a user
	Issuer   string   // empty: not said
	Audience string   // empty: not said
	Grants   []Grant  // empty: not said
}

// Sign makes a token that is good from now on.
func (s Signer) Sign(c Claims) (string, error) {
	now := time.Now()
	claims := jwt.MapClaims{"sub": c.User, "iat": now.Unix(), "exp": now.Add(c.For).Unix()}
	if len(c.Service) > 0 {
		claims["service"] = c.Service
	}
	if c.Issuer != "" {
		claims["iss"] = c.Issuer
	}
	if c.Audience != "" {
		claims["aud"] = c.Audience
	}
	if len(c.Grants) > 0 {
		claims["grants"] = c.Grants
	}
	return jwt.NewWithClaims(s.method, claims).SignedString(s.key)
}

// Show returns what stands in a token, for people; nothing of it is checked.
func Show(token string) (header, claims string, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", "", fmt.Errorf("%d parts with dots between them, want 3", len(parts))
	}
	texts := [2]string{}
	for i := range texts {
		b, err := jwt.NewParser(jwt.WithStrictDecoding()).DecodeSegment(parts[i])
		if err != nil {
			return "", "", fmt.Errorf("part %d: %w", i+1, err)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, b, "", "  "); err != nil {
			return "", "", fmt.Errorf("part %d: %w", i+1, err)
		}
		texts[i] = indented.String()
	}
	return texts[0], texts[1], nil
}
