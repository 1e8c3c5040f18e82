package main

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// A speaker is a socket's client that notes what it hears.
type speaker struct {
	t      *testing.T
	socket *websocket.Conn
	heard  chan string
}

// connect opens a socket to a node.
func (p *pipes) connect(t *testing.T, path string) speaker {
	t.Helper()
	socket, resp, err := websocket.Dial(t.Context(), "ws://node"+path, &websocket.DialOptions{HTTPClient: p.client()})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	s := speaker{t, socket, make(chan string, 100)}
	go func() {
		for {
			_, frame, err := socket.Read(t.Context())
			if err != nil {
				return
			}
			s.heard <- string(frame)
		}
	}()
	return s
}

// gets sends a command, if there is one, and says whether what is wanted is heard
// before a minute is over.
func (s speaker) gets(want, command string) {
	s.t.Helper()
	if command != "" {
		if err := s.socket.Write(s.t.Context(), websocket.MessageText, []byte(command)); err != nil {
			s.t.Fatal(err)
		}
	}
	late := time.After(time.Minute)
	for {
		select {
		case f := <-s.heard:
			if strings.Contains(f, want) {
				return
			}
		case <-late:
			s.t.Fatalf("heard no %s", want)
		}
	}
}

// One process keeps the friend list in memory, and a node that is told not to serve
// it does not answer its commands.
func TestFriendsOfOneProcess(t *testing.T) {
	for modules, requested := range map[string]string{
		"chat,friends": `{"id":1,"ok":{"user":"bob","state":"requested"}}`,
		"chat":         `{"id":1,"error":{"code":"unknown_command"`,
	} {
		synctest.Test(t, func(t *testing.T) {
			n := built(t, "--modules="+modules, "--ops-listen=")
			ln := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
			told, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- n.run(told, ln, nil) }()
			alice, bob := ln.connect(t, "/ws/inbox?user=alice"), ln.connect(t, "/ws/chat/lobby?user=bob&inbox=true")
			synctest.Wait() // both hear their inboxes
			alice.gets(requested, `{"id":1,"cmd":"friends.request","user":"bob"}`)
			if strings.Contains(modules, "friends") {
				bob.gets(`{"type":"friend_request","from":"alice"}`, "")
				bob.gets(`{"id":1,"ok":{"user":"alice","state":"friend"}}`, `{"id":1,"cmd":"friends.accept","user":"alice"}`)
				alice.gets(`"user":"bob","state":"friend","status":"online"}`, "")
				_ = bob.socket.CloseNow()
				alice.gets(`"user":"bob","state":"friend","status":"offline","last_seen":`, "")
			}
			_, _ = alice.socket.CloseNow(), bob.socket.CloseNow()
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
