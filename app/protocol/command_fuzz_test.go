package protocol_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// Whatever a frame holds, it is a command that is right in every part, and
// that reads the same when it is written down again, or it is an error that a
// client may see.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"cmd":"publish","room":"lobby","key":"k","data":{"text":"hi"}}`, `{"id":2,"cmd":"join","room":"team","since":"1-41","echo":false,"members":true}`,
		`{"id":3,"cmd":"leave","room":"team"}`, `{"id":4,"cmd":"history","room":"lobby","before":"1-42","limit":2}`, `{"id":4,"cmd":"history","room":"lobby","after":"1-42"}`,
		`{"id":5,"cmd":"publish","room":"lobby","data":1,"reply_to":"1-41","mentions":["bob","carol"]}`, `{"id":5,"cmd":"edit","room":"lobby","pos":"1-41","data":2}`,
		`{"id":5,"cmd":"delete","room":"@alice+bob","pos":"1-41","key":"k"}`, `{"id":5,"cmd":"describe","room":"lobby","title":"<\u2028","topic":"t"}`,
		`{"id":6,"cmd":"presence","room":"lobby"}`, `{"id":7,"cmd":"signal","room":"lobby","data":[1, "\ud800", null]}`,
		`{"id":8,"cmd":"join","user":"bob"}`, `{"id":8,"cmd":"read","room":"lobby","pos":"1-2"}`, `{"id":8,"cmd":"rooms","limit":3,"after":"1-lobby"}`, `{"id":8,"cmd":"forget","hidden":true}`, `{"id":8,"cmd":"friends.list"}`,
		"nonsense", "", "[]", "null", `{"id":1}{}`, `{"id":1e400}`, `{"id":18446744073709551616}`, `{"id":"1"}`, `{"ID":1,"Cmd":"leave","ROOM":"a"}`,
		`{"id":1,"cmd":"publish","room":"a","data":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`, strings.Repeat("[", 16384), `{"id":1,"cmd":"history","room":"a","limit":1000000000}`,
		`{"id":1,"id":2,"cmd":"leave","cmd":"join","room":"a"}`, "{\"id\":1,\"cmd\":\"signal\",\"room\":\"a\",\"data\":\"\u2028<\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > 16<<10 {
			return // the gateway lets none through
		}
		given := bytes.Clone(frame)
		c, bad := protocol.ParseCommand(frame)
		if !bytes.Equal(frame, given) {
			t.Error("the frame has been changed")
		}
		if bad != nil {
			if bad.Code == "" || bad.Message == "" || bad.Temporary || !utf8.ValidString(bad.Message) || len(bad.Message) > 200 {
				t.Errorf("%q: %+v", frame, bad)
			}
			return
		}
		checkCommand(t, c)
		if again, bad := protocol.ParseCommand(written(t, c)); bad != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%+v reads as %+v, %v when it is written again", c, again, bad)
		}
	})
}

func checkCommand(t *testing.T, c protocol.Command) {
	t.Helper()
	if c.ID == 0 || !hasRoom(c) {
		t.Errorf("%+v", c)
	}
	var data []byte
	switch b := c.Body.(type) {
	case protocol.Publish:
		if _, err := chat.ParseKey(b.Key); err != nil && b.Key != "" {
			t.Errorf("key %q: %v", b.Key, err)
		}
		data = b.Data
		for i, m := range b.Mentions {
			if _, err := chat.ParseUser(string(m)); err != nil || slices.Contains(b.Mentions[:i], m) || i >= protocol.MaxMentions {
				t.Errorf("mentions %q", b.Mentions)
			}
		}
	case protocol.Edit:
		data = b.Data
	case protocol.Describe:
		data = b.Data
	case protocol.Signal:
		data = b.Data
	case protocol.History:
		if b.Limit < 1 || b.Limit > protocol.MaxHistory || b.Before != nil && b.After != nil {
			t.Errorf("history %+v", b)
		}
	}
	var compact bytes.Buffer
	if data != nil && (json.Compact(&compact, data) != nil || !bytes.Equal(compact.Bytes(), data) || bytes.ContainsAny(data, "\r\n")) {
		t.Errorf("data %q is not one line of JSON without white space", data)
	}
}

// hasRoom says whether a command names a possible room, if it must.
func hasRoom(c protocol.Command) bool {
	switch b := c.Body.(type) {
	case protocol.Auth, protocol.Rooms, protocol.Call:
		return c.Room == ""
	case protocol.Join:
		if b.User != "" {
			return c.Room == ""
		}
	case protocol.Forget:
		if b.Hidden {
			return c.Room == ""
		}
	}
	_, err := chat.ParseAddress(string(c.Room))
	return err == nil
}

// written is a command as a client would send it.
func written(t *testing.T, c protocol.Command) []byte {
	t.Helper()
	w := map[string]any{"id": c.ID, "room": c.Room}
	position := func(name string, p *chat.Position) {
		if p != nil {
			w[name] = p.String()
		}
	}
	key := func(k string) {
		if k != "" {
			w["key"] = k
		}
	}
	switch b := c.Body.(type) {
	case protocol.Publish:
		w["cmd"], w["data"] = "publish", json.RawMessage("0")
		key(b.Key)
		position("reply_to", b.ReplyTo)
		if b.Mentions != nil {
			w["mentions"] = b.Mentions
		}
		return withData(t, w, b.Data)
	case protocol.Edit:
		w["cmd"], w["data"], w["pos"] = "edit", json.RawMessage("0"), b.Pos.String()
		key(b.Key)
		return withData(t, w, b.Data)
	case protocol.Delete:
		w["cmd"], w["pos"] = "delete", b.Pos.String()
		key(b.Key)
	case protocol.Describe:
		d := protocol.ParseDescription(b.Data)
		w["cmd"], w["title"], w["topic"] = "describe", d.Title, d.Topic
		key(b.Key)
	case protocol.Auth:
		w["cmd"], w["token"] = "auth", b.Token
	case protocol.Call:
		return b.Args
	case protocol.Signal:
		w["cmd"], w["data"] = "signal", json.RawMessage("0")
		return withData(t, w, b.Data)
	case protocol.Join:
		w["cmd"], w["echo"], w["members"] = "join", !b.Mute, b.Members
		position("since", b.Since)
		if b.User != "" {
			w["user"] = b.User
		}
	case protocol.Read:
		w["cmd"], w["pos"] = "read", b.Pos.String()
	case protocol.Rooms:
		w["cmd"], w["limit"], w["after"] = "rooms", b.Limit, b.After
	case protocol.Forget:
		w["cmd"], w["hidden"] = "forget", b.Hidden
	case protocol.History:
		w["cmd"], w["limit"] = "history", b.Limit
		position("before", b.Before)
		position("after", b.After)
	case protocol.Leave:
		w["cmd"] = "leave"
	case protocol.Presence:
		w["cmd"] = "presence"
	}
	return marshalled(t, w)
}

// withData puts data in as it is: json.Marshal would escape some of it.
func withData(t *testing.T, w map[string]any, data []byte) []byte {
	return bytes.Replace(marshalled(t, w), []byte(`"data":0`), append([]byte(`"data":`), data...), 1)
}

func marshalled(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
