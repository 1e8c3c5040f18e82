package hostiletest

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	secret   = "0123456789abcdef0123456789abcdef"
	issuer   = "https://login.example"
	audience = "chat"
	keyID    = "2026"
	leeway   = time.Second
)

// An issuer's keys, and how often they were asked for.
var (
	private, _ = rsa.GenerateKey(rand.Reader, 2048)
	fetches    atomic.Int32
	strays     atomic.Int32 // requests for what only a token's header names
)

// strictSettings are those of the node that wants tokens, by a shared secret or
// by keys that an issuer publishes.
func strictSettings(t *testing.T) []string {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := http.NewServeMux()
	keys.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		_ = json.NewEncoder(w).Encode(object{"keys": []object{{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": keyID,
			"n": base64.RawURLEncoding.EncodeToString(private.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(private.E)).Bytes()),
		}}})
	})
	keys.HandleFunc("/", func(http.ResponseWriter, *http.Request) { strays.Add(1) })
	server := httptest.NewServer(keys)
	t.Cleanup(server.Close)
	strayAddress = server.URL + "/stray"
	return []string{
		"CHATRING_AUTH_MODE=jwt", "CHATRING_AUTH_SECRET_FILE=" + file, "CHATRING_AUTH_JWKS_URL=" + server.URL + "/keys",
		"CHATRING_AUTH_ISSUER=" + issuer, "CHATRING_AUTH_AUDIENCE=" + audience, "CHATRING_AUTH_LEEWAY=" + leeway.String(),
	}
}

var strayAddress string // where an attacker would have keys fetched

type object map[string]any

func encoded(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// token signs claims under a header, by HS256, whatever the header says.
func token(header, claims object, key string) string {
	signed := encoded(header) + "." + encoded(claims)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// rs256 signs claims as the issuer does.
func rs256(header, claims object) string {
	signed := encoded(header) + "." + encoded(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func rsaHeader(changes object) object {
	h := object{"alg": "RS256", "typ": "JWT", "kid": keyID}
	maps.Copy(h, changes)
	return h
}

var hs256 = object{"alg": "HS256", "typ": "JWT"}

// claims are right ones, with changes; nil takes a claim out.
func claims(changes object) object {
	c := object{"sub": "mallory", "exp": in(time.Hour), "iat": in(0), "iss": issuer, "aud": audience}
	for name, value := range changes {
		c[name] = value
		if value == nil {
			delete(c, name)
		}
	}
	return c
}

func in(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// trusted opens a socket by a token, which must be good.
func (s *scene) trusted(token string) *Peer {
	s.Helper()
	p := Connect(s.T, s.from, s.strict).Upgrade(Handshake("/ws/chat/"+s.room, nil, "Authorization: Bearer "+token), nil)
	p.Joined()
	return p
}

// untrusted shows tokens to the node that wants some, as a header and as a
// subprotocol; right ones are let in, so that it is the token that counts.
func untrusted(tokens func() map[string]string) func(*scene) {
	return func(s *scene) {
		path := "/ws/chat/" + s.room
		_ = s.trusted(token(hs256, claims(nil), secret)).Close()
		_ = s.trusted(rs256(rsaHeader(nil), claims(nil))).Close()
		for name, t := range tokens() {
			s.refuses(s.strict, name, Handshake(path, nil, "Authorization: Bearer "+t), answer{http.StatusUnauthorized, "unauthorized"})
			s.refuses(s.strict, name+", as a subprotocol", Handshake(path, nil, "Sec-WebSocket-Protocol: chatring.v1, bearer."+t), answer{http.StatusUnauthorized, "unauthorized"})
		}
	}
}

var tokens = []hostile{
	{
		id: "T01", sent: "`alg` `none`, `None`, `nOnE`, empty or missing, with and without a signature", answer: "401",
		run: untrusted(func() map[string]string {
			all := map[string]string{}
			for _, alg := range []any{"none", "None", "nOnE", "NONE", "", nil, "HS512", 5} {
				header := object{"alg": alg, "typ": "JWT"}
				if alg == nil {
					delete(header, "alg")
				}
				name := "alg " + encoded(alg)
				all[name] = encoded(header) + "." + encoded(claims(nil)) + "."
				all[name+", signed"] = token(header, claims(nil), secret)
			}
			return all
		}),
	},
	{
		id: "T02", sent: "HS256 signed with the issuer's public RSA key, as PEM, DER, or its number; RS256 without or with another signature", answer: "401",
		run: untrusted(func() map[string]string {
			der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
			if err != nil {
				panic(err)
			}
			text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
			confused := object{"alg": "HS256", "typ": "JWT", "kid": keyID}
			return map[string]string{
				"PEM": token(confused, claims(nil), text), "PEM, trimmed": token(confused, claims(nil), strings.TrimSpace(text)), "DER": token(confused, claims(nil), string(der)),
				"PKCS 1": token(confused, claims(nil), string(x509.MarshalPKCS1PublicKey(&private.PublicKey))), "the number": token(confused, claims(nil), string(private.N.Bytes())),
				"RS256 by the secret": token(rsaHeader(nil), claims(nil), secret), "RS384": rs256(rsaHeader(object{"alg": "RS384"}), claims(nil)), "PS256": rs256(rsaHeader(object{"alg": "PS256"}), claims(nil)),
			}
		}),
	},
	{id: "T03", sent: "a token that has expired, is not valid yet, was issued in the future; one that expires while connected", answer: "401; 4501", run: expiring},
	{
		id: "T04", sent: "a token without `exp`; with one that is no number", answer: "401",
		run: untrusted(func() map[string]string {
			return map[string]string{
				"none": token(hs256, claims(object{"exp": nil}), secret), "null": token(hs256, claims(object{"exp": json.RawMessage("null")}), secret),
				"a text": token(hs256, claims(object{"exp": "never"}), secret), "zero": token(hs256, claims(object{"exp": 0}), secret), "below zero": token(hs256, claims(object{"exp": -1}), secret),
			}
		}),
	},
	{
		id: "T05", sent: "`aud` that is missing, another's, beginning like ours; ours among others", answer: "401; the last is accepted",
		run: func(s *scene) {
			untrusted(func() map[string]string {
				all := map[string]string{}
				for _, aud := range []any{nil, "other", audience + "x", "", []string{}, []string{"other"}, strings.ToUpper(audience), object{audience: 1}} {
					all["aud "+encoded(aud)] = token(hs256, claims(object{"aud": aud}), secret)
				}
				return all
			})(s)
			s.trusted(token(hs256, claims(object{"aud": []string{"other", audience}}), secret))
		},
	},
	{
		id: "T06", sent: "`iss` that is missing, another's, beginning like ours, a list", answer: "401",
		run: untrusted(func() map[string]string {
			all := map[string]string{}
			for _, iss := range []any{nil, "https://evil.example", issuer + "/", issuer + ".evil.example", "", []string{issuer}} {
				all["iss "+encoded(iss)] = token(hs256, claims(object{"iss": iss}), secret)
			}
			return all
		}),
	},
	{
		id: "T07", sent: "`kid` `../../etc/passwd`, `' OR 1=1`, of 1 MiB, no text", answer: "401; a header that long is 431",
		run: func(s *scene) {
			untrusted(func() map[string]string {
				all := map[string]string{}
				for _, kid := range []any{"../../etc/passwd", "/dev/null", "' OR 1=1", "file:///etc/passwd", 7, []string{keyID}, strings.Repeat("k", 4<<10)} {
					all[fmt.Sprintf("kid %.40v", kid)] = rs256(rsaHeader(object{"kid": kid}), claims(nil))
				}
				return all
			})(s)
			long := rs256(rsaHeader(object{"kid": strings.Repeat("k", 1<<20)}), claims(nil))
			s.refuses(s.strict, "a kid of 1 MiB", Handshake("/ws/chat/"+s.room, nil, "Authorization: Bearer "+long), answer{status: 431})
		},
	},
	{
		id: "T08", sent: "`jku`, `x5u`, `jwk`, `x5c` in a token's header, and a key that it brings along", answer: "401, and nothing is asked of that address",
		run: func(s *scene) {
			untrusted(func() map[string]string {
				own := object{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString([]byte("mallory's own"))}
				all := map[string]string{}
				for name, value := range map[string]any{"jku": strayAddress, "x5u": strayAddress, "jwk": own, "x5c": []string{"MIIB"}} {
					all[name] = token(object{"alg": "HS256", "typ": "JWT", name: value}, claims(nil), "mallory's own")
				}
				return all
			})(s)
			if n := strays.Load(); n != 0 {
				s.Errorf("the node has asked for what a token names %d times", n)
			}
		},
	},
	{
		id: "T09", sent: "300 tokens with 300 unknown `kid`s", answer: "401, and the issuer's keys are asked for at most once a minute",
		run: func(s *scene) {
			before := fetches.Load()
			for n := range 300 {
				t := rs256(rsaHeader(object{"kid": fmt.Sprint("unknown", n)}), claims(nil))
				s.refuses(s.strict, "an unknown kid", Handshake("/ws/chat/"+s.room, nil, "Authorization: Bearer "+t), answer{http.StatusUnauthorized, "unauthorized"})
			}
			if n := fetches.Load() - before; n > 2 {
				s.Errorf("300 unknown keys were asked for %d times", n)
			}
		},
	},
	{id: "T10", sent: "a token by a key that was rotated out, while both are published and after", answer: "accepted while both are published; 401 after", elsewhere: "`TestRemoteKeysAreRotated`, `TestKeysAreRotated`, `TestSecretIsRotated`"},
	{
		id: "T11", sent: "`sub` that is missing, empty, of 10 KiB, with a line break, a space, no text", answer: "401",
		run: untrusted(func() map[string]string {
			all := map[string]string{}
			for name, sub := range map[string]any{"none": nil, "empty": "", "10 KiB": strings.Repeat("a", 10<<10), "a line break": "a\nb", "a space": "a b", "NUL": "a\x00", "a number": 7, "a list": []string{"a"}} {
				all[name] = token(hs256, claims(object{"sub": sub}), secret)
			}
			return all
		}),
	},
	{id: "T12", sent: "a token for one room used for another, to write where it may only watch, and another user's to renew it", answer: "403 `forbidden` by address, `forbidden` by command", run: granted},
	{
		id: "T13", sent: "a token in the query, of 8 KiB too", answer: "401: tokens in addresses are not looked at, and no log has them. A token is no ticket, and may be shown again until it expires",
		run: func(s *scene) {
			path := "/ws/chat/" + s.room
			good := token(hs256, claims(nil), secret)
			for _, name := range []string{"token", "access_token", "bearer", "user"} {
				s.refuses(s.strict, "?"+name, Handshake(path+"?"+name+"="+good, nil), answer{401, "unauthorized"})
			}
			s.refuses(s.cluster.Front(), "8 KiB", Handshake(path+"?token="+strings.Repeat(good, 8<<10/len(good)), nil), answer{401, "unauthorized"})
			eventually(s, "HAProxy has logged it", func() bool { return strings.Contains(s.cluster.Log("haproxy"), s.room) })
			if strings.Contains(s.cluster.Log("haproxy"), good) {
				s.Error("the token stands in HAProxy's log")
			}
		},
	},
	{
		id: "T14", sent: "a token with another signature, key, encoding, number of parts, or something behind it", answer: "401",
		run: untrusted(func() map[string]string {
			good := token(hs256, claims(nil), secret)
			head, rest, _ := strings.Cut(good, ".")
			body, signature, _ := strings.Cut(rest, ".")
			return map[string]string{
				"another key": token(hs256, claims(nil), secret[1:]), "no signature": head + "." + body + ".", "two parts": head + "." + body, "four parts": good + ".x", "dots": "...",
				"padded": good + "=", "something behind": good + "x", "another body": head + "." + encoded(claims(object{"sub": "admin"})) + "." + signature,
				"a part twice": head + "." + body + "." + signature + "." + signature, "an empty key": token(hs256, claims(nil), ""), "no JSON": "e30.e30.e30",
			}
		}),
	},
	{id: "T15", sent: "sockets of a user who logs out everywhere, on every node, and the token afterwards", answer: "4502 on all nodes at once; 401; a token issued since is good, and others stay", run: loggedOut},
}

func expiring(s *scene) {
	untrusted(func() map[string]string {
		return map[string]string{
			"expired": token(hs256, claims(object{"exp": in(-time.Minute)}), secret), "not yet": token(hs256, claims(object{"nbf": in(time.Minute)}), secret),
			"from the future": token(hs256, claims(object{"iat": in(time.Minute)}), secret), "for ever": token(hs256, claims(object{"exp": in(100 * 365 * 24 * time.Hour)}), secret),
		}
	})(s)
	p := s.trusted(token(hs256, claims(object{"exp": in(3 * time.Second)}), secret))
	if code := p.Ends(); code != 4501 {
		s.Errorf("when the token expires the socket is closed with %d, want 4501", code)
	}
}

func granted(s *scene) {
	rights := claims(object{"grants": []object{{"rooms": s.room, "may": "write"}, {"rooms": "seen-*", "may": "watch"}}})
	good := token(hs256, rights, secret)
	for _, room := range []string{"other", "seen-1", s.room + "x"} {
		s.refuses(s.strict, room, Handshake("/ws/chat/"+room, nil, "Authorization: Bearer "+good), answer{http.StatusForbidden, "forbidden"})
	}
	p := s.trusted(good)
	for id, command := range []string{`{"cmd":"join","room":"other"}`, `{"cmd":"join","room":"seen-1"}`, `{"cmd":"auth","token":"` + token(hs256, claims(object{"sub": "alice"}), secret) + `"}`} {
		if f := p.Ask(id+1, "%s", command); f.Error == nil || f.Error.Code != "forbidden" {
			s.Errorf("%.40s: %s %+v, want forbidden", command, f.OK, f.Error)
		}
	}
	w := Connect(s.T, s.from, s.strict).Upgrade(Handshake("/ws/watch/seen-1", nil, "Authorization: Bearer "+good), nil)
	w.Joined()
	if f := w.Ask(1, `{"cmd":"publish","room":"seen-1","data":1}`); f.Error == nil || f.Error.Code != "forbidden" {
		s.Errorf("a watcher's publish: %s %+v, want forbidden", f.OK, f.Error)
	}
}

func loggedOut(s *scene) {
	old := token(hs256, claims(object{"sub": s.user}), secret)
	sockets := map[string]*Peer{
		"HAProxy": s.upgraded(s.cluster.Front()), "node 1": s.upgraded(s.cluster.Node(1)), "node 2": s.upgraded(s.cluster.Node(2)), "the strict node": s.trusted(old),
	}
	bystander := s.trusted(token(hs256, claims(object{"sub": "bystander"}), secret))
	began := time.Now()
	resp, err := http.Post("http://"+s.cluster.Ops(2)+"/users/"+s.user+"/logout", "", nil)
	if err != nil {
		s.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.Fatalf("the log-out is answered with %s", resp.Status)
	}
	for where, p := range sockets {
		if code := p.Ends(); code != 4502 {
			s.Errorf("%s: closed with %d, want 4502", where, code)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		s.Errorf("the sockets were closed after %v", took)
	}
	s.refuses(s.strict, "the old token", Handshake("/ws/chat/"+s.room, nil, "Authorization: Bearer "+old), answer{http.StatusUnauthorized, "unauthorized"})
	if f := bystander.Ask(1, `{"cmd":"presence","room":%q}`, s.room); f.Error != nil {
		s.Errorf("a bystander is answered with %+v", f.Error)
	}
	eventually(s, "a token of the next second is good", func() bool {
		p := Connect(s.T, s.from, s.strict)
		p.Send([]byte(Handshake("/ws/chat/"+s.room, nil, "Authorization: Bearer "+token(hs256, claims(object{"sub": s.user}), secret))))
		resp, _, err := p.Answer()
		return err == nil && resp.StatusCode == http.StatusSwitchingProtocols
	})
}
