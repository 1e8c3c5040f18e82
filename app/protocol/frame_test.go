package protocol_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A frame's header has the length of its text in the shortest of the three
// forms, as RFC 6455 §5.2 wants it.
func TestFrameHeader(t *testing.T) {
	for _, c := range []struct {
		size   int
		header []byte
	}{
		{0, []byte{0x81, 0}},
		{125, []byte{0x81, 125}},
		{126, []byte{0x81, 126, 0, 126}},
		{65535, []byte{0x81, 126, 0xFF, 0xFF}},
		{65536, []byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
	} {
		text := bytes.Repeat([]byte("x"), c.size)
		f := protocol.Relay(text)
		if got := f.WebSocket(); !bytes.Equal(got, append(bytes.Clone(c.header), text...)) {
			t.Errorf("%d bytes of text: the frame begins with % x, want % x", c.size, got[:min(len(got), 10)], c.header)
		}
		if !bytes.Equal(f.JSON(), text) {
			t.Errorf("%d bytes of text: JSON returns %d", c.size, len(f.JSON()))
		}
		if got, want := f.Size(), len(c.header)+c.size; got != want {
			t.Errorf("%d bytes of text: Size = %d, want %d", c.size, got, want)
		}
	}
}

// The longest messages that the code encodes keep their header, too.
func TestMessageHeader(t *testing.T) {
	for n := range 300 {
		f := protocol.Message(chat.Publication{Draft: chat.Draft{Room: "a", From: "b", Key: "c", Body: []byte(`"` + strings.Repeat("x", n) + `"`)}})
		if got, want := length(t, f.WebSocket()), len(f.JSON()); got != want {
			t.Fatalf("header says %d bytes, text has %d", got, want)
		}
	}
	big := protocol.OkHistory(new([]byte), 1, []protocol.Frame{protocol.Relay(bytes.Repeat([]byte("1"), 70_000))}, false)
	if got, want := length(t, big.WebSocket()), len(big.JSON()); got != want {
		t.Errorf("header says %d bytes, text has %d", got, want)
	}
}

func length(t *testing.T, frame []byte) int {
	t.Helper()
	switch frame[1] {
	case 126:
		return int(binary.BigEndian.Uint16(frame[2:]))
	case 127:
		return int(binary.BigEndian.Uint64(frame[2:]))
	}
	return int(frame[1])
}

// Control frames are whole, unmasked, and fit.
func TestControlFrames(t *testing.T) {
	for _, c := range []struct {
		name string
		got  protocol.Frame
		want string
	}{
		{"ping", protocol.Ping(nil), "\x89\x00"},
		{"pong", protocol.Pong([]byte("abc")), "\x8a\x03abc"},
		{"longest pong", protocol.Pong(bytes.Repeat([]byte("x"), 125)), "\x8a\x7d" + strings.Repeat("x", 125)},
		{"close without a code", protocol.Close(protocol.CloseNoStatus), "\x88\x00"},
		{"close of a client's", protocol.Close(4001), "\x88\x02\x0f\xa1"},
		{"close", protocol.Close(protocol.CloseDrain), "\x88\x12\x03\xf4drain: reconnect"},
	} {
		if got := string(c.got.WebSocket()); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	for code := range 5000 {
		if n := protocol.Close(protocol.CloseCode(code)).Size(); n > 2+125 {
			t.Errorf("close %d takes %d bytes", code, n)
		}
	}
}

// hostile strings come through the encoders as encoding/json understands them.
var hostile = []string{
	`alice`, `"`, `\`, `\"`, `</script>`, `a&b`, `auth0|5f`, `[D-Tail]`, `Zoë`, `😀`, "\u2028\u2029", "\x7f", "\x00\x1f\n", "a\xffb", "\xed\xa0\x80", "\xc0\x80", `\u0041`, ``,
}

// bodies are JSON that a client may have sent.
var bodies = []string{
	`null`, `0`, `-0.0e-0`, `1e400`, `""`, `"\u0000\ud800"`, `"</script>\u2028"`, `"` + "\u2028" + `"`, `[]`, `{"a":{"a":1,"a":2}}`, `{"push":"message"}`, strings.Repeat("[", 500) + strings.Repeat("]", 500),
}

// A message is what encoding/json would have written: each field comes back.
func TestMessage(t *testing.T) {
	for _, from := range hostile {
		for _, body := range bodies {
			p := chat.Publication{
				Draft:    chat.Draft{Room: "lobby", From: chat.UserID(from), Key: from, Body: []byte(body)},
				Position: chat.Position{Epoch: 1<<64 - 1, Offset: 1<<64 - 1}, At: time.UnixMilli(1763776000123),
			}
			text := protocol.Message(p).JSON()
			var m struct {
				Push string          `json:"push"`
				Room string          `json:"room"`
				Pos  string          `json:"pos"`
				From string          `json:"from"`
				Key  string          `json:"key"`
				TS   int64           `json:"ts"`
				Data json.RawMessage `json:"data"`
			}
			strict(t, text, &m)
			heard := strings.ToValidUTF8(from, "\uFFFD")
			if from == "\xed\xa0\x80" || from == "\xc0\x80" {
				heard = strings.Repeat("\uFFFD", len(from)) // one for each byte, as encoding/json
			}
			if m.Push != "message" || m.Room != "lobby" || m.Pos != "18446744073709551615-18446744073709551615" || m.From != heard || m.Key != heard || m.TS != 1763776000123 {
				t.Errorf("%s decodes as %+v", text, m)
			}
			if string(m.Data) != body {
				t.Errorf("data %s comes as %s", body, m.Data)
			}
			if !utf8.Valid(text) {
				t.Errorf("%q is not UTF-8", text)
			}
		}
	}
}

// A signal is what encoding/json would have written.
func TestSignalPush(t *testing.T) {
	for _, from := range hostile {
		text := protocol.SignalPush("lobby", chat.UserID(from), []byte(`{"typing":true}`)).JSON()
		want, err := json.Marshal(map[string]any{"push": "signal", "room": "lobby", "from": from, "data": map[string]bool{"typing": true}})
		if err != nil {
			t.Fatal(err)
		}
		sameJSON(t, text, want)
	}
}

// The other encoders agree with encoding/json about hostile names, too.
func TestStructPushes(t *testing.T) {
	for _, name := range hostile {
		sameJSON(t, protocol.Member{Room: "a", User: chat.UserID(name), Event: protocol.MemberJoin}.Frame().JSON(),
			marshal(t, map[string]any{"push": "member", "room": "a", "user": name, "event": "join"}))
		sameJSON(t, protocol.OkPresent(1, protocol.Present{Users: []protocol.PresentUser{{User: chat.UserID(name), Sessions: 1}}}).JSON(),
			marshal(t, map[string]any{"id": 1, "ok": map[string]any{"users": []any{map[string]any{"user": name, "sessions": 1}}, "total": 0, "watchers": 0, "complete": false}}))
		sameJSON(t, protocol.Fail(1, &protocol.Error{Code: "x", Message: name}).JSON(),
			marshal(t, map[string]any{"id": 1, "error": map[string]any{"code": "x", "message": name}}))
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// strict decodes text, all of whose fields v must know.
func strict(t *testing.T, text []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if d.More() {
		t.Fatalf("%s: more than one value", text)
	}
}

func sameJSON(t *testing.T, got, want []byte) {
	t.Helper()
	value := func(b []byte) (v any) {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		return v
	}
	if g, w := value(got), value(want); !reflect.DeepEqual(g, w) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A reply's id comes back as it was, whatever JavaScript would make of it.
func TestReplyID(t *testing.T) {
	for _, id := range []uint64{1, 1 << 53, 1<<64 - 1} {
		if got, want := string(protocol.Ok(id).JSON()), fmt.Sprintf(`{"id":%d,"ok":{}}`, id); got != want {
			t.Errorf("Ok(%d) = %s, want %s", id, got, want)
		}
	}
	if got, want := string(protocol.Fail(0, &protocol.Error{Code: protocol.BadRequest, Message: "m"}).JSON()), `{"error":{"code":"bad_request","message":"m"}}`; got != want {
		t.Errorf("Fail(0) = %s, want %s", got, want)
	}
}

// A message is answered in its latest state: with what it says since it was edited,
// or with nothing, and then without whom it answered and named. An edit of what was
// deleted still says of what.
func TestChanged(t *testing.T) {
	target := `{"pos":"1-1","from":"alice","key":"k","ts":5}`
	edit := chat.Change{Position: chat.Position{Epoch: 1, Offset: 9}, At: time.UnixMilli(7), Body: []byte(`"new"`)}
	deletion := chat.Change{Position: chat.Position{Epoch: 1, Offset: 9}, At: time.UnixMilli(7), Deleted: true, By: `e"ve`}
	for _, c := range []struct {
		about  string
		change chat.Change
		want   string
	}{
		{"", edit, `"edited":{"pos":"1-9","ts":7},"data":"new"`},
		{`{"reply_to":` + target + `}`, edit, `"about":{"reply_to":` + target + `},"edited":{"pos":"1-9","ts":7},"data":"new"`},
		{"", deletion, `"deleted":{"pos":"1-9","ts":7,"by":"e\"ve"},"data":null`},
		{`{"reply_to":` + target + `,"mentions":["bob"]}`, deletion, `"deleted":{"pos":"1-9","ts":7,"by":"e\"ve"},"data":null`},
		{`{"edits":` + target + `}`, deletion, `"about":{"edits":` + target + `},"deleted":{"pos":"1-9","ts":7,"by":"e\"ve"},"data":null`},
	} {
		p := chat.Publication{
			Draft:    chat.Draft{Room: "lobby", From: "alice", Key: "k", Body: []byte(`"old"`), About: c.about},
			Position: chat.Position{Epoch: 1, Offset: 2}, At: time.UnixMilli(6),
		}
		want := `{"push":"message","room":"lobby","pos":"1-2","from":"alice","key":"k","ts":6,` + c.want + `}`
		if got := string(protocol.Changed(p, c.change).JSON()); got != want {
			t.Errorf("about %s: got %s, want %s", c.about, got, want)
		}
	}
}
