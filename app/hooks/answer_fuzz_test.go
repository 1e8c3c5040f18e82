package hooks_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/chatring/chatring/app/hooks"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

// answering is an application that has one answer to everything.
type answering string

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(a)))}, nil
}

// Whatever the application answers, what is published then is one JSON value on one
// line that a client might have sent, and what a client is told can be printed.
func FuzzAnswer(f *testing.F) {
	for _, answer := range []string{
		`{"allow":true}`, `{"allow":false,"message":"no"}`, `{"allow":true,"data":[1, 2]}`, `{"allow":true,"data":null}`, `{"allow":null}`, `[]`, ``,
		`{"allow":false,"message":"\u0000\ud800\u202e` + strings.Repeat("é", 200) + `"}`, "{\"allow\":true,\"data\":\"\xff\"}", `{"ALLOW":true,"allow":false}`,
	} {
		f.Add(answer)
	}
	secret := secretFile(f, secret1)
	f.Fuzz(func(t *testing.T, answer string) {
		a, err := hooks.NewAuthorizer(hooks.AuthorizerOptions{
			PublishURL: "http://app.example/", Timeout: 5e9, Concurrency: 1, MaxData: 1000, SecretFile: secret, Transport: answering(answer),
		}, &metrics.New("1111", "test").Hooks)
		if err != nil {
			t.Fatal(err)
		}
		body, err := a.AuthorizePublish(t.Context(), draft, "s1")
		if err == nil {
			if !json.Valid(body) || !utf8.Valid(body) || len(body) > 1000 || strings.ContainsAny(string(body), "\r\n") {
				t.Errorf("%q is published", body)
			}
			return
		}
		var bad *protocol.Error
		if !errors.As(err, &bad) || bad.Code != protocol.Forbidden && bad.Code != protocol.Unavailable {
			t.Fatalf("%v is no word to a client", err)
		}
		if m := bad.Message; m == "" || len(m) > 200 || !utf8.ValidString(m) || strings.ContainsFunc(m, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			t.Errorf("a client is told %q", m)
		}
	})
}
