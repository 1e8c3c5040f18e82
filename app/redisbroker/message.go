package redisbroker

import (
	"context"
	"errors"
	"strings"

	"github.com/chatring/chatring/app/chat"
)

// What goes over the bridge is a kind and its fields, with single spaces
// between; only the last field may have spaces of its own.
//
//	p <position> <time in ms> <time and key of the one before> <from> <key> <body>
//	                                  a publication, by append.lua
//	r <position> … <key> <about> <body>
//	                                  a publication that is about something
//	s <node> <body>                   a signal
//	q <node> <channel> <id> <body>    a question
//	a <id> <node> <body>              an answer, on the asker's channel
//	e <n>                             a probe, on one's own channel
const (
	kindPublication = "p"
	kindReferring   = "r"
	kindSignal      = "s"
	kindQuestion    = "q"
	kindAnswer      = "a"
	kindProbe       = "e"
)

func signalMessage(from nodeID, body []byte) []byte {
	return message(kindSignal, string(from), body)
}

func questionMessage(from nodeID, channel, id string, body []byte) []byte {
	return message(kindQuestion, string(from)+" "+channel+" "+id, body)
}

func answerMessage(id string, from nodeID, body []byte) []byte {
	return message(kindAnswer, id+" "+string(from), body)
}

func message(kind, fields string, body []byte) []byte {
	m := make([]byte, 0, len(kind)+len(fields)+len(body)+2)
	m = append(m, kind...)
	m = append(m, ' ')
	m = append(m, fields...)
	m = append(m, ' ')
	return append(m, body...)
}

var errMessage = errors.New("the message has too few fields")

// split cuts the first n-1 fields off a message; the last is the rest.
func split(message string, n int) ([]string, error) {
	fields := strings.SplitN(message, " ", n)
	if len(fields) < n {
		return nil, errMessage
	}
	return fields, nil
}

// hearRoom hears what was said in a room. What cannot be read is logged and
// left out; if it was a publication, the next one shows that it is missing.
func (b *Broker) hearRoom(ctx context.Context, room chat.RoomID, message string, sink chat.Sink) {
	kind, rest, _ := strings.Cut(message, " ")
	var err error
	switch kind {
	case kindPublication, kindReferring:
		var p chat.Publication
		if p, err = parsePublication(room, rest, kind == kindReferring); err == nil {
			sink.Publication(p)
		}
	case kindSignal:
		var f []string
		if f, err = split(rest, 2); err == nil && f[0] != string(b.node) {
			sink.Signal(room, []byte(f[1]))
		}
	case kindQuestion:
		var f []string
		if f, err = split(rest, 4); err != nil {
			break
		}
		if f[0] == string(b.node) {
			b.questions.answered(f[2], answer{from: b.node})
		} else {
			b.answer(ctx, f[1], f[2], sink.Answer(room, []byte(f[3])))
		}
	default:
		err = errMessage
	}
	if err != nil {
		b.counters.malformed.Add(1)
		b.options.Log.Error("bridge message cannot be read", "room", room, "error", err)
	}
}

func parsePublication(room chat.RoomID, fields string, refers bool) (p chat.Publication, err error) {
	n := 7
	if refers {
		n++
	}
	f, err := split(fields, n)
	if err != nil {
		return p, err
	}
	if p.Position, err = chat.ParsePosition(f[0]); err != nil {
		return p, err
	}
	if p.At, err = parseTime(f[1]); err != nil {
		return p, err
	}
	if p.Prev, p.Linked, err = parsePrev(f[2], f[3]); err != nil {
		return p, err
	}
	p.Draft = chat.Draft{Room: room, From: chat.UserID(f[4]), Key: f[5], Body: []byte(f[n-1])}
	if refers {
		p.About = f[6]
	}
	return p, nil
}
