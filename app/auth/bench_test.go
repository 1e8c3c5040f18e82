package auth_test

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chatring/chatring/app/auth"
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
