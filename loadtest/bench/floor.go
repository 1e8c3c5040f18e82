package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// payload is how many bytes of data each message has.
const payload = 64

// floorFlags make the floor write as chatring does, or it were none: frames as long as
// those that have room, position, sender and time beside the data; and in one piece
// what comes to a room of 1,000 while it rests (room.rest). Up to 60 messages a second
// each comes to a room that has rested, and a room of ten has no rest.
func (b *bench) floorFlags(ctx context.Context, l load) (flags []string, err error) {
	if b.pad == 0 {
		if b.pad, err = b.besideData(ctx); err != nil {
			return nil, fmt.Errorf("how long are chatring's frames: %w", err)
		}
	}
	l = l.in(b.options)
	flags = []string{"-pad", strconv.Itoa(b.pad)}
	if l.members >= 1000 && (l.rate == 0 || l.rate/float64(l.rooms) > 60) {
		flags = append(flags, "-gather", "15ms")
	}
	return flags, nil
}

// besideData asks a node how many bytes a message has beside its data when it comes to
// a member, in a room and from a user with names as the generator gives them.
func (b *bench) besideData(ctx context.Context) (n int, err error) {
	dir, err := os.MkdirTemp(b.dir, "stage")
	if err != nil {
		return 0, err
	}
	s := &stage{bench: b, dir: dir}
	defer func() { err = errors.Join(err, s.close()) }()
	to, err := s.alone(ctx, ours)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	const room = "fanout-19aab12cd34-00000"
	var members []*websocket.Conn
	for _, user := range []string{"user0", "user1"} {
		conn, _, err := websocket.Dial(ctx, to.url+"/ws/chat/"+room+"?user="+user, &websocket.DialOptions{Subprotocols: []string{"chatring.v1"}})
		if err != nil {
			return 0, err
		}
		defer conn.CloseNow()
		if _, err := hear(ctx, conn, `{"push":"joined"`); err != nil {
			return 0, err
		}
		members = append(members, conn)
	}
	say := fmt.Sprintf(`{"id":1,"cmd":"publish","room":"%s","data":"%s"}`, room, strings.Repeat("x", payload-2))
	if err := members[0].Write(ctx, websocket.MessageText, []byte(say)); err != nil {
		return 0, err
	}
	message, err := hear(ctx, members[1], `{"push":"message"`)
	return len(message) - payload, err
}

// hear reads until something comes that begins so.
func hear(ctx context.Context, conn *websocket.Conn, begins string) ([]byte, error) {
	for {
		_, b, err := conn.Read(ctx)
		if err != nil || bytes.HasPrefix(b, []byte(begins)) {
			return b, err
		}
	}
}
