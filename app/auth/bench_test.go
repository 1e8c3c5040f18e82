package auth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
)

// What a handshake costs in processor time, by algorithm.
func BenchmarkAuthenticate(b *testing.B) {
	ps := pairs()
	o := options()
	o.SecretFile, o.KeyFile = file(b, secret), file(b, jwks(b, ps["RS256"], ps["ES256"], ps["EdDSA"]))
	j := newJWT(b, o)
	for _, alg := range []string{"HS256", "RS256", "ES256", "EdDSA"} {
		token := ps[alg].sign(b, claims(jwt.MapClaims{"grants": []may{{"rooms": "team-*", "may": "write"}}}))
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := j.Authenticate(auth.Credentials{Token: token}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What each publish and signal costs, which ask for the rights in their room.
func BenchmarkAccess(b *testing.B) {
	worst := make([]string, 64)
	for i := range worst {
		worst[i] = fmt.Sprintf("%s*%02d*b", strings.Repeat("*a", 30), i)
	}
	for name, open := range map[string][]string{"any room": {"*"}, "a few": {"lobby", "news", "team-*", "*-eu"}, "the worst 64": worst} {
		o := options()
		o.SecretFile, o.OpenRooms = file(b, secret), open
		id, err := newJWT(b, o).Authenticate(auth.Credentials{Token: hmac.sign(b, claims(nil))})
		if err != nil {
			b.Fatal(err)
		}
		room := chat.RoomID(strings.Repeat("a", chat.MaxRoom))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				id.Rights.Access(room)
			}
		})
	}
}
