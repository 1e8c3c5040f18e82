package protocol_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// Commands that are right are decoded, whatever stands beside them.
func TestParseCommand(t *testing.T) {
	at := func(epoch, offset uint64) *chat.Position { return &chat.Position{Epoch: epoch, Offset: offset} }
	longest := strings.Repeat("r", 64)
	for _, c := range []struct {
		frame string
		want  protocol.Command
	}{
		{`{"id":1,"cmd":"publish","room":"lobby","data":1}`, protocol.Command{ID: 1, Room: "lobby", Body: protocol.Publish{Data: []byte("1")}}},
		{`{"id":18446744073709551615,"cmd":"leave","room":"` + longest + `"}`, protocol.Command{ID: 1<<64 - 1, Room: chat.RoomID(longest), Body: protocol.Leave{}}},
		{`{"id":1,"cmd":"publish","room":"a","key":"k","data":null}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Publish{Key: "k", Data: []byte("null")}}},
		{`{"id":1,"cmd":"publish","room":"a","key":null,"data":{}}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Publish{Data: []byte("{}")}}},
		{"{\"id\":1,\"cmd\":\"publish\",\"room\":\"a\",\"data\":{ \"a\" :\n[ 1,\t\" b \" ] }}", protocol.Command{ID: 1, Room: "a", Body: protocol.Publish{Data: []byte(`{"a":[1," b "]}`)}}},
		{`{"id":1,"cmd":"publish","room":"a","data":1e400}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Publish{Data: []byte(`1e400`)}}},
		{`{"id":1,"cmd":"publish","room":"a","data":"\ud800<>&\u2028"}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Publish{Data: []byte(`"\ud800<>&\u2028"`)}}},
		{`{"id":1,"cmd":"publish","room":"a","data":1,"from":"eve","ts":1,"pos":"1-1","seq":{"x":[]}}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Publish{Data: []byte("1")}}},
		{`{"id":1,"id":2,"cmd":"leave","cmd":"presence","room":"a","room":"b"}`, protocol.Command{ID: 2, Room: "b", Body: protocol.Presence{}}}, // the last one counts
		{` {"id":1,"cmd":"leave","room":"a"} `, protocol.Command{ID: 1, Room: "a", Body: protocol.Leave{}}},
		{`{"id":1,"cmd":"join","room":"a"}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Join{}}},
		{`{"id":1,"cmd":"join","room":"a","since":null,"echo":null,"members":null}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Join{}}},
		{`{"id":1,"cmd":"join","room":"a","since":"5-0","echo":true,"members":false}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Join{Options: protocol.Options{Since: at(5, 0)}}}},
		{`{"id":1,"cmd":"join","room":"a","since":"0-0","echo":false,"members":true}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Join{Options: protocol.Options{Since: at(0, 0), Mute: true, Members: true}}}},
		{`{"id":1,"cmd":"history","room":"a"}`, protocol.Command{ID: 1, Room: "a", Body: protocol.History{Limit: 50}}},
		{`{"id":1,"cmd":"history","room":"a","limit":1,"after":"0-0"}`, protocol.Command{ID: 1, Room: "a", Body: protocol.History{Limit: 1, After: at(0, 0)}}},
		{`{"id":1,"cmd":"history","room":"a","limit":1000000000,"before":"18446744073709551615-18446744073709551615"}`, protocol.Command{ID: 1, Room: "a", Body: protocol.History{Limit: 256, Before: at(1<<64-1, 1<<64-1)}}},
		{`{"id":1,"cmd":"join","user":"auth0|5f","room":""}`, protocol.Command{ID: 1, Body: protocol.Join{User: "auth0|5f"}}},
		{`{"id":1,"cmd":"read","room":"@alice+bob","pos":"5-1"}`, protocol.Command{ID: 1, Room: "@alice+bob", Body: protocol.Read{Pos: *at(5, 1)}}},
		{`{"id":1,"cmd":"rooms","room":"a b"}`, protocol.Command{ID: 1, Body: protocol.Rooms{Limit: 50}}},
		{`{"id":1,"cmd":"rooms","limit":1000,"after":"5-lobby"}`, protocol.Command{ID: 1, Body: protocol.Rooms{Limit: 200, After: "5-lobby"}}},
		{`{"id":1,"cmd":"forget","room":"a","hidden":false}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Forget{}}},
		{`{"id":1,"cmd":"forget","hidden":true}`, protocol.Command{ID: 1, Body: protocol.Forget{Hidden: true}}},
		{`{"id":1,"cmd":"publish","room":"a","data":1,"reply_to":"5-1","mentions":["bob","auth0|5f"]}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Publish{Data: []byte("1"), ReplyTo: at(5, 1), Mentions: []chat.UserID{"bob", "auth0|5f"}}}},
		{`{"id":1,"cmd":"publish","room":"a","data":1,"reply_to":null,"mentions":[],"about":{"deletes":{}}}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Publish{Data: []byte("1")}}},
		{`{"id":1,"cmd":"edit","room":"a","pos":"5-1","key":"k","data":{ },"mentions":["bob"]}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Edit{Key: "k", Pos: *at(5, 1), Data: []byte("{}")}}},
		{`{"id":1,"cmd":"delete","room":"a","pos":"9223372036854775808-9223372036854775808","data":1}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Delete{Pos: *at(1<<63, 1<<63)}}},
		{`{"id":1,"cmd":"describe","room":"a","title":"","topic":"a\nb\"","key":"k"}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Describe{Key: "k", Data: []byte(`{"topic":"a\nb\""}`)}}},
		{`{"id":1,"cmd":"describe","room":"a","title":"` + strings.Repeat("t", 128) + `"}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Describe{Data: []byte(`{"title":"` + strings.Repeat("t", 128) + `"}`)}}},
		{`{"id":1,"cmd":"signal","room":"a","data":[]}`, protocol.Command{ID: 1, Room: "a", Body: protocol.Signal{Data: []byte("[]")}}},
	} {
		got, err := protocol.ParseCommand([]byte(c.frame))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.frame, got, err, c.want)
		}
	}
}

// What is no command is answered with the right code, under its id when it has
// one that can be read.
func TestParseCommandErrors(t *testing.T) {
	publish := func(fields string) string { return `{"id":7,"cmd":"publish","room":"a",` + fields + `}` }
	room := func(r string) string {
		b, _ := json.Marshal(r)
		return `{"id":7,"cmd":"leave","room":` + string(b) + `}`
	}
	for _, c := range []struct {
		frame string
		id    uint64
		code  protocol.Code
	}{
		{``, 0, protocol.BadRequest},
		{`hello`, 0, protocol.BadRequest},
		{`null`, 0, protocol.BadRequest},
		{`[]`, 0, protocol.BadRequest},
		{`7`, 0, protocol.BadRequest},
		{`"{}"`, 0, protocol.BadRequest},
		{`{}`, 0, protocol.BadRequest},
		{`{"id":7`, 0, protocol.BadRequest},
		{`{"id":7,"cmd":"leave","room":"a"}{}`, 0, protocol.BadRequest},
		{`{'id':7}`, 0, protocol.BadRequest},
		{`{"id":7,}`, 0, protocol.BadRequest},
		{"\ufeff" + `{"id":7,"cmd":"leave","room":"a"}`, 0, protocol.BadRequest},
		{`{"cmd":"leave","room":"a"}`, 0, protocol.BadRequest},
		{`{"id":null,"cmd":"leave","room":"a"}`, 0, protocol.BadRequest},
		{`{"id":0,"cmd":"leave","room":"a"}`, 0, protocol.BadRequest},
		{`{"id":-1,"cmd":"leave","room":"a"}`, 0, protocol.BadRequest},
		{`{"id":1.5,"cmd":"leave","room":"a"}`, 0, protocol.BadRequest},
		{`{"id":1e400,"cmd":"leave","room":"a"}`, 0, protocol.BadRequest},
		{`{"id":18446744073709551616,"cmd":"leave","room":"a"}`, 0, protocol.BadRequest},
		{`{"id":"7","cmd":"leave","room":"a"}`, 0, protocol.BadRequest},
		{`{"id":true,"cmd":"leave","room":"a"}`, 0, protocol.BadRequest},
		{`{"id":{},"cmd":"leave","room":"a"}`, 0, protocol.BadRequest},
		{`{"id":7,"room":"a"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":1,"room":"a"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"","room":"a"}`, 7, protocol.BadRequest},
		{`{"cmd":[],"room":"a","id":7}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"LEAVE","room":"a"}`, 7, protocol.UnknownCommand},
		{`{"id":7,"cmd":"leave\u0000","room":"a"}`, 7, protocol.UnknownCommand},
		{`{"id":7,"cmd":"__proto__","room":"a"}`, 7, protocol.UnknownCommand},
		{`{"id":7,"cmd":"leave"}`, 7, protocol.BadRoom},
		{`{"id":7,"cmd":"leave","room":null}`, 7, protocol.BadRoom},
		{`{"id":7,"cmd":"leave","room":7}`, 7, protocol.BadRequest},
		{room(""), 7, protocol.BadRoom},
		{room("a\r\nSET x 1"), 7, protocol.BadRoom},
		{room("a b"), 7, protocol.BadRoom},
		{room("../x"), 7, protocol.BadRoom},
		{room("{a}{b}"), 7, protocol.BadRoom},
		{room("chat:*"), 7, protocol.BadRoom},
		{room("_probe"), 7, protocol.BadRoom},
		{room("@alice+alice"), 7, protocol.BadRoom},
		{room("😀"), 7, protocol.BadRoom},
		{room("a\u202e"), 7, protocol.BadRoom},
		{room("a\x00"), 7, protocol.BadRoom},
		{room(strings.Repeat("a", 65)), 7, protocol.BadRoom},
		{publish(`"key":"k"`), 7, protocol.BadRequest},
		{publish(`"key":"","data":1`), 7, protocol.BadKey},
		{publish(`"key":"a b","data":1`), 7, protocol.BadKey},
		{publish(`"key":"é","data":1`), 7, protocol.BadKey},
		{publish(`"key":"` + strings.Repeat("k", 65) + `","data":1`), 7, protocol.BadKey},
		{publish(`"key":7,"data":1`), 7, protocol.BadRequest},
		{publish(`"data":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001)), 0, protocol.BadRequest},
		{publish(`"data":"\x"`), 0, protocol.BadRequest},
		{publish(`"data":1,"reply_to":"5"`), 7, protocol.BadPosition},
		{publish(`"data":1,"reply_to":5`), 7, protocol.BadRequest},
		{publish(`"data":1,"mentions":"bob"`), 7, protocol.BadRequest},
		{publish(`"data":1,"mentions":[1]`), 7, protocol.BadRequest},
		{publish(`"data":1,"mentions":["a b"]`), 7, protocol.BadRequest},
		{publish(`"data":1,"mentions":["bob","carol","bob"]`), 7, protocol.BadRequest},
		{publish(`"data":1,"mentions":[` + strings.TrimSuffix(strings.Repeat(`"bob",`, 17), ",") + `]`), 7, protocol.BadRequest},
		{`{"id":7,"cmd":"edit","room":"a","data":1}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"edit","room":"a","pos":"5-1"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"edit","room":"a","pos":"5","data":1}`, 7, protocol.BadPosition},
		{`{"id":7,"cmd":"edit","room":"a","pos":"5-1","data":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"delete","room":"a"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"delete","room":"a","pos":"18446744073709551616-0"}`, 7, protocol.BadPosition},
		{`{"id":7,"cmd":"delete","room":"a","pos":"5-1","key":"a b"}`, 7, protocol.BadKey},
		{`{"id":7,"cmd":"delete","room":"b/c","pos":"5-1"}`, 7, protocol.BadRoom},
		{`{"id":7,"cmd":"describe","room":"a"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"describe","room":"a","title":7}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"describe","room":"a","title":"` + strings.Repeat("t", 129) + `"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"describe","room":"a","topic":"` + strings.Repeat("t", 1025) + `"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"describe","room":"a","title":"","key":""}`, 7, protocol.BadKey},
		{`{"id":7,"cmd":"signal","room":"a"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"join","room":"a","since":""}`, 7, protocol.BadPosition},
		{`{"id":7,"cmd":"join","room":"a","since":"0"}`, 7, protocol.BadPosition},
		{`{"id":7,"cmd":"join","room":"a","since":"-1-0"}`, 7, protocol.BadPosition},
		{`{"id":7,"cmd":"join","room":"a","since":"1-01"}`, 7, protocol.BadPosition},
		{`{"id":7,"cmd":"join","room":"a","since":"18446744073709551616-0"}`, 7, protocol.BadPosition},
		{`{"id":7,"cmd":"join","room":"a","since":5}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"join","room":"a","echo":"no"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"join","room":"a","user":"bob"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"join","user":""}`, 7, protocol.BadRoom},
		{`{"id":7,"cmd":"join","user":"a b"}`, 7, protocol.BadRoom},
		{`{"id":7,"cmd":"join","user":7}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"read","room":"a"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"read","room":"a","pos":"5"}`, 7, protocol.BadPosition},
		{`{"id":7,"cmd":"read","pos":"5-1"}`, 7, protocol.BadRoom},
		{`{"id":7,"cmd":"rooms","limit":0}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"rooms","after":7}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"forget"}`, 7, protocol.BadRoom},
		{`{"id":7,"cmd":"forget","room":"a","hidden":true}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"forget","hidden":"yes"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"history","room":"a","limit":0}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"history","room":"a","limit":-1}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"history","room":"a","limit":"9"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"history","room":"a","before":"1-1","after":"1-2"}`, 7, protocol.BadRequest},
		{`{"id":7,"cmd":"history","room":"a","before":"$"}`, 7, protocol.BadPosition},
	} {
		got, err := protocol.ParseCommand([]byte(c.frame))
		if err == nil {
			t.Errorf("%.80s: %+v, want %s", c.frame, got, c.code)
			continue
		}
		if err.Code != c.code || got.ID != c.id || err.Message == "" {
			t.Errorf("%.80s: id %d, %v, want id %d, %s", c.frame, got.ID, err, c.id, c.code)
		}
		for _, internal := range []string{"Go", "struct", "unmarshal", "protocol.", "uint64"} {
			if strings.Contains(err.Message, internal) {
				t.Errorf("%.80s: %q names internals", c.frame, err.Message)
			}
		}
	}
}

// ParseCommand keeps nothing of the frame: its buffer is used again.
func TestParseCommandCopies(t *testing.T) {
	frame := []byte(`{"id":1,"cmd":"publish","room":"lobby","key":"key","data":"data","mentions":["bob"]}`)
	c, err := protocol.ParseCommand(frame)
	if err != nil {
		t.Fatal(err)
	}
	for i := range frame {
		frame[i] = 'X'
	}
	if got, want := fmt.Sprintf("%s %s", c.Room, c.Body), `lobby {key "data" <nil> [bob]}`; got != want {
		t.Errorf("after the buffer was used again the command is %s, want %s", got, want)
	}
}

// Whatever comes, ParseCommand returns a command that was checked, or an error
// that can be sent; the data is one line of JSON.
func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"cmd":"publish","room":"lobby","key":"01JD0Z","data":{"text":"hi"}}`,
		`{"id":2,"cmd":"join","room":"team","since":"1763776000000-41","echo":false,"members":true}`,
		`{"id":4,"cmd":"history","room":"lobby","before":"1763776000000-42","limit":2}`,
		`{"id":5,"cmd":"publish","room":"lobby","data":1,"reply_to":"1-2","mentions":["bob","carol"]}`,
		`{"id":6,"cmd":"edit","room":"lobby","pos":"1-2","key":"k","data":{"text":"ho"}}`, `{"id":6,"cmd":"delete","room":"lobby","pos":"1-2","key":"k"}`,
		`{"id":6,"cmd":"describe","room":"lobby","title":"<\u2028\ud800","topic":"t"}`,
		`{"id":7,"cmd":"signal","room":"lobby","data":"\n"}`, `[]`, `null`, `{"id":-1}`, `{"id":1,"data":[[[[`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		c, bad := protocol.ParseCommand(frame)
		if bad != nil {
			if reply := protocol.Fail(c.ID, bad).JSON(); !json.Valid(reply) {
				t.Errorf("reply %q", reply)
			}
			return
		}
		if c.ID == 0 || !hasRoom(c) {
			t.Errorf("%q gives %+v", frame, c)
		}
		var data []byte
		switch b := c.Body.(type) {
		case protocol.Publish:
			data = b.Data
			if _, err := chat.ParseKey(b.Key); err != nil && b.Key != "" {
				t.Errorf("%q gives key %q", frame, b.Key)
			}
			if len(b.Mentions) > protocol.MaxMentions {
				t.Errorf("%q gives %d mentions", frame, len(b.Mentions))
			}
		case protocol.Edit:
			data = b.Data
		case protocol.Describe:
			data = b.Data
			if d := protocol.ParseDescription(data); len(d.Title) > protocol.MaxTitle || len(d.Topic) > protocol.MaxTopic {
				t.Errorf("%q gives %s", frame, data)
			}
		case protocol.Signal:
			data = b.Data
		case protocol.History:
			if b.Limit < 1 || b.Limit > protocol.MaxHistory || b.Before != nil && b.After != nil {
				t.Errorf("%q gives %+v", frame, b)
			}
			return
		default:
			return
		}
		if !json.Valid(data) || strings.ContainsAny(string(data), "\r\n") {
			t.Errorf("%q gives data %q", frame, data)
		}
	})
}
