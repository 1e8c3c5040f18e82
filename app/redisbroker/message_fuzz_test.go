package redisbroker

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/chatring/chatring/app/chat"
)

// A listener is a sink that notes what it hears.
type listener struct {
	chat.Sink
	publications []chat.Publication
	signals      []string
	questions    []string
}

func (l *listener) Publication(p chat.Publication) { l.publications = append(l.publications, p) }

func (l *listener) Signal(_ chat.RoomID, body []byte) { l.signals = append(l.signals, string(body)) }

func (l *listener) Answer(_ chat.RoomID, question []byte) []byte {
	l.questions = append(l.questions, string(question))
	return nil
}

// Whatever comes over the bridge is heard as one thing, or counted as
// malformed; a body may hold anything and comes through as it was.
func FuzzBridge(f *testing.F) {
	for _, s := range []string{
		"p 1763776000000-42 1763776000123 1763776000100 k0 alice k1 {\"text\":\"a b\"}", "p 1-0 1 0 0 alice k 1", "p 1-0 1 ? ? alice k 1", "p 1-0 1", "p -1 1 0 0 a k 1", "p 1-0 x 0 0 a k 1",
		`r 1-0 1 1 k alice k {"deletes":{"pos":"1-0","from":"a","key":"k","ts":1}} null`, "r 1-0 1 1 k alice k null",
		"s 2222-x {\"push\":\"signal\"}", "s 2222-x", "q 2222-x chatring:node:2222-x:1 7 who", "q 2222-x c", "a 7 2222-x body", "e 5", "", " ", "x", "p", "s  ", "p 1-1 1 1 k a k \n\r\x00",
	} {
		f.Add(s)
	}
	b, err := New(Options{URL: "redis://127.0.0.1:1", AppID: "1111", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, message string) {
		heard, before := &listener{}, b.counters.malformed.Load()
		b.hearRoom(t.Context(), "lobby", message, heard)
		malformed := int(b.counters.malformed.Load() - before)
		if n := len(heard.publications) + len(heard.signals) + len(heard.questions) + malformed; n != 1 {
			t.Errorf("%q is heard as %d things", message, n)
		}
		for _, p := range heard.publications {
			kind, about := "p ", ""
			if strings.HasPrefix(message, "r") {
				kind, about = "r ", p.About+" "
			}
			if p.Room != "lobby" || !strings.HasPrefix(message, kind+p.Position.String()+" ") || !strings.HasSuffix(message, " "+string(p.From)+" "+p.Key+" "+about+string(p.Body)) {
				t.Errorf("%q is heard as %+v", message, p)
			}
		}
		b.hearAnswer(message)

		// As the body of what this node's peers send, it arrives.
		heard = &listener{}
		b.hearRoom(t.Context(), "lobby", string(signalMessage("2222-x", []byte(message))), heard)
		b.hearRoom(t.Context(), "lobby", string(questionMessage("2222-x", "c", "7", []byte(message))), heard)
		if len(heard.signals) != 1 || heard.signals[0] != message || len(heard.questions) != 1 || heard.questions[0] != message {
			t.Errorf("the body %q is heard as %q and %q", message, heard.signals, heard.questions)
		}
		id, answers := b.questions.open()
		defer b.questions.close(id)
		_, rest, _ := strings.Cut(string(answerMessage(id, "2222-x", []byte(message))), " ")
		b.hearAnswer(rest)
		if a := <-answers; a.from != "2222-x" || string(a.body) != message {
			t.Errorf("the answer %q is heard as %+v", message, a)
		}
	})
}
