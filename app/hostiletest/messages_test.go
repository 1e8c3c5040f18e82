package hostiletest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chatring/chatring/app/clustertest"
)

// A wrong is a text frame that fails, and the error that answers it.
type wrong struct {
	send string // %q is the case's room
	id   int    // that the reply names; 0 when none could be read
	code string
}

// fails sends each on one socket, through HAProxy, with a right command behind
// it: the socket stays.
func fails(all ...wrong) func(*scene) {
	return func(s *scene) {
		p := s.upgraded(s.cluster.Front())
		for n, w := range all {
			p.Send(message(strings.ReplaceAll(w.send, "%q", `"`+s.room+`"`)))
			f := p.Reply(w.id)
			if f.Error == nil || f.Error.Code != w.code || f.Error.Message == "" || f.Error.Temporary {
				s.Errorf("%.80s: %s %+v, want %s", w.send, f.OK, f.Error, w.code)
			} else if word := Telling(f.Error.Message); word != "" {
				s.Errorf("%.80s: %q names internals", w.send, f.Error.Message)
			}
			if f := p.Ask(1000+n, `{"cmd":"signal","room":%q,"data":1}`, s.room); f.Error != nil {
				s.Errorf("after %.80s a signal fails: %+v", w.send, f.Error)
			}
		}
	}
}

// rooms are names that no room can have.
func badRooms(names ...string) func(*scene) {
	return func(s *scene) {
		var all []wrong
		for n, name := range names {
			quoted, _ := json.Marshal(name)
			for c, command := range []string{`"join"`, `"publish","data":1`, `"history"`, `"presence"`, `"signal","data":1`, `"leave"`} {
				id := 10*n + c + 1
				all = append(all, wrong{fmt.Sprintf(`{"id":%d,"cmd":%s,"room":%s}`, id, command, quoted), id, "bad_room"})
			}
			s.refuses(s.cluster.Front(), fmt.Sprintf("%q in the address", name), Handshake("/ws/chat/"+url.PathEscape(name)+"?user=mallory", nil), answer{400, "bad_room"})
		}
		fails(all...)(s)
	}
}

var messages = []hostile{
	{
		id: "M01", sent: "text that is no JSON; `[]`, `null`, two objects; 1e400 for a number; nesting of 33 and of 8,000; then three in a row", answer: "`bad_request` each, and 1008 after the third in a row. Of a key that stands twice the last counts",
		run: func(s *scene) {
			fails(
				wrong{"nonsense", 0, "bad_request"}, wrong{"", 0, "bad_request"}, wrong{"[]", 0, "bad_request"}, wrong{"null", 0, "bad_request"},
				wrong{`"publish"`, 0, "bad_request"}, wrong{"1", 0, "bad_request"}, wrong{`{"id":1,"cmd":"leave","room":%q}{}`, 0, "bad_request"},
				wrong{`{"id":1e400,"cmd":"leave","room":%q}`, 0, "bad_request"}, wrong{`{"id":3,"cmd":"history","room":%q,"limit":1e400}`, 3, "bad_request"},
				wrong{`{"id":4,"cmd":"publish","room":%q,"data":` + nested(33) + `}`, 4, "bad_request"},
				wrong{`{"id":5,"cmd":"publish","room":%q,"data":` + nested(8000) + `}`, 5, "bad_request"},
				wrong{nested(8000), 0, "bad_request"}, wrong{strings.Repeat("[", maxMessage), 0, "bad_request"}, wrong{`{"id":6,"cmd":"publish","room":%q,"data":nan}`, 0, "bad_request"},
				wrong{`{"id":7,"cmd":"join","cmd":"nonsense","room":%q}`, 7, "unknown_command"},
			)(s)
			ends(bad{"three in a row", bytes.Repeat(message("nonsense"), 3), 1008})(s)
		},
	},
	{
		id: "M02", sent: "an unknown command; no command; an id that is missing, 0, negative, a fraction, a text, beyond 2^64; fields of other types", answer: "`unknown_command` or `bad_request`",
		run: fails(
			wrong{`{"id":1,"cmd":"FLUSHALL","room":%q}`, 1, "unknown_command"}, wrong{`{"id":2,"cmd":"Publish","room":%q,"data":1}`, 2, "unknown_command"}, wrong{`{"id":3}`, 3, "bad_request"},
			wrong{`{"cmd":"leave","room":%q}`, 0, "bad_request"}, wrong{`{"id":0,"cmd":"leave","room":%q}`, 0, "bad_request"}, wrong{`{"id":-1,"cmd":"leave","room":%q}`, 0, "bad_request"},
			wrong{`{"id":1.5,"cmd":"leave","room":%q}`, 0, "bad_request"}, wrong{`{"id":"1","cmd":"leave","room":%q}`, 0, "bad_request"}, wrong{`{"id":18446744073709551616,"cmd":"leave","room":%q}`, 0, "bad_request"},
			wrong{`{"id":4,"cmd":7,"room":%q}`, 4, "bad_request"}, wrong{`{"id":5,"cmd":"leave","room":["a"]}`, 5, "bad_request"}, wrong{`{"id":6,"cmd":"publish","room":%q}`, 6, "bad_request"},
			wrong{`{"id":7,"cmd":"publish","room":%q,"key":{},"data":1}`, 7, "bad_request"}, wrong{`{"id":8,"cmd":"publish","room":%q,"key":"","data":1}`, 8, "bad_key"},
			wrong{`{"id":9,"cmd":"publish","room":%q,"key":"a\r\nb","data":1}`, 9, "bad_key"}, wrong{`{"id":10,"cmd":"publish","room":%q,"key":"` + strings.Repeat("k", 65) + `","data":1}`, 10, "bad_key"},
		),
	},
	{
		id: "M03", sent: "rooms `a\\r\\nSET x 1`, `a b`, `../x`, `{a}{b}`, `chat:*`, nothing, 65 letters, an emoji, right-to-left text, NUL; by command and by address", answer: "`bad_room`",
		run: badRooms("a\r\nSET x 1", "a b", "../x", "{a}{b}", "chat:*", "", strings.Repeat("a", 65), "\U0001F600", "שלום", "a\x00b", "a\nb", "-a", ".", "..", "_a", "a%2fb", "a\u0301", "Ａ", "a\u202eb"),
	},
	{
		id: "M04", sent: "rooms named like keys and channels inside: `chatring:{lobby}:log`, `node:1111:1`, `__probe`, `presence:lobby`, `@mallory+`", answer: "`bad_room`",
		run: badRooms("chatring:{lobby}:log", "{lobby}:keys", "node:1111:1", "__probe", "presence:lobby", "@mallory+", "lobby:log", "__keyspace@0__:lobby"),
	},
	{id: "M05", sent: "a message under the same key again: on the same socket, by two nodes at once, after a new connection", answer: "the same position each time, and members hear it once", run: sentAgain},
	{
		id: "M06", sent: "another text under a key that was used", answer: "`conflict`; the first stays",
		run: func(s *scene) {
			p := s.upgraded(s.cluster.Front())
			p.Ask(1, `{"cmd":"publish","room":%q,"key":"k","data":"first"}`, s.room)
			if f := s.upgraded(s.cluster.Node(2)).Ask(1, `{"cmd":"publish","room":%q,"key":"k","data":"second"}`, s.room); f.Error == nil || f.Error.Code != "conflict" {
				s.Errorf("the second is answered with %s %+v, want conflict", f.OK, f.Error)
			}
			if f := p.Ask(2, `{"cmd":"history","room":%q}`, s.room); !bytes.Contains(f.OK, []byte("first")) || bytes.Contains(f.OK, []byte("second")) {
				s.Errorf("the log has %s, want the first", f.OK)
			}
		},
	},
	{id: "M07", sent: "since 0-0, -1, 2^64, a future position, another epoch, odd spellings", answer: "everything; `bad_position` for what is no position; `recovered: false` for one that the room does not have", run: resumed},
	{id: "M08", sent: "history with limits of 10^9, 10^19, 0, -1; both ends at once", answer: "256 messages at the most; `bad_request`", run: historyLimits},
	{
		id: "M09", sent: "every command to a room that is not joined, to somebody's inbox, to a direct room of others in which something was said, and to one in which nothing was", answer: "`not_joined`; `forbidden`, or what it is everywhere: the same for both",
		run: foreign,
	},
	{id: "M10", sent: "1,000 messages at once by one user on 10 sockets; 20,000 by one socket that does not heed the answers", answer: "`rate_limited` with `retry_after_ms`, counted for the user; 4429. Another user is served", run: hasty},
	{id: "M11", sent: "a join of 10,000 rooms on one socket; 200 sockets of one user", answer: "`too_many_rooms` after 128; 429 `too_many_sockets` with `Retry-After` after 50, while others are let in", alone: true, run: greedy},
	{
		id: "M12", sent: "markup, a `javascript:` link, ANSI escapes, 4,000 combining marks, a bidirectional override, as text and as a name", answer: "passed on as it is, except that impossible names are refused; the page shows it inert (`scripts/test-browser`); every line of a log stays one",
		run: oddText,
	},
	{
		id: "M13", sent: "friend requests to oneself, to nobody, to somebody who has blocked the asker, in a flood; verbs, states and users that are none", answer: "`bad_request`; `requested`, and the same for both, whatever is tried; `list_full` after 200",
		run: lonely,
	},
	{
		id: "M14", sent: "`from`, `ts`, `pos`, `node`, `push` in a command", answer: "ignored: the server's own are passed on",
		run: func(s *scene) {
			listener := s.control("witness", s.cluster.Node(2))
			s.upgraded(s.cluster.Front()).Ask(1, `{"cmd":"publish","push":"message","room":%q,"key":"forged","from":"alice","user":"alice","ts":1,"pos":"9-9","seq":9,"node":"1","data":1}`, s.room)
			if f := listener.Message("forged"); f.From != s.user || f.Pos == "9-9" || f.Pos == "" {
				s.Errorf("heard %+v", f)
			}
		},
	},
	{id: "M15", sent: "500 signals at once, as of somebody who types", answer: "`ok` each; members hear the first, then one every 250 ms at the most, and the last", run: twitching},
	{id: "M16", sent: "edits and deletions of another's message, of an edit, of a deletion, of what was deleted, as an answer, too", answer: "`forbidden`; `not_found`. A deleted text is in no answer any more", run: meddling},
	{
		id: "M17", sent: "edits, deletions and answers at positions of other epochs, of nothing, of 2^63, at none", answer: "`not_found`; `bad_position` or `bad_request` for what is no position",
		run: func(s *scene) {
			var all []wrong
			for n, pos := range []string{"0-0", "0-1", "1-1", "9223372036854775808-9223372036854775808", "18446744073709551615-18446744073709551615", "9007199254740993-0"} {
				for c, command := range []string{`"edit","data":1,"pos"`, `"delete","pos"`, `"publish","data":1,"reply_to"`} {
					all = append(all, wrong{fmt.Sprintf(`{"id":%d,"room":%%q,"cmd":%s:%q}`, 10*n+c+1, command, pos), 10*n + c + 1, "not_found"})
				}
			}
			for n, pos := range []string{`""`, `"1"`, `"-1-1"`, `"18446744073709551616-0"`, `"01-1"`, `"1-1 "`, `"$"`} {
				all = append(all, wrong{fmt.Sprintf(`{"id":%d,"room":%%q,"cmd":"delete","pos":%s}`, 100+n, pos), 100 + n, "bad_position"})
			}
			for n, pos := range []string{"1", "null", "{}", `["1-1"]`} {
				all = append(all, wrong{fmt.Sprintf(`{"id":%d,"room":%%q,"cmd":"edit","data":1,"pos":%s}`, 200+n, pos), 200 + n, "bad_request"})
			}
			fails(all...)(s)
		},
	},
	{
		id: "M18", sent: "17 mentions, the same one twice, names that are none; a title of 10 KiB; a title by somebody who may only write", answer: "`bad_request`; `forbidden`",
		run: fails(
			wrong{`{"id":1,"cmd":"publish","room":%q,"data":1,"mentions":["a","b","c","d","e","f","g","h","i","j","k","l","m","n","o","p","q"]}`, 1, "bad_request"},
			wrong{`{"id":2,"cmd":"publish","room":%q,"data":1,"mentions":["bob","bob"]}`, 2, "bad_request"}, wrong{`{"id":3,"cmd":"publish","room":%q,"data":1,"mentions":["a b"]}`, 3, "bad_request"},
			wrong{`{"id":4,"cmd":"publish","room":%q,"data":1,"mentions":["a\r\nb"]}`, 4, "bad_request"}, wrong{`{"id":5,"cmd":"publish","room":%q,"data":1,"mentions":[""]}`, 5, "bad_request"},
			wrong{`{"id":6,"cmd":"publish","room":%q,"data":1,"mentions":{"bob":1}}`, 6, "bad_request"}, wrong{`{"id":7,"cmd":"publish","room":%q,"data":1,"mentions":["` + strings.Repeat("a", 129) + `"]}`, 7, "bad_request"},
			wrong{`{"id":8,"cmd":"describe","room":%q,"title":"` + strings.Repeat("t", 10<<10) + `"}`, 8, "bad_request"}, wrong{`{"id":9,"cmd":"describe","room":%q,"topic":"` + strings.Repeat("t", 1025) + `"}`, 9, "bad_request"},
			wrong{`{"id":10,"cmd":"describe","room":%q}`, 10, "bad_request"}, wrong{`{"id":11,"cmd":"describe","room":%q,"title":"mine"}`, 11, "forbidden"},
		),
	},
	{
		id: "M19", sent: "`about`, `edited`, `deleted`, `edits`, `deletes` and `describes`, beside a message and inside its data", answer: "ignored beside it, and data like any inside it",
		run: func(s *scene) {
			p := s.upgraded(s.cluster.Front())
			var first, forged struct{ Pos string }
			said := p.Ask(1, `{"cmd":"publish","room":%q,"key":"first","data":"stays"}`, s.room)
			about := `{"deletes":{"pos":"1-1","from":"` + s.user + `","key":"first","ts":1}}`
			again := p.Ask(2, `{"cmd":"publish","room":%q,"key":"forged","about":%s,"edited":{"pos":"1-1"},"deleted":true,"deletes":{},"edits":"1-1","describes":true,"data":{"push":"message","about":%s}}`, s.room, about, about)
			if err := errors.Join(json.Unmarshal(said.OK, &first), json.Unmarshal(again.OK, &forged)); err != nil {
				s.Fatal(err)
			}
			want := regexp.MustCompile(`"key":"forged","ts":[0-9]+,"data":` + regexp.QuoteMeta(`{"push":"message","about":`+about+`}}`))
			if got := p.Ask(3, `{"cmd":"history","room":%q}`, s.room); !want.Match(got.OK) || !bytes.Contains(got.OK, []byte(`"data":"stays"}`)) {
				s.Errorf("history has %s, want %s", got.OK, want)
			}
			if f := p.Ask(4, `{"cmd":"edit","room":%q,"pos":%q,"data":1}`, s.room, forged.Pos); f.Error != nil {
				s.Errorf("what looks like a deletion cannot be edited: %+v", f.Error)
			}
		},
	},
	{id: "M20", sent: "markers in 600 rooms; positions that a room has not reached, or that are none; a page of 10^9 rooms, and one after no page", answer: "`too_many_rooms` after 500; `bad_position`; 200 rooms at the most; `bad_request`", run: hoarding},
}

// foreign looks for the rooms of others.
func foreign(s *scene) {
	fails(
		wrong{`{"id":1,"cmd":"publish","room":"elsewhere","data":1}`, 1, "not_joined"}, wrong{`{"id":2,"cmd":"signal","room":"elsewhere","data":1}`, 2, "not_joined"},
		wrong{`{"id":3,"cmd":"history","room":"elsewhere"}`, 3, "not_joined"}, wrong{`{"id":4,"cmd":"presence","room":"elsewhere"}`, 4, "not_joined"},
		wrong{`{"id":5,"cmd":"leave","room":"elsewhere"}`, 5, "not_joined"}, wrong{`{"id":6,"cmd":"publish","room":"@listener","data":1}`, 6, "not_joined"},
		wrong{`{"id":7,"cmd":"join","room":%q}`, 7, "already_joined"}, wrong{`{"id":8,"cmd":"join","room":"@listener"}`, 8, "forbidden"},
		wrong{`{"id":9,"cmd":"read","room":"@listener","pos":"0-0"}`, 9, "forbidden"}, wrong{`{"id":10,"cmd":"join","user":"` + s.user + `"}`, 10, "bad_room"},
	)(s)
	friend := Connect(s.T, s.from, s.cluster.Node(1)).Upgrade(Handshake("/ws/chat/"+s.room+"?user=friend", nil), nil)
	victim := Connect(s.T, s.from, s.cluster.Node(2)).Upgrade(Handshake("/ws/chat/"+s.room+"?user=victim", nil), nil)
	victim.Ask(1, `{"cmd":"friends.request","user":"friend"}`)
	friend.Ask(1, `{"cmd":"friends.accept","user":"victim"}`)
	victim.Ask(2, `{"cmd":"join","user":"friend"}`)
	if f := victim.Ask(3, `{"cmd":"publish","room":"@friend+victim","data":"secret"}`); f.Error != nil {
		s.Fatalf("a direct message is answered with %+v", f.Error)
	}
	p := s.upgraded(s.cluster.Front())
	for n, command := range []string{
		`"join"`, `"publish","data":1`, `"history"`, `"presence"`, `"signal","data":1`, `"leave"`,
		`"read","pos":"0-0"`, `"read","pos":"1-0"`, `"forget"`,
	} {
		used := p.Ask(100+2*n, `{"cmd":`+command+`,"room":%q}`, "@friend+victim")
		unused := p.Ask(101+2*n, `{"cmd":`+command+`,"room":%q}`, "@stranger+victim")
		was, is := fmt.Sprintf("%s %+v", used.OK, used.Error), fmt.Sprintf("%s %+v", unused.OK, unused.Error)
		if was != is {
			s.Errorf("%s is answered with %s where something was said, else with %s", command, was, is)
		}
		if used.Error == nil && command != `"forget"` {
			s.Errorf("%s is answered with %s", command, used.OK)
		}
	}
	if f := p.Ask(200, `{"cmd":"rooms"}`); string(f.OK) != `{"rooms":[]}` {
		s.Errorf("the rooms of a stranger are %s %+v", f.OK, f.Error)
	}
}

// hoarding keeps rooms without end.
func hoarding(s *scene) {
	const most, rooms = 500, 600
	p := s.upgraded(s.cluster.Node(1))
	p.Push(joined(rooms, func(n int) []byte {
		return message(fmt.Sprintf(`{"id":%d,"cmd":"read","room":"hoard-%d","pos":"0-0"}`, n+1, n))
	}))
	answers := map[string]int{}
	for n := range rooms {
		code := "ok"
		if f := p.Reply(n + 1); f.Error != nil {
			code = f.Error.Code
		}
		answers[code]++
	}
	if answers["ok"] != most || answers["too_many_rooms"] != rooms-most {
		s.Errorf("%d rooms were answered with %v, want %d ok and then too_many_rooms", rooms, answers, most)
	}
	var page struct{ Rooms []json.RawMessage }
	if err := json.Unmarshal(p.Ask(1000, `{"cmd":"rooms","limit":1000000000}`).OK, &page); err != nil || len(page.Rooms) != 200 {
		s.Errorf("a page has %d rooms, %v; want 200", len(page.Rooms), err)
	}
	at := p.Ask(1001, `{"cmd":"publish","room":%q,"data":1}`, s.room)
	var said struct{ Pos string }
	if err := json.Unmarshal(at.OK, &said); err != nil {
		s.Fatal(err)
	}
	fails(
		wrong{`{"id":1,"cmd":"read","room":%q,"pos":"18446744073709551615-18446744073709551615"}`, 1, "bad_position"},
		wrong{`{"id":2,"cmd":"read","room":%q,"pos":"` + said.Pos + `0"}`, 2, "bad_position"}, wrong{`{"id":3,"cmd":"read","room":%q,"pos":"1"}`, 3, "bad_position"},
		wrong{`{"id":4,"cmd":"read","room":%q}`, 4, "bad_request"}, wrong{`{"id":5,"cmd":"read","room":%q,"pos":{}}`, 5, "bad_request"},
		wrong{`{"id":6,"cmd":"rooms","after":"*"}`, 6, "bad_request"}, wrong{`{"id":7,"cmd":"rooms","after":"0-{a}"}`, 7, "bad_request"},
		wrong{`{"id":8,"cmd":"rooms","limit":0}`, 8, "bad_request"}, wrong{`{"id":9,"cmd":"forget"}`, 9, "bad_room"},
		wrong{`{"id":10,"cmd":"forget","room":%q,"hidden":true}`, 10, "bad_request"}, wrong{`{"id":11,"cmd":"read","room":%q,"pos":"0-0"}`, 11, "too_many_rooms"},
	)(s)
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func sentAgain(s *scene) {
	listener := s.control("witness", s.cluster.Node(2))
	const publish = `{"cmd":"publish","room":%q,"key":"once","data":1}`
	positions := map[string]bool{}
	note := func(f Frame) {
		if f.Error != nil {
			s.Errorf("answered with %+v", f.Error)
		}
		positions[string(f.OK)] = true
	}
	one, two := s.upgraded(s.cluster.Node(1)), s.upgraded(s.cluster.Node(2))
	for id := range 3 {
		for _, p := range []*Peer{one, two} {
			p.Send(message(fmt.Sprintf(`{"id":%d,%s`, id+1, fmt.Sprintf(publish, s.room)[1:])))
		}
		note(one.Reply(id + 1))
		note(two.Reply(id + 1))
	}
	_ = one.Close()
	note(s.upgraded(s.cluster.Node(1)).Ask(1, publish, s.room))
	if len(positions) != 1 {
		s.Errorf("the message has the positions %v, want one", slices.Collect(maps.Keys(positions)))
	}
	two.Ask(9, `{"cmd":"publish","room":%q,"key":"last","data":1}`, s.room)
	heard := 0
	for listener.Wait("a message", isMessage).Key != "last" {
		heard++
	}
	if heard != 1 {
		s.Errorf("the message was heard %d times, want once", heard)
	}
}

func resumed(s *scene) {
	first := s.upgraded(s.cluster.Front())
	for n := range 3 {
		first.Ask(n+1, `{"cmd":"publish","room":%q,"key":"k%d","data":%d}`, s.room, n, n)
	}
	var at struct{ Pos string }
	if err := json.Unmarshal(first.Ask(4, `{"cmd":"publish","room":%q,"key":"k3","data":3}`, s.room).OK, &at); err != nil {
		s.Fatal(err)
	}
	epoch, _, _ := strings.Cut(at.Pos, "-")
	for since, want := range map[string]struct {
		recovered bool
		missed    int
	}{
		"0-0": {true, 4}, epoch + "-0": {true, 3}, at.Pos: {true, 0}, epoch + "-99": {false, 0}, "1-1": {false, 0},
		"18446744073709551615-18446744073709551615": {false, 0},
	} {
		p := Connect(s.T, s.from, s.cluster.Front()).Upgrade(Handshake(s.path()+"&since="+since, nil), nil)
		if f := p.Joined(); f.Recovered != want.recovered || f.Missed != want.missed {
			s.Errorf("since %s: recovered %v, %d missed; want %+v", since, f.Recovered, f.Missed, want)
		}
		_ = p.Close()
	}
	for _, since := range []string{"-1", "0", "1-", "-1-1", "18446744073709551616-0", "0-18446744073709551616", "01-1", "1-01", "+1-1", "1-1-1", "0x1-1", "1_0-1", "$", "newest", "1-1%00", "%D9%A1-1"} {
		s.refuses(s.cluster.Front(), "since "+since, Handshake(s.path()+"&since="+since, nil), answer{400, "bad_position"})
	}
	fails(
		wrong{`{"id":1,"cmd":"join","room":"resumed-too","since":"-1"}`, 1, "bad_position"}, wrong{`{"id":2,"cmd":"join","room":"resumed-too","since":5}`, 2, "bad_request"},
		wrong{`{"id":3,"cmd":"history","room":%q,"before":"x"}`, 3, "bad_position"}, wrong{`{"id":4,"cmd":"history","room":%q,"after":"9223372036854775808"}`, 4, "bad_position"},
	)(s)
}

func historyLimits(s *scene) {
	p := s.upgraded(s.cluster.Node(1))
	for n := range 300 {
		p.Send(message(fmt.Sprintf(`{"id":%d,"cmd":"publish","room":%q,"key":"k%d","data":1}`, n+1, s.room, n)))
	}
	p.Reply(300)
	var got struct {
		Messages []json.RawMessage
		More     bool
	}
	if err := json.Unmarshal(p.Ask(301, `{"cmd":"history","room":%q,"limit":1000000000}`, s.room).OK, &got); err != nil || len(got.Messages) != 256 || !got.More {
		s.Errorf("a limit of 10^9: %d messages, more %v, %v; want 256 and more", len(got.Messages), got.More, err)
	}
	if f := p.Ask(302, `{"cmd":"history","room":%q,"after":"18446744073709551615-18446744073709551615"}`, s.room); string(f.OK) != `{"messages":[],"more":false}` {
		s.Errorf("history after everything: %s %+v", f.OK, f.Error)
	}
	fails(
		wrong{`{"id":1,"cmd":"history","room":%q,"limit":10000000000000000000}`, 1, "bad_request"}, wrong{`{"id":2,"cmd":"history","room":%q,"limit":0}`, 2, "bad_request"},
		wrong{`{"id":3,"cmd":"history","room":%q,"limit":-1}`, 3, "bad_request"}, wrong{`{"id":4,"cmd":"history","room":%q,"before":"1-1","after":"1-1"}`, 4, "bad_request"},
	)(s)
}

func meddling(s *scene) {
	victim := Connect(s.T, s.from, s.cluster.Front()).Upgrade(Handshake("/ws/chat/"+s.room+"?user=victim", nil), nil)
	p := s.upgraded(s.cluster.Node(2))
	at := func(f Frame) string {
		var at struct{ Pos string }
		if err := json.Unmarshal(f.OK, &at); err != nil {
			s.Fatalf("%s %+v", f.OK, f.Error)
		}
		return at.Pos
	}
	id := 0
	refused := func(by *Peer, code, pos string) {
		s.Helper()
		for _, command := range []string{`"edit","data":"mine"`, `"delete"`} {
			id++
			if f := by.Ask(id, `{"cmd":%s,"room":%q,"pos":%q}`, command, s.room, pos); f.Error == nil || f.Error.Code != code {
				s.Errorf("%s: %s %+v, want %s", command, f.OK, f.Error, code)
			}
		}
	}
	theirs := at(victim.Ask(1, `{"cmd":"publish","room":%q,"key":"k","data":"theirs"}`, s.room))
	refused(p, "forbidden", theirs)
	// The same key is another message, which is the attacker's own.
	own := at(p.Ask(50, `{"cmd":"publish","room":%q,"key":"k","data":"an ugly word"}`, s.room))
	edit := at(p.Ask(51, `{"cmd":"edit","room":%q,"pos":%q,"data":"an uglier word"}`, s.room, own))
	refused(p, "not_found", edit)
	refused(victim, "not_found", edit) // whose it is, or what, nobody is told
	gone := at(p.Ask(52, `{"cmd":"delete","room":%q,"pos":%q}`, s.room, own))
	refused(p, "not_found", own)
	refused(p, "not_found", gone)
	if f := p.Ask(53, `{"cmd":"publish","room":%q,"data":1,"reply_to":%q}`, s.room, gone); f.Error == nil || f.Error.Code != "not_found" {
		s.Errorf("an answer to a deletion: %s %+v", f.OK, f.Error)
	}
	for _, door := range s.doors() {
		q := Connect(s.T, s.from, door).Upgrade(Handshake(s.path()+"&since=0-0", nil), nil)
		for f := q.Hear("a message", func(f Frame) bool { return f.Push == "message" }); f.Pos != gone; f = q.Hear("a message", func(f Frame) bool { return f.Push == "message" }) {
			if bytes.Contains(f.Data, []byte("ugl")) {
				s.Errorf("recovered %s", f.Data)
			}
		}
		if f := q.Ask(1, `{"cmd":"history","room":%q}`, s.room); bytes.Contains(f.OK, []byte("ugl")) || !bytes.Contains(f.OK, []byte(`"data":"theirs"}`)) {
			s.Errorf("history has %s", f.OK)
		}
	}
}

func twitching(s *scene) {
	const signals = 500
	listener := s.control("witness", s.cluster.Node(2))
	p := s.upgraded(s.cluster.Node(1))
	began := time.Now()
	p.Push(joined(signals, func(n int) []byte {
		return message(fmt.Sprintf(`{"id":%d,"cmd":"signal","room":%q,"data":%d}`, n+1, s.room, n+1))
	}))
	for n := range signals {
		if f := p.Reply(n + 1); f.Error != nil {
			s.Fatalf("signal %d: %+v", n+1, f.Error)
		}
	}
	heard := 0
	listener.Wait("the last signal", func(f clustertest.Frame) bool {
		if f.Push == "signal" {
			heard++
		}
		return f.Push == "signal" && string(f.Data) == fmt.Sprint(signals)
	})
	if most := 2 + int(time.Since(began)/(250*time.Millisecond)); heard > most {
		s.Errorf("%d of %d signals were passed on in %v, want %d at the most", heard, signals, time.Since(began), most)
	}
}

// hasty talks to a node whose limits scripts/up has not lifted: 50 commands a
// second for a session, 100 for a user, and five seconds' worth of them at once.
func hasty(s *scene) {
	const sockets, each, most = 10, 100, 500
	began := time.Now()
	var carriedOut, refused int
	var peers []*Peer
	for range sockets {
		p := s.upgraded(s.limited)
		peers = append(peers, p)
		p.Push(joined(each, func(n int) []byte {
			return message(fmt.Sprintf(`{"id":%d,"cmd":"publish","room":%q,"data":1}`, n+1, s.room))
		}))
	}
	wait := 0
	for _, p := range peers {
		for n := range each {
			f := p.Reply(n + 1)
			switch {
			case f.Error == nil:
				carriedOut++
			case f.Error.Code == "rate_limited" && f.Error.Temporary && f.Error.RetryAfterMS > 0:
				refused++
				wait = max(wait, f.Error.RetryAfterMS)
			default:
				s.Errorf("answered with %+v", f.Error)
			}
		}
	}
	if limit := most + int(100*time.Since(began).Seconds()) + 1; carriedOut > limit || refused == 0 {
		s.Errorf("%d messages of one user were carried out and %d refused, want %d at the most", carriedOut, refused, limit)
	}
	other := Connect(s.T, s.from, s.limited).Upgrade(Handshake("/ws/chat/"+s.room+"?user=other", nil), nil)
	if f := other.Ask(1, `{"cmd":"publish","room":%q,"data":1}`, s.room); f.Error != nil {
		s.Errorf("another user is answered with %+v", f.Error)
	}
	time.Sleep(time.Duration(wait) * time.Millisecond) // as the answer says
	if f := peers[0].Ask(each+1, `{"cmd":"publish","room":%q,"data":1}`, s.room); f.Error != nil {
		s.Errorf("after %d ms: %+v", wait, f.Error)
	}

	flood := Connect(s.T, s.from, s.limited).Upgrade(Handshake("/ws/chat/"+s.room+"?user=flood", nil), nil)
	flood.Push(bytes.Repeat(message(fmt.Sprintf(`{"id":1,"cmd":"signal","room":%q,"data":1}`, s.room)), 20_000))
	if code := flood.Ends(); code != 4429 {
		s.Errorf("20,000 commands: closed with %d, want 4429", code)
	}
}

func joined(n int, frame func(int) []byte) []byte {
	var b []byte
	for i := range n {
		b = append(b, frame(i)...)
	}
	return b
}

func greedy(s *scene) {
	const most, joins = 128, 10_000
	s.within(128<<20, func() {
		p := s.upgraded(s.cluster.Node(1))
		go func() {
			for n := range joins {
				if _, err := p.Write(message(fmt.Sprintf(`{"id":%d,"cmd":"join","room":"greedy-%d"}`, n+1, n))); err != nil {
					return
				}
			}
		}()
		answers := map[string]int{}
		for n := range joins {
			code := "ok"
			if f := p.Reply(n + 1); f.Error != nil {
				code = f.Error.Code
			}
			answers[code]++
		}
		// The room of the address is one of them.
		if answers["ok"] != most-1 || answers["too_many_rooms"] != joins-most+1 {
			s.Errorf("%d joins were answered with %v, want %d ok and then too_many_rooms", joins, answers, most-1)
		}
		_ = p.Close()
	})
	user := "/ws/chat/" + s.room + "?user=greedy"
	in := 0
	for range 4 * socketsPerUser {
		p := Connect(s.T, s.from, s.cluster.Node(1))
		p.Send([]byte(Handshake(user, nil)))
		resp, body, err := p.Answer()
		switch {
		case err != nil:
			s.Fatal(err)
		case resp.StatusCode == http.StatusSwitchingProtocols:
			in++
		case resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, `"code":"too_many_sockets"`):
			s.Errorf("a socket too many is answered with %s %v %s", resp.Status, resp.Header, body)
		}
	}
	if in != socketsPerUser {
		s.Errorf("one user got %d sockets, want %d", in, socketsPerUser)
	}
	s.upgraded(s.cluster.Node(1)) // another user
}

func oddText(s *scene) {
	listener := s.control("witness", s.cluster.Node(2))
	p := s.upgraded(s.cluster.Front())
	for n, odd := range []string{
		`<img src=x onerror=alert(1)>`, `<script>alert(1)</script>`, `javascript:alert(1)`, "\x1b[2J\x1b]0;title\x07", "a" + strings.Repeat("\u0301", 4000),
		"\u202Edesrever\u2066", "line\nbreak\r\n", "\u2028\u2029", "\x00", "\ufeff", `"}]}`, "{\"level\":\"ERROR\"}\n",
	} {
		want, _ := json.Marshal(odd)
		if f := p.Ask(n+1, `{"cmd":"publish","room":%q,"key":"odd%d","data":%s}`, s.room, n, want); f.Error != nil {
			s.Errorf("%.20q: %+v", odd, f.Error)
			continue
		}
		var got string
		if err := json.Unmarshal(listener.Message(fmt.Sprint("odd", n)).Data, &got); err != nil || got != odd {
			s.Errorf("%.20q came as %.20q, %v", odd, got, err)
		}
	}
	// Names: what is printable is a name and comes back as it is, the rest is
	// refused. checkLogs sees to it that no line is broken by any of them.
	room := "/ws/chat/" + s.room
	for _, odd := range []string{"a%0ab", "a%1b[2J", "a%e2%80%ae", "a%00b", "a%20b", "%ff", "%e2%80%a8", strings.Repeat("a", 129)} {
		s.refuses(s.cluster.Front(), "a name", Handshake(room+"?user="+odd, nil), answer{401, "unauthorized"})
	}
	q := Connect(s.T, s.from, s.cluster.Front()).Upgrade(Handshake(room+"?user=%3Cimg/src=x%22%7D%5D", nil), nil)
	q.Ask(1, `{"cmd":"publish","room":%q,"key":"named","data":1}`, s.room)
	if f := listener.Message("named"); f.From != `<img/src=x"}]` {
		s.Errorf("the name came as %q", f.From)
	}
}
func isMessage(f clustertest.Frame) bool { return f.Push == "message" }
