package chattest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// A Recorder is a chat.Sink that keeps what it hears. All methods may be
// called concurrently.
type Recorder struct {
	// Guarded by mu.
	mu           sync.Mutex
	publications map[chat.RoomID][]chat.Publication
	signals      map[chat.RoomID][]string
	resumed      int
	onQuestion   func(chat.RoomID, []byte) []byte
	changed      chan struct{} // closed and replaced at each change
}

var _ chat.Sink = (*Recorder)(nil)

// NewRecorder returns a Recorder that has heard nothing and answers nothing.
func NewRecorder() *Recorder {
	return &Recorder{
		publications: make(map[chat.RoomID][]chat.Publication),
		signals:      make(map[chat.RoomID][]string),
		onQuestion:   func(chat.RoomID, []byte) []byte { return nil },
		changed:      make(chan struct{}),
	}
}

func (r *Recorder) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// Publication implements chat.Sink.
func (r *Recorder) Publication(p chat.Publication) {
	r.change(func() { r.publications[p.Room] = append(r.publications[p.Room], p) })
}

// Signal implements chat.Sink.
func (r *Recorder) Signal(room chat.RoomID, body []byte) {
	r.change(func() { r.signals[room] = append(r.signals[room], string(body)) })
}

// Resumed implements chat.Sink.
func (r *Recorder) Resumed() { r.change(func() { r.resumed++ }) }

// Answer implements chat.Sink.
func (r *Recorder) Answer(room chat.RoomID, question []byte) []byte {
	r.mu.Lock()
	answer := r.onQuestion
	r.mu.Unlock()
	return answer(room, question)
}

// OnQuestion sets what Answer does.
func (r *Recorder) OnQuestion(answer func(chat.RoomID, []byte) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onQuestion = answer
}

// Publications returns what was published in a room, in the order heard.
func (r *Recorder) Publications(room chat.RoomID) []chat.Publication {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.publications[room])
}

// Signals returns what was signalled in a room, in the order heard.
func (r *Recorder) Signals(room chat.RoomID) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.signals[room])
}

// Resumptions counts the calls of Resumed.
func (r *Recorder) Resumptions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.resumed
}

// Wait returns when what was heard makes cond true; it ends the test after ten
// seconds.
func (r *Recorder) Wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
