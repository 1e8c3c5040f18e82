package protocol_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// text is a message of 64 bytes.
var text = `{"text":"` + strings.Repeat("x", 53) + `"}`

// What each node does for a publication, once.
func BenchmarkMessage(b *testing.B) {
	p := chat.Publication{
		Draft:    chat.Draft{Room: "lobby", From: "alice", Key: "01jd0zq3v8m2k4xw", Body: []byte(text)},
		Position: chat.Position{Epoch: 1763776000000, Offset: 42}, At: time.UnixMilli(1763776000123),
	}
	b.ReportAllocs()
	for b.Loop() {
		protocol.Message(p)
	}
}

// What a client's command costs until it is understood.
func BenchmarkParseCommand(b *testing.B) {
	for name, frame := range map[string]string{
		"publish": `{"id":7,"cmd":"publish","room":"lobby","key":"01jd0zq3v8m2k4xw","data":` + text + `}`,
		"join":    `{"id":7,"cmd":"join","room":"lobby","since":"1763776000000-42"}`,
	} {
		b.Run(name, func(b *testing.B) {
			frame := []byte(frame)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := protocol.ParseCommand(frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What the answer to a publish costs.
func BenchmarkOkAt(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		protocol.OkAt(7, chat.Position{Epoch: 1763776000000, Offset: 42})
	}
}

// What a join's first push costs.
func BenchmarkJoined(b *testing.B) {
	joined := protocol.Joined{Room: "lobby", Pos: "1763776000000-42", Recovered: true, Missed: 256}
	b.ReportAllocs()
	for b.Loop() {
		joined.Frame()
	}
}
