package protocol

import (
	"encoding/binary"
	"iter"
)

// A Frame is one JSON text, encoded once and shared by everybody who is sent
// it; it never changes. Before the text stands the header that makes it a
// WebSocket text frame (RFC 6455 §5.2: FIN, unmasked), so that a socket writes
// it as it is. Pings and pongs, which are for sockets alone, are frames too.
type Frame struct {
	wire []byte // header and text
	head int    // length of the header: 2, 4 or 10 bytes
}

const (
	maxHeader = 10
	finText   = 0x81 // the first byte of a frame with a text
)

// newFrame turns a buffer whose first maxHeader bytes are free, and whose rest
// is the text, into a Frame, in place.
func newFrame(b []byte) Frame {
	n := len(b) - maxHeader
	switch {
	case n < 126:
		b = b[maxHeader-2:]
		b[0], b[1] = finText, byte(n) // #nosec G115 -- below 126
		return Frame{b, 2}
	case n < 1<<16:
		b = b[maxHeader-4:]
		b[0], b[1] = finText, 126
		binary.BigEndian.PutUint16(b[2:], uint16(n))
		return Frame{b, 4}
	}
	b[0], b[1] = finText, 127
	binary.BigEndian.PutUint64(b[2:], uint64(n))
	return Frame{b, maxHeader}
}

// JSON returns the text. The caller must not change it.
func (f Frame) JSON() []byte { return f.wire[f.head:] }

// WebSocket returns the text as a WebSocket frame. The caller must not change it.
func (f Frame) WebSocket() []byte { return f.wire }

// Batch returns the frame as a batch of its own.
func (f Frame) Batch() Batch { return f.wire }

// IsControl says whether the frame is a ping or a pong, and no text.
func (f Frame) IsControl() bool { return f.wire[0] != finText }

// Size is what the frame takes on the wire, in bytes.
func (f Frame) Size() int { return len(f.wire) }

// A Batch is frames back to back, as a socket writes them; it never changes. What
// is left of one that a socket has taken in part is a Batch, too.
type Batch []byte

// Concat makes a batch of frames. Of one it is the frame itself, without a copy.
func Concat(frames []Frame) Batch {
	if len(frames) == 1 {
		return frames[0].Batch()
	}
	size := 0
	for _, f := range frames {
		size += f.Size()
	}
	b := make(Batch, 0, size)
	for _, f := range frames {
		b = append(b, f.wire...)
	}
	return b
}

// Frames returns the batch's frames, in order.
func (b Batch) Frames() iter.Seq[Frame] {
	return func(yield func(Frame) bool) {
		for len(b) > 0 {
			head, n := 2, uint64(b[1])
			switch n {
			case 126:
				head, n = 4, uint64(binary.BigEndian.Uint16(b[2:]))
			case 127:
				head, n = maxHeader, binary.BigEndian.Uint64(b[2:])
			}
			end := head + int(n) // #nosec G115 -- it was made from a slice's length
			if !yield(Frame{b[:end:end], head}) {
				return
			}
			b = b[end:]
		}
	}
}

// Ping and Pong are control frames (RFC 6455 §5.5); payload is at most 125
// bytes.
func Ping(payload []byte) Frame { return control(0x89, payload) }

// Pong answers a ping with the ping's own payload.
func Pong(payload []byte) Frame { return control(0x8A, payload) }

// Close is the frame that ends a WebSocket; code 1005 stands for none.
func Close(code CloseCode) Frame {
	if code == CloseNoStatus {
		return control(0x88, nil)
	}
	return control(0x88, append(binary.BigEndian.AppendUint16(nil, uint16(code)), code.Reason()...))
}

func control(first byte, payload []byte) Frame {
	return Frame{append([]byte{first, byte(len(payload))}, payload...), 2} // #nosec G115 -- at most 125, as gws has checked
}
