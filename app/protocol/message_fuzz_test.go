package protocol_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A publication, whoever it is from and whatever it says, is a push that is
// one line of JSON, and reads back as it was; so does what stands in one frame
// beside it.
func FuzzMessage(f *testing.F) {
	f.Add("lobby", "alice", "k1", []byte(`{"text":"hi"}`), uint64(1763776000000), uint64(42), int64(1763776000123))
	f.Add("a", `"}],"push":"reset`, `\"`, []byte(`"\u2028</script>"`), uint64(0), uint64(0), int64(0))
	f.Add("a", "[D-Tail]\u0301", "~", []byte(`[1e400,"\ud800",null]`), uint64(1<<64-1), uint64(1<<64-1), int64(-1))
	f.Add("a", "\xff", "k", []byte("\"\xff\""), uint64(1), uint64(1), int64(1))
	f.Fuzz(func(t *testing.T, room, from, key string, body []byte, epoch, offset uint64, ms int64) {
		_, badRoom := chat.ParseRoom(room)
		_, badUser := chat.ParseUser(from)
		_, badKey := chat.ParseKey(key)
		var compact bytes.Buffer
		if badRoom != nil || badUser != nil || badKey != nil || json.Compact(&compact, body) != nil {
			return
		}
		p := chat.Publication{
			Draft:    chat.Draft{Room: chat.RoomID(room), From: chat.UserID(from), Key: key, Body: compact.Bytes()},
			Position: chat.Position{Epoch: epoch, Offset: offset}, At: time.UnixMilli(ms),
		}
		target := p.Target()
		p.About = chat.About{ReplyTo: &target, Mentions: []chat.UserID{p.From}}.String()
		frame := protocol.Message(p)
		if !json.Valid(frame.JSON()) || bytes.ContainsAny(frame.JSON(), "\r\n") {
			t.Fatalf("%s is not one line of JSON", frame.JSON())
		}
		got, err := protocol.ParseMessage(frame)
		if err != nil || got.Room != p.Room || got.From != p.From || got.Key != p.Key || got.Position != p.Position || !got.At.Equal(p.At) || !bytes.Equal(got.Body, p.Body) || got.About != p.About {
			t.Errorf("%s reads as %+v, %v", frame.JSON(), got, err)
		}
		if _, err := protocol.ParseMessage(protocol.SignalPush(p.Room, p.From, p.Body)); err == nil {
			t.Errorf("a signal of %s reads as a message", p.Body)
		}
		// A history is made of such frames.
		var history struct {
			OK struct{ Messages []json.RawMessage }
		}
		reply := protocol.OkHistory(new([]byte), 1, []protocol.Frame{frame, frame}, false)
		if err := json.Unmarshal(reply.JSON(), &history); err != nil || len(history.OK.Messages) != 2 || !bytes.Equal(history.OK.Messages[1], frame.JSON()) {
			t.Errorf("a history of two is %s, %v", reply.JSON(), err)
		}
	})
}
