package gateway

import (
	"testing"

	"github.com/chatring/chatring/app/auth"
)

// What finds streams holds those that live, and nothing of those that have gone or show
// something else by now.
func TestStreamsFindTheLiving(t *testing.T) {
	var all streams
	alice := &user{id: "alice"}
	open := func(token string) *stream {
		s := &stream{conn: conn{user: alice}, name: "0123456789abcdef", opening: auth.Credentials{Token: token}}
		all.add(s)
		return s
	}
	found := func(token string) *stream { return all.byShown("0123456789abcdef", auth.Credentials{Token: token}) }

	first := open("a")
	all.show(first, auth.Credentials{Token: "b"})
	if found("a") != nil || found("b") != first || all.of("alice", first.name) != first || all.of("bob", first.name) != nil {
		t.Error("a stream is not found by what was shown last alone")
	}
	second := open("b")
	all.show(first, auth.Credentials{Token: "c"}) // it has been replaced meanwhile
	all.remove(first)
	if found("b") != second || found("c") != nil || all.of("alice", first.name) != second {
		t.Error("what becomes of a stream that was replaced changes what is found of the other")
	}
	all.remove(second)
	if len(all.named) != 0 || len(all.shown) != 0 {
		t.Errorf("%d and %d are left of streams that have gone", len(all.named), len(all.shown))
	}
}
