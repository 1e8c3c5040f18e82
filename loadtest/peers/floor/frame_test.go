package main

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// masked is what a client sends.
func masked(payload string) []byte {
	b := appendFrame(nil, []byte(payload), nil)
	head := len(b) - len(payload)
	mask := []byte{1, 2, 3, 4}
	b[1] |= 0x80
	b = append(b[:head:head], mask...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i&3])
	}
	return b
}

// A frame is cut off when it is whole and not before, whatever the length of
// its length.
func TestCut(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 0xffff, 0x10000} {
		want := strings.Repeat("chat", n/4+1)[:n]
		data := append(masked(want), "rest"...)
		for _, have := range []int{0, 1, 2, 3, 5, 7, 9, 13, len(data) - 5} {
			if have > len(data)-5 {
				continue
			}
			if payload, _, err := cut(bytes.Clone(data[:have])); payload != nil || err != nil {
				t.Fatalf("%d bytes of a frame of %d: payload %q, error %v", have, n, payload, err)
			}
		}
		payload, rest, err := cut(data)
		if string(payload) != want || string(rest) != "rest" || err != nil {
			t.Errorf("a message of %d bytes: got %d, then %q, error %v", n, len(payload), rest, err)
		}
	}
}

// What is no whole text message of a client ends its socket: a fragment, a
// close, no mask, a length that nobody may ask for.
func TestCutRefuses(t *testing.T) {
	whole := masked("hello")
	for name, change := range map[string]func(b []byte) []byte{
		"fragment": func(b []byte) []byte { b[0] = 0x01; return b },
		"close":    func(b []byte) []byte { b[0] = 0x88; return b },
		"no mask":  func(b []byte) []byte { b[1] &= 0x7f; return b },
		"endless": func([]byte) []byte {
			return append(binary.BigEndian.AppendUint64([]byte{0x81, 0xff}, 1<<63), 1, 2, 3, 4)
		},
	} {
		if _, _, err := cut(change(bytes.Clone(whole))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A request is answered when it is whole, as RFC 6455 section 1.3 shows; what
// follows it is kept; the path is the room.
func TestShake(t *testing.T) {
	request := "GET /lobby HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	if answer, _, _, err := shake([]byte(request[:len(request)-1])); answer != nil || err != nil {
		t.Fatalf("before the request's end: answer %q, error %v", answer, err)
	}
	answer, room, rest, err := shake([]byte(request + "rest"))
	if err != nil || room != "lobby" || string(rest) != "rest" {
		t.Errorf("room %q, rest %q, error %v", room, rest, err)
	}
	if !strings.Contains(string(answer), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") {
		t.Errorf("answer %q", answer)
	}
	if _, _, _, err := shake([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err == nil {
		t.Error("a request without a key: no error")
	}
}
