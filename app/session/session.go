// Package session is one client's conversation: it runs its commands one at a
// time, in order, and hands it everything it is to hear through a bounded
// outbox. It does not know gws, HTTP or Redis.
//
// Lock order: a room's lock (package hub) before a session's.
package session

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/chatring/chatring/app/bookmarks"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

// A Conn is the transport under a session.
type Conn interface {
	// TryWrite writes what the transport takes without waiting, in bytes: all of
	// the batch, a part, or nothing.
	TryWrite(protocol.Batch) (n int)
	// Write writes all batches in as few calls as possible and returns when the
	// transport has taken them, or the code with which the session is over
	// because it does not. It and TryWrite are never called concurrently.
	Write([]protocol.Batch) (ok bool, code protocol.CloseCode)
	// Finish ends the transport with a close code. It is called once, after
	// the last Write.
	Finish(code protocol.CloseCode)
	// Hurry makes the Write that is under way, and those to come, end soon,
	// since the session is being closed. It is called once, before Finish.
	Hurry()
	// Renew lets the connection live on by a fresh token of the same user. It
	// returns what the token allows, and for how long it holds.
	Renew(token string) (chat.Rights, time.Duration, *protocol.Error)
}

// Limits bound what one session may hold.
type Limits struct {
	// Outbox is how many bytes may wait for one reader, beside what a join
	// recovers from the window. Raise it for bursty rooms; a full outbox
	// closes the session, which comes back by position.
	Outbox int
	// Rooms is how many rooms one session may join.
	Rooms int
	// UserRooms is in how many rooms all sessions of a user may be, each counted
	// for each session, when one joins a further one. 0: no limit.
	UserRooms int
	// CommandTimeout is how long one command may take, Redis included, and the
	// wait for a client that does not read what it was sent before.
	CommandTimeout time.Duration
	// Strikes is how many frames in a row may be no command, or fresh tokens no
	// good ones, before the session is closed.
	Strikes int
	// Rates are of commands that are carried out; more are answered with
	// rate_limited.
	Rates Rates
	// Frames is how many frames may come each second, commands or not, answered
	// or refused; more close the session. 0: no limit.
	Frames int
	// SignalEvery is how often the session may signal in a room; see hub.Join.
	SignalEvery time.Duration
	// InboxOnly keeps sessions from all rooms but their user's inbox: the node does
	// not serve chat.
	InboxOnly bool
	// Bookmarks has the rooms that users keep, each user RoomList of them at most.
	Bookmarks bookmarks.Store
	RoomList  int
	// Contacts are asked before something goes from one user to another one. Nil:
	// everybody may write to everybody.
	Contacts Contacts
	// Modules answer the commands that begin with their names.
	Modules map[string]Module
	// Authorizer is asked about joins and messages; nil: the token's word is enough.
	Authorizer Authorizer
}

// Who is whom a session belongs to, and what they may do.
type Who struct {
	User      chat.UserID
	Rights    chat.Rights
	Allowance *Allowance // shared by all sessions of the user on this node
}

// A Session is one connection of one user. Handle, Answer and End belong to the
// goroutine that reads the transport, or to whoever has its turn instead; Send and
// Close may be called by anyone.
type Session struct {
	// Static after construction.
	id     string
	user   chat.UserID
	hub    *hub.Hub
	conn   Conn
	limits *Limits
	count  *metrics.Sessions
	shared *Allowance // of all the user's sessions on this node

	// Owned by the reading goroutine.
	rooms     []*hub.Member
	rights    chat.Rights
	strikes   int
	badTokens int  // in a row
	watch     bool // all rooms are joined read-only
	own       Allowance
	page      *[]byte // in which the answer that is given stands; nil: in memory of its own
	frames    *rate.Limiter
	answer    func(protocol.Frame) // takes the reply to the command that is carried out; nil: the outbox does
	markers   *markers             // nil: none has moved

	outbox outbox
}

// New builds a session of somebody over conn. It says nothing yet: see Greet.
func New(h *hub.Hub, who Who, conn Conn, limits *Limits, count *metrics.Sessions) *Session {
	return &Session{
		id: newID(), user: who.User, rights: who.Rights, shared: who.Allowance,
		own: Allowance{Rates: &limits.Rates}, hub: h, conn: conn, limits: limits, count: count,
	}
}

// newID returns 16 random letters and digits: 80 bits.
func newID() string { return strings.ToLower(rand.Text()[:16]) }

// ID names the session among all of the cluster.
func (s *Session) ID() string { return s.id }

// Greet says hello. Whoever may Send to the session hears of it only after
// that: hello is the first push.
func (s *Session) Greet(hello protocol.Hello) {
	hello.User, hello.Session, hello.Inbox = s.user, s.id, chat.Inbox(s.user)
	s.Send(hello.Frame().Batch())
}

// A First is a room that a session is in from its beginning.
type First struct {
	Room chat.RoomID
	protocol.Options
}

// Start joins the first rooms, to listen only if watch. When one cannot be opened
// the session closes itself.
func (s *Session) Start(watch bool, rooms ...First) {
	s.watch = watch
	ctx, cancel := context.WithTimeout(context.Background(), s.limits.CommandTimeout)
	defer cancel()
	for _, first := range rooms {
		if err := s.join(ctx, first.Room, first.Options); err != nil {
			slog.Warn("room could not be joined", "session", s.id, "room", first.Room, "err", err)
			s.Close(protocol.CloseUnavailable)
			return
		}
	}
}

// Answer is Handle, but for the reply, which it hands to answer. That keeps nothing of
// it, and is not called when the session ends instead.
func (s *Session) Answer(frame []byte, answer func(protocol.Frame)) {
	s.answer = answer
	defer func() { s.answer = nil }()
	s.Handle(frame)
}

// Handle runs one command to its end and queues its reply. It waits first while
// much waits for the client. Frame is not kept.
func (s *Session) Handle(frame []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), s.limits.CommandTimeout)
	defer cancel()
	if !s.await(ctx) {
		return
	}
	s.count.Commands.Inc()
	if !s.countFrame() {
		return
	}
	c, bad := protocol.ParseCommand(frame)
	if bad == nil {
		bad = s.spend(s.price(c.Body), len(frame))
	}
	if bad != nil {
		s.refuse(c.ID, bad)
		return
	}
	s.strikes = 0
	reply, err := s.run(ctx, c)
	if err != nil {
		reply = protocol.Fail(c.ID, s.explain(c, err))
	}
	s.reply(reply)
	if s.badTokens >= s.limits.Strikes { // a token is dear to check
		s.Close(protocol.ClosePolicy)
	}
}

// refuse answers a frame that is no command. One that goes on sending such
// frames is closed: it speaks something else.
func (s *Session) refuse(id uint64, bad *protocol.Error) {
	s.count.Errors.WithLabelValues(string(bad.Code)).Inc()
	s.reply(protocol.Fail(id, bad))
	if bad.Code != protocol.BadRequest {
		return
	}
	if s.strikes++; s.strikes >= s.limits.Strikes {
		s.Close(protocol.ClosePolicy)
	}
}

// End leaves every room. It is called once, when nothing more can be read from
// the transport. It says whether a close is under way, so that Conn.Finish is
// still to come, or has been.
func (s *Session) End() (closing bool) {
	for _, m := range s.rooms {
		s.leave(m)
	}
	s.rooms = nil
	return s.drop()
}

// explain turns an error into what the client is told, and logs what it is not.
func (s *Session) explain(c protocol.Command, err error) *protocol.Error {
	e := wireError(c, err)
	s.count.Errors.WithLabelValues(string(e.Code)).Inc()
	if e.Code == protocol.Unavailable || e.Code == protocol.Internal {
		slog.Debug("command failed", "session", s.id, "room", c.Room, "err", err)
	}
	return e
}

func wireError(c protocol.Command, err error) *protocol.Error {
	var e *protocol.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, chat.ErrConflict):
		return &protocol.Error{Code: protocol.Conflict, Message: "this key stands for another message of yours in this room"}
	case errors.Is(err, bookmarks.ErrAhead):
		return &protocol.Error{Code: protocol.BadPosition, Message: "the room has nothing at this position yet"}
	case errors.Is(err, bookmarks.ErrFull):
		return &protocol.Error{Code: protocol.TooManyRooms, Message: "the list of your rooms is full: forget one first"}
	case errors.Is(err, hub.ErrNotFound), errors.Is(err, chat.ErrDeleted):
		return &protocol.Error{Code: protocol.NotFound, Message: "no message stands there, or none any more"}
	case errors.Is(err, hub.ErrForeign):
		return forbidden("only its author changes a message, and who may manage the room")
	case errors.Is(err, hub.ErrWatcher):
		return &protocol.Error{Code: protocol.Forbidden, Message: "watchers only listen"}
	case errors.Is(err, hub.ErrFull):
		return &protocol.Error{Code: protocol.Unavailable, Message: "this node has no place for another room: try again later", Temporary: true, RetryAfterMS: 10_000}
	case errors.Is(err, chat.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		message := "no answer from the log: try again"
		switch c.Body.(type) {
		case protocol.Publish, protocol.Edit, protocol.Delete, protocol.Describe:
			message = "no answer from the log: send it again with the same key"
		}
		return &protocol.Error{Code: protocol.Unavailable, Message: message, Temporary: true, RetryAfterMS: 1000}
	}
	return &protocol.Error{Code: protocol.Internal, Message: "a fault of the server"}
}

// member returns the session's place in a room, or nil.
func (s *Session) member(room chat.RoomID) *hub.Member {
	for _, m := range s.rooms {
		if m.Room() == room {
			return m
		}
	}
	return nil
}
