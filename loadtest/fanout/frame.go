package main

import (
	"encoding/binary"
	"errors"
)

// The opcodes of RFC 6455 §5.2 that this program knows.
const (
	opContinue = 0
	opText     = 1
	opBinary   = 2
	opClose    = 8
	opPing     = 9
	opPong     = 10
)

// maxFrame is more than any server has to say at once.
const maxFrame = 64 << 20

var errFrame = errors.New("a frame of more than 64 MiB")

// A frame is one frame of a server, which never masks.
type frame struct {
	opcode  byte
	last    bool // of its message
	payload []byte
}

// cutFrame takes one whole frame off b. size is what it takes of b, 0 when b
// does not hold all of it.
func cutFrame(b []byte) (f frame, size int, err error) {
	if len(b) < 2 {
		return frame{}, 0, nil
	}
	length, head := uint64(b[1]&0x7f), 2
	switch length {
	case 126:
		if len(b) < 4 {
			return frame{}, 0, nil
		}
		length, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return frame{}, 0, nil
		}
		length, head = binary.BigEndian.Uint64(b[2:]), 10
	}
	if length > maxFrame {
		return frame{}, 0, errFrame
	}
	size = head + int(length)
	if len(b) < size {
		return frame{}, 0, nil
	}
	return frame{b[0] & 0x0f, b[0]&0x80 != 0, b[head:size]}, size, nil
}

// appendFrame appends one frame, masked with zeros: RFC 6455 §5.3 asks clients
// for a mask, and zeros leave the payload as it is.
func appendFrame(b []byte, opcode byte, payload []byte) []byte {
	b = append(b, 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, 0, 0, 0, 0)
	return append(b, payload...)
}
