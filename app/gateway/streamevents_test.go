package gateway

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

func said(room chat.RoomID, offset uint64, body string) protocol.Frame {
	return protocol.Message(chat.Publication{
		Draft:    chat.Draft{Room: room, From: "bob", Key: "k", Body: []byte(body)},
		Position: chat.Position{Epoch: 7, Offset: offset}, At: time.UnixMilli(5),
	})
}

// Each push becomes one event: its name, its position if it is one of the room's, its
// text in one line.
func TestEvents(t *testing.T) {
	for _, c := range []struct {
		what  string
		frame protocol.Frame
		want  string
	}{
		{"a ping", protocol.Ping(nil), ":\n\n"},
		{
			"a message of the room", said("lobby", 3, `{"text":"hi"}`),
			"id: 7-3\ndata: {\"push\":\"message\",\"room\":\"lobby\",\"pos\":\"7-3\",\"from\":\"bob\",\"key\":\"k\",\"ts\":5,\"data\":{\"text\":\"hi\"}}\n\n",
		},
		{
			"a message of another room", said("lobby2", 3, `1`),
			"data: {\"push\":\"message\",\"room\":\"lobby2\",\"pos\":\"7-3\",\"from\":\"bob\",\"key\":\"k\",\"ts\":5,\"data\":1}\n\n",
		},
		{
			"a message with line breaks between its tokens", said("lobby", 3, "{\r\n\"a\":\n1}"),
			"id: 7-3\ndata: {\"push\":\"message\",\"room\":\"lobby\",\"pos\":\"7-3\",\"from\":\"bob\",\"key\":\"k\",\"ts\":5,\"data\":{  \"a\": 1}}\n\n",
		},
		{
			"a join that has missed nothing", protocol.Joined{Room: "lobby", Pos: "7-2", Recovered: true}.Frame(),
			"id: 7-2\nevent: joined\ndata: {\"push\":\"joined\",\"room\":\"lobby\",\"pos\":\"7-2\",\"recovered\":true,\"missed\":0}\n\n",
		},
		{
			"a join that has missed something", protocol.Joined{Room: "lobby", Pos: "7-2", Recovered: true, Missed: 1}.Frame(),
			"event: joined\ndata: {\"push\":\"joined\",\"room\":\"lobby\",\"pos\":\"7-2\",\"recovered\":true,\"missed\":1}\n\n",
		},
		{
			"a join of another room", protocol.Joined{Room: "other", Pos: "7-2"}.Frame(),
			"event: joined\ndata: {\"push\":\"joined\",\"room\":\"other\",\"pos\":\"7-2\",\"recovered\":false,\"missed\":0}\n\n",
		},
		{
			"a reset", protocol.Reset{Room: "lobby", Lost: "7-9", Pos: "7-4"}.Frame(),
			"id: 7-3\nevent: reset\ndata: {\"push\":\"reset\",\"room\":\"lobby\",\"lost\":\"7-9\",\"pos\":\"7-4\"}\n\n",
		},
		{
			"a reset to another epoch", protocol.Reset{Room: "lobby", Lost: "7-9", Pos: "8-0"}.Frame(),
			"id: 7-18446744073709551615\nevent: reset\ndata: {\"push\":\"reset\",\"room\":\"lobby\",\"lost\":\"7-9\",\"pos\":\"8-0\"}\n\n",
		},
		{
			"a gap", protocol.Gap{Room: "lobby", After: "7-1", Before: "7-5"}.Frame(),
			"event: gap\ndata: {\"push\":\"gap\",\"room\":\"lobby\",\"after\":\"7-1\",\"before\":\"7-5\"}\n\n",
		},
		{
			"a drain", protocol.Drain{ReconnectMS: [2]int64{100, 300}}.Frame(),
			"retry: 150\nevent: drain\ndata: {\"push\":\"drain\",\"reconnect_ms\":[100,300]}\n\n",
		},
	} {
		e := newEncoder("lobby", 0.25)
		if got := string(e.append(nil, c.frame)); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.what, got, c.want)
		}
	}
	if got, want := string(closeEvent(4008)), "event: close\ndata: {\"code\":4008,\"reason\":\"slow consumer: reconnect\"}\n\n"; got != want {
		t.Errorf("the last event is %q, want %q", got, want)
	}
}

// A sink takes all that is written to it.
type sink struct {
	net.Conn
	got bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error)      { return s.got.Write(b) }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// However much of each batch the kernel takes at once, the stream is the same: what was
// written in part goes on where it was left off, and nothing comes twice.
func FuzzStreamWrites(f *testing.F) {
	f.Add([]byte{0, 1, 2, 250, 3, 0, 9, 40, 255, 255, 1, 1})
	f.Add(bytes.Repeat([]byte{3, 120, 77}, 20))
	f.Fuzz(func(t *testing.T, ops []byte) {
		const head = "HTTP/1.1 200 OK\r\n\r\n"
		var out sink
		s := newStream(&Gateway{opts: Options{WriteTimeout: time.Hour}, count: metrics.New("1111", "test")}, &out, "lobby", []byte(head))
		want := bytes.NewBuffer(slices.Clone(s.greeting))
		var waiting []protocol.Batch // as in a session's outbox
		flush := func() {
			if len(waiting) > 0 {
				s.Write(waiting)
			}
			waiting = nil
		}
		for i := 0; i+1 < len(ops); i += 2 {
			var frames []protocol.Frame
			for n := range 1 + int(ops[i]%4) {
				push := said("lobby", uint64(i), fmt.Sprintf("%q", strings.Repeat("x", 16*n*int(ops[i]))))
				if ops[i]%7 == 0 {
					push = protocol.Ping(nil)
				}
				frames = append(frames, push)
				want.Write(s.encoder.append(nil, push))
			}
			b := protocol.Concat(frames)
			if len(waiting) == 0 {
				text := s.text(nil, b)
				n := len(text) * int(ops[i+1]) / 255
				out.got.Write(text[:n])
				b = b[s.account(b, text, n):]
			}
			if len(b) > 0 {
				waiting = append(waiting, b)
			}
			if ops[i+1]%3 == 0 {
				flush()
			}
		}
		flush()
		if len(ops) > 1 && !bytes.Equal(out.got.Bytes(), want.Bytes()) {
			t.Errorf("written %q\n   want %q", out.got.Bytes(), want.Bytes())
		}
		if s.torn {
			t.Error("all is written, and the stream is torn")
		}
	})
}
