package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Options say which tokens are good.
type Options struct {
	SecretFile string // shared secrets (HS256), one a line
	KeyFile    string // public keys, PEM or a JWKS (RS256, ES256, EdDSA)
	JWKSURL    string // the same as a JWKS, fetched and fetched again
	Algorithms []string

	Issuer   string // what "iss" must be; empty: not looked at
	Audience string // what "aud" must be or contain; empty: not looked at
	Leeway   time.Duration
	MaxLife  time.Duration // longest time from "iat" to "exp"

	OpenRooms []string // patterns of the rooms that a token without "grants" may write
}

// Bounds of what a stranger may make a node look at.
const (
	maxToken = 8 << 10 // bytes
	maxKeyID = 256     // bytes
)

// JWT trusts signed tokens (RFC 7519, and RFC 8725 for the checks): which key
// may verify a token is decided by the key's type, never by the token alone.
//
// The files are read again when they change, at most a few seconds later.
type JWT struct {
	opts   Options
	parser *jwt.Parser
	files  []*keyFile
	remote *remoteKeys // nil: none
	open   grants
}

// NewJWT reads the files. Keys that are fetched come with Run or Fetch.
func NewJWT(o Options) (*JWT, error) {
	open, err := openRooms(o.OpenRooms)
	if err != nil {
		return nil, fmt.Errorf("auth.open_rooms: %w", err)
	}
	j := &JWT{opts: o, open: open}
	for _, f := range []struct {
		path  string
		parse func([]byte) ([]key, error)
	}{{o.SecretFile, parseSecrets}, {o.KeyFile, parseKeys}} {
		if f.path == "" {
			continue
		}
		file, err := openKeyFile(f.path, f.parse)
		if err != nil {
			return nil, err
		}
		j.files = append(j.files, file)
	}
	if o.JWKSURL != "" {
		j.remote = newRemoteKeys(o.JWKSURL)
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(o.Algorithms),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(o.Leeway),
		jwt.WithStrictDecoding(),
	}
	if o.Issuer != "" {
		options = append(options, jwt.WithIssuer(o.Issuer))
	}
	if o.Audience != "" {
		options = append(options, jwt.WithAudience(o.Audience))
	}
	j.parser = jwt.NewParser(options...)
	return j, nil
}

// Authenticate checks a token. A client is not told what is wrong with it,
// beyond whether it has expired; the log is, at level debug.
func (j *JWT) Authenticate(c Credentials) (Identity, error) {
	if c.Token == "" {
		return Identity{}, fmt.Errorf("%w: a token is needed", ErrRefused)
	}
	id, err := j.Check(c.Token)
	if err == nil {
		return id, nil
	}
	slog.Debug("token refused", "why", err)
	switch {
	case errors.Is(err, ErrUnavailable):
		return Identity{}, ErrUnavailable
	case errors.Is(err, jwt.ErrTokenExpired):
		return Identity{}, fmt.Errorf("%w: the token has expired", ErrRefused)
	}
	return Identity{}, fmt.Errorf("%w: the token is not valid", ErrRefused)
}

// Check is Authenticate for operators: its errors say what is wrong.
func (j *JWT) Check(token string) (Identity, error) {
	if len(token) > maxToken {
		return Identity{}, fmt.Errorf("longer than %d bytes", maxToken)
	}
	if strings.ContainsAny(token, "\r\n") { // which decoding would skip, so that one token had many spellings
		return Identity{}, errors.New("a line break in it")
	}
	claims := jwt.MapClaims{} // a map, because a struct would take "SUB" for "sub"
	if _, err := j.parser.ParseWithClaims(token, claims, j.keysFor); err != nil {
		return Identity{}, err
	}
	return j.identity(claims)
}

// identity reads claims that have been checked but for their meaning to us.
func (j *JWT) identity(claims jwt.MapClaims) (Identity, error) {
	var id Identity
	var err error
	sub, _ := claims.GetSubject() // no text: empty, and no user
	if claim, ok := claims["service"]; ok {
		if id.Service, err = parseService(claim); err != nil {
			return Identity{}, fmt.Errorf("service: %w", err)
		}
		id.User, err = ServiceUser(sub)
	} else {
		id.User, err = ParseUser(sub)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("sub: %w", err)
	}
	expires, err := claims.GetExpirationTime()
	if err != nil {
		return Identity{}, err
	}
	id.Expires, id.Rights = expires.Add(j.opts.Leeway), j.open
	begins := time.Now()
	if issued, _ := claims.GetIssuedAt(); issued != nil {
		id.Issued, begins = issued.Time, issued.Time
	}
	if life := expires.Sub(begins); life > j.opts.MaxLife {
		return Identity{}, fmt.Errorf("valid for %v, and auth.max_life is %v", life.Round(time.Second), j.opts.MaxLife)
	}
	if claim, ok := claims["grants"]; ok {
		if id.Rights, err = parseGrants(claim); err != nil {
			return Identity{}, fmt.Errorf("grants: %w", err)
		}
	}
	return id, nil
}

// keysFor returns the keys that may verify a token: those of its algorithm that
// bear the name in its header, or no name; without a name there, all of its
// algorithm. Nothing else of the header is followed (jku, x5u, jwk …).
func (j *JWT) keysFor(token *jwt.Token) (any, error) {
	if _, ok := token.Header["crit"]; ok { // RFC 7515 §4.1.11: understand it or refuse
		return nil, errors.New("the header crit is not understood")
	}
	id := ""
	if kid, ok := token.Header["kid"]; ok {
		if id, ok = kid.(string); !ok || len(id) > maxKeyID {
			return nil, fmt.Errorf("kid is no text of up to %d bytes", maxKeyID)
		}
	}
	alg := token.Method.Alg()
	keys := j.keys()
	known := func(k key) bool { return k.alg == alg && (id == "" || k.id == id) }
	if j.remote != nil && alg != hs256 && !slices.ContainsFunc(keys, known) {
		j.remote.refresh()
		keys = j.keys()
	}
	set := jwt.VerificationKeySet{}
	for _, k := range keys {
		if known(k) || k.alg == alg && k.id == "" {
			set.Keys = append(set.Keys, k.public)
		}
	}
	if len(set.Keys) > 0 {
		return set, nil
	}
	if j.remote != nil && alg != hs256 && j.remote.keys() == nil {
		return nil, ErrUnavailable
	}
	return nil, fmt.Errorf("no key for alg %s and kid %q", alg, id)
}

// keys are all that may verify a token now.
func (j *JWT) keys() []key {
	var all []key
	for _, f := range j.files {
		all = append(all, f.keys()...)
	}
	if j.remote != nil {
		all = append(all, j.remote.keys()...)
	}
	return all
}
