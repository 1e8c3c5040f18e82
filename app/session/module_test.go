package session_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// echo is a module that says what it was asked.
type echo struct{}

func (echo) Dear(verb string) bool { return verb == "shout" }

func (echo) Do(_ context.Context, by session.Caller, verb string, args []byte) (any, error) {
	switch verb {
	case "say", "shout":
		return map[string]any{"by": by.User, "verb": verb, "access": by.Rights.Access("lobby"), "args": string(args)}, nil
	case "refuse":
		return nil, &protocol.Error{Code: protocol.Conflict, Message: "no"}
	case "down":
		return nil, fmt.Errorf("store: %w: dial tcp 10.0.0.7", chat.ErrUnavailable)
	case "odd":
		return math.Inf(1), nil // which JSON cannot say
	}
	return nil, &protocol.Error{Code: protocol.UnknownCommand, Message: "say, refuse, down or odd"}
}

// A command with a dot goes to the module that it names, which knows who asks; what
// the module answers comes back under the command's id, its mistakes as errors that
// say nothing of internals.
func TestModules(t *testing.T) {
	limits := session.Limits{Outbox: 1 << 20, Modules: map[string]session.Module{"echo": echo{}}}
	play(t, limits, hub.Join{}, func(t *testing.T, s *session.Session, c *conn) {
		for _, x := range []struct{ command, want string }{
			{`{"id":1,"cmd":"echo.say","n":2}`, `{"id":1,"ok":{"access":3,"args":"{\"id\":1,\"cmd\":\"echo.say\",\"n\":2}","by":"alice","verb":"say"}}`},
			{`{"id":1,"cmd":"echo.say","n":"<&>"}`, `{"id":1,"ok":{"access":3,"args":"{\"id\":1,\"cmd\":\"echo.say\",\"n\":\"<&>\"}","by":"alice","verb":"say"}}`},
			{`{"id":2,"cmd":"echo.refuse"}`, `{"id":2,"error":{"code":"conflict","message":"no"}}`},
			{`{"id":3,"cmd":"echo.down"}`, `{"id":3,"error":{"code":"unavailable","message":"no answer from the log: try again","temporary":true,"retry_after_ms":1000}}`},
			{`{"id":4,"cmd":"echo.odd"}`, `{"id":4,"error":{"code":"internal","message":"a fault of the server"}}`},
			{`{"id":5,"cmd":"echo.sing"}`, `{"id":5,"error":{"code":"unknown_command",`},
			{`{"id":6,"cmd":"other.say"}`, `{"id":6,"error":{"code":"unknown_command","message":"no module of this name is served here"}}`},
			{`{"id":7,"cmd":"."}`, `{"id":7,"error":{"code":"unknown_command",`},
			{`{"cmd":"echo.say"}`, `{"error":{"code":"bad_request",`},
		} {
			if got := says(s, c, x.command); !strings.HasPrefix(got, x.want) {
				t.Errorf("%s: %s, want %s", x.command, got, x.want)
			}
		}
	})
}
