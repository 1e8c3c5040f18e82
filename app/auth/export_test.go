package auth

import "net/http"

// What the tests of this package may see.
const (
	RefreshEvery = refreshEvery
	RefreshLeast = refreshLeast
	FetchTimeout = fetchTimeout
	LookAgain    = lookAgain
	MaxJWKS      = maxJWKS
)

// Match is match.
func Match(pattern, name string) bool { return match(pattern, name) }

// SetTransport is how keys are fetched.
func (j *JWT) SetTransport(rt http.RoundTripper) { j.remote.client.Transport = rt }

// SetMost is how many users are kept.
func (r *Revocations) SetMost(n int) { r.most = n }

// Len is how many users are kept.
func (r *Revocations) Len() int { return len(r.users) }
