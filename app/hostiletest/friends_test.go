package hostiletest

import (
	"fmt"
	"strings"

	"github.com/chatring/chatring/app/clustertest"
)

// lonely asks for friends without end, and for what is none of its business.
func lonely(s *scene) {
	ask := func(id int, verb, user, code string) wrong {
		return wrong{fmt.Sprintf(`{"id":%d,"cmd":"friends.%s","user":"%s"}`, id, verb, user), id, code}
	}
	fails(
		ask(1, "request", s.user, "bad_request"), ask(2, "block", s.user, "bad_request"), ask(3, "request", "", "bad_request"),
		ask(4, "request", strings.Repeat("x", 129), "bad_request"), ask(5, "request", "a b", "bad_request"), ask(6, "request", `\u0000`, "bad_request"),
		ask(7, "accept", "nobody", "no_request"), ask(8, "befriend", "nobody", "unknown_command"), ask(9, "", "nobody", "unknown_command"),
		wrong{`{"id":10,"cmd":"friends.request"}`, 10, "bad_request"}, wrong{`{"id":11,"cmd":"friends.request","user":["a","b"]}`, 11, "bad_request"},
		wrong{`{"id":12,"cmd":"friends.list","state":"*"}`, 12, "bad_request"}, wrong{`{"id":13,"cmd":"friends.status","status":"offline"}`, 13, "bad_request"},
		wrong{`{"id":14,"cmd":"friends.status","status":"away"}`, 14, "not_joined"}, wrong{`{"id":15,"cmd":"enemies.list"}`, 15, "unknown_command"},
	)(s)

	blocker := s.cluster.Dial(s.cluster.Node(2), "/ws/friends?user=blocker")
	blocker.Send(`{"id":1,"cmd":"friends.block","user":%q}`, s.user)
	blocker.Reply(1)
	p := s.upgraded(s.cluster.Front())
	seen := map[string]string{}
	for _, other := range []string{"nobody", "blocker"} {
		for n, command := range []string{`request`, `request`, `list`, `accept`, `decline`, `remove`, `request`, `list`, `remove`, `block`, `unblock`} {
			f := p.Ask(n+1, `{"cmd":"friends.%s","user":%q}`, command, other)
			seen[other] += strings.ReplaceAll(fmt.Sprintf("%s: %s %+v\n", command, f.OK, f.Error), other, "X")
		}
	}
	if seen["blocker"] != seen["nobody"] {
		s.Errorf("with one who has blocked it it sees\n%s\nwith nobody\n%s", seen["blocker"], seen["nobody"])
	}

	const most, requests = 200, 600
	p.Push(joined(requests, func(n int) []byte {
		return message(fmt.Sprintf(`{"id":%d,"cmd":"friends.request","user":"nobody-%d"}`, n+1, n))
	}))
	answers := map[string]int{}
	for n := range requests {
		code := "ok"
		if f := p.Reply(n + 1); f.Error != nil {
			code = f.Error.Code
		}
		answers[code]++
	}
	if answers["ok"] != most || answers["list_full"] != requests-most {
		s.Errorf("%d requests were answered with %v, want %d ok and then list_full", requests, answers, most)
	}
	blocker.Send(`{"id":2,"cmd":"friends.list"}`)
	blocker.Wait("the list, and nothing of whom it has blocked", func(f clustertest.Frame) bool {
		if f.Push == "friend" && f.State != "blocked" || f.Push == "message" {
			s.Errorf("the blocker hears %+v", f)
		}
		return f.ID == 2
	})
}
