package protocol_test

import (
	"bytes"
	"encoding/json"
	"reflect"
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
		`{"id":6,"cmd":"presence","room":"lobby"}`, `{"id":7,"cmd":"signal","room":"lobby","data":[1, "\ud800", null]}`,
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
	if _, err := chat.ParseRoom(string(c.Room)); err != nil || c.ID == 0 {
		t.Errorf("%+v: %v", c, err)
	}
	var data []byte
	switch b := c.Body.(type) {
	case protocol.Publish:
		if _, err := chat.ParseKey(b.Key); err != nil && b.Key != "" {
			t.Errorf("key %q: %v", b.Key, err)
		}
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

// written is a command as a client would send it.
func written(t *testing.T, c protocol.Command) []byte {
	t.Helper()
	w := map[string]any{"id": c.ID, "room": c.Room}
	position := func(name string, p *chat.Position) {
		if p != nil {
			w[name] = p.String()
		}
	}
	switch b := c.Body.(type) {
	case protocol.Publish:
		w["cmd"], w["data"] = "publish", json.RawMessage("0")
		if b.Key != "" {
			w["key"] = b.Key
		}
		return withData(t, w, b.Data)
	case protocol.Signal:
		w["cmd"], w["data"] = "signal", json.RawMessage("0")
		return withData(t, w, b.Data)
	case protocol.Join:
		w["cmd"], w["echo"], w["members"] = "join", !b.Mute, b.Members
		position("since", b.Since)
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
