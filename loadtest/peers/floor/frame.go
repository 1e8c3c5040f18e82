package main

import (
	"bufio"
	"bytes"
	"crypto/sha1" // #nosec G505 -- what RFC 6455 asks for
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
)

// maxMessage is how long a request or a message may be.
const maxMessage = 1 << 20

var errBad = errors.New("not a WebSocket of whole messages")

// shake answers the request of a WebSocket at the beginning of data, if it is
// whole. The room is its path.
func shake(data []byte) (answer []byte, room string, rest []byte, err error) {
	head, rest, whole := bytes.Cut(data, []byte("\r\n\r\n"))
	if !whole && len(data) < maxMessage {
		return nil, "", nil, nil
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data[:len(data)-len(rest)])))
	if err != nil || len(head) == 0 || r.Header.Get("Sec-WebSocket-Key") == "" {
		return nil, "", nil, errBad
	}
	// RFC 6455, section 4.2.2.
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // #nosec G401
	answer = []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n")
	return answer, strings.TrimPrefix(r.URL.Path, "/"), rest, nil
}

// cut returns the payload of the frame at the beginning of data, unmasked in
// place, and what follows; payload is nil when the frame is not whole.
// Clients send messages in one frame each, masked (RFC 6455, section 5.2).
func cut(data []byte) (payload, rest []byte, err error) {
	if len(data) < 2 {
		return nil, nil, nil
	}
	if data[0] != 0x81 || data[1]&0x80 == 0 {
		return nil, nil, errBad // Close is among them
	}
	head, n := 2, int(data[1]&0x7f)
	switch n {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	head += 4 // the mask
	if len(data) < head {
		return nil, nil, nil
	}
	switch n {
	case 126:
		n = int(binary.BigEndian.Uint16(data[2:]))
	case 127:
		n = int(min(binary.BigEndian.Uint64(data[2:]), maxMessage+1))
	}
	if n > maxMessage {
		return nil, nil, errBad
	}
	if len(data) < head+n {
		return nil, nil, nil
	}
	mask := data[head-4 : head]
	payload = data[head : head+n]
	for i := range payload {
		payload[i] ^= mask[i&3]
	}
	return payload, data[head+n:], nil
}

// appendFrame appends payload and pad as one text frame of a server.
func appendFrame(b, payload, pad []byte) []byte {
	n := len(payload) + len(pad)
	switch {
	case n < 126:
		b = append(b, 0x81, byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x81, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x81, 127), uint64(n))
	}
	return append(append(b, payload...), pad...)
}
