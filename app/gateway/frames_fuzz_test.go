package gateway_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Whatever bytes come behind a handshake, the socket ends with a code that
// says what was wrong with them. The process lives, no fault of our own comes
// to light, and the node takes memory for what came, not for what was promised.
func FuzzFrames(f *testing.F) {
	publish := `{"id":1,"cmd":"publish","room":"lobby","data":"hi"}`
	for _, b := range [][]byte{
		masked(fin|text, publish), masked(fin|text, `{"id":1,"cmd":"history","room":"lobby"}`), join(masked(text, publish[:9]), masked(fin|pinged, "x"), masked(fin, publish[9:])),
		{0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0},
		{0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		{0x81, 0xFF, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4},
		{0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4},
		{0x81, 0xFE, 0x40, 0},
		{fin | text, 2, '{', '}'},
		masked(fin|text, strings.Repeat("x", 16<<10+1)), masked(fin|text, "\xff"), join(masked(text, "a\xe2\x82"), masked(fin, "(")), masked(fin|octets, "{}"),
		masked(fin|0x40|text, "{}"), masked(fin|0x3, ""), masked(pinged, ""), masked(fin|pinged, strings.Repeat("x", 126)), masked(fin, "x"), join(masked(text, "x"), masked(fin|text, "x")),
		join(masked(text, ""), repeat(masked(0, ""), 10_000)), repeat(masked(fin|pinged, "x"), 300), repeat(masked(fin|text, "hello"), 3),
		masked(fin|closed, "\x03"), masked(fin|closed, "\x03\xed"), masked(fin|closed, "\x0f\xa1bye"), masked(fin|closed, ""), masked(fin|closed, "\x0f\xa1\xff"),
	} {
		f.Add(b)
	}
	n := serve(f, func(s *setup) { s.listener = newPipes() })
	// No frame that is open still takes so much, and then nothing begins like
	// this: whatever came before, it ends here.
	end := bytes.Repeat([]byte{0xFF}, 16<<10+64)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 128<<10 {
			return
		}
		before := allocated()
		p := n.upgraded(t, "/ws/chat/lobby?user=mallory", "")
		_ = p.SetDeadline(time.Now().Add(20 * time.Second))
		go func() { _, _ = p.Write(append(bytes.Clone(b), end...)) }()
		payload := p.until(closed)
		_ = p.Close()
		code := 0
		if len(payload) >= 2 {
			code = int(binary.BigEndian.Uint16(payload))
		}
		switch {
		case code == 0, code == 1000, code == 1002, code == 1003, code == 1007, code == 1008, code == 1009:
		case code >= 3000 && code < 5000: // the client's own
		default:
			t.Errorf("closed with %d %q", code, payload)
		}
		// What comes may ask for a history many times; what is promised costs
		// nothing.
		if got, most := allocated()-before, uint64(4<<20+8<<10*len(b)); got > most {
			t.Errorf("%d bytes make the node allocate %d, want at most %d", len(b), got, most)
		}
	})
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
