package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	readers   = 20
	listeners = 10 // of the readers, those who are there; the others look in the end
	writer    = "ann"
	friend    = "ben"
	// editEvery is how many direct messages there are for each that is edited.
	editEvery = 5
)

// people are a service that notifies readers, and two friends, one of whom writes to
// the other. What is not acknowledged is said again under its key.
type people struct {
	front string
	hush  context.CancelFunc // nothing more is said
	stop  context.CancelFunc // nobody listens any more
	talks sync.WaitGroup
	hears sync.WaitGroup

	// Owned by those who talk until they have ended.
	notified, written, edited int

	mu    sync.Mutex
	again int                 // tries that were not acknowledged
	heard [listeners][]string // keys, in the order heard
}

func beginPeople(ctx context.Context, front string) (*people, error) {
	p := &people{front: front}
	if err := p.befriend(ctx); err != nil {
		return nil, err
	}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	talk, hush := context.WithCancel(ctx)
	p.hush = hush
	p.talks.Go(func() { p.notify(talk) })
	p.talks.Go(func() { p.write(talk) })
	for i := range listeners {
		p.hears.Go(func() { p.listen(ctx, i) })
	}
	return p, nil
}

// lastWord is how long what was said last may take to be heard.
const lastWord = 20 * time.Second

// end ends what they say, gives the listeners their time, and ends what they do. It may
// be called again.
func (p *people) end() {
	p.hush()
	p.talks.Wait()
	for late := time.Now().Add(lastWord); !p.allHeard() && time.Now().Before(late); {
		time.Sleep(retry)
	}
	p.stop()
	p.hears.Wait()
}

// allHeard says whether every listener has heard as much as was acknowledged.
func (p *people) allHeard() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, keys := range p.heard {
		if len(keys) < p.notified {
			return false
		}
	}
	return true
}

func (p *people) befriend(ctx context.Context) error {
	asks, err := dialInbox(ctx, p.front, writer, "")
	if err != nil {
		return err
	}
	defer asks.close()
	accepts, err := dialInbox(ctx, p.front, friend, "")
	if err != nil {
		return err
	}
	defer accepts.close()
	if _, err := asks.command(ctx, map[string]any{"cmd": "friends.request", "user": friend}); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if _, err := accepts.command(ctx, map[string]any{"cmd": "friends.accept", "user": writer}); err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	return nil
}

// dialInbox opens a socket for a user's inbox.
func dialInbox(ctx context.Context, front, user, since string) (*speaker, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	address := "ws://" + front + "/ws/inbox?user=" + user
	if since != "" {
		address += "&since=" + since
	}
	ws, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{Subprotocols: []string{"chatring.v1"}})
	if err != nil {
		return nil, fmt.Errorf("inbox of %s: %w", user, err)
	}
	ws.SetReadLimit(1 << 20)
	return &speaker{ws: ws}, nil
}

// retry is how long to wait before something is tried again.
const retry = 50 * time.Millisecond

func (p *people) failed(ctx context.Context) bool {
	p.mu.Lock()
	p.again++
	p.mu.Unlock()
	return sleep(ctx, retry)
}

// notify tells all readers something again and again.
func (p *people) notify(ctx context.Context) {
	users := make([]string, readers)
	for i := range users {
		users[i] = reader(i)
	}
	for sleep(ctx, 100*time.Millisecond) {
		body, err := json.Marshal(map[string]any{"users": users, "key": noticeKey(p.notified), "data": map[string]int{"n": p.notified}})
		if err != nil {
			panic(err) // strings and a number
		}
		for {
			sent, err := p.post(ctx, body)
			if err == nil && sent == readers {
				p.notified++
				break
			}
			if !p.failed(ctx) {
				return
			}
		}
	}
}

func reader(i int) string     { return fmt.Sprintf("reader-%d", i) }
func noticeKey(n int) string  { return fmt.Sprintf("n%d", n) }
func writtenKey(n int) string { return fmt.Sprintf("d%d", n) }

// post asks the API, and returns how many it was sent to.
func (p *people) post(ctx context.Context, body []byte) (sent int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.front+"/api/notifications?service=chaos", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return 0, errors.Join(err, errors.New(resp.Status))
	}
	var answer struct{ Sent int }
	return answer.Sent, json.Unmarshal(b, &answer)
}

// write lets one friend write to the other, and edit what it has written.
func (p *people) write(ctx context.Context) {
	var sp *speaker
	defer func() {
		if sp != nil {
			sp.close()
		}
	}()
	for sleep(ctx, 50*time.Millisecond) {
		for {
			err := p.writeOnce(ctx, &sp)
			if err == nil {
				break
			}
			if sp != nil {
				sp.close()
				sp = nil
			}
			if !p.failed(ctx) {
				return
			}
		}
	}
}

// writeOnce writes the next message, over a new socket if there is none.
func (p *people) writeOnce(ctx context.Context, sp **speaker) error {
	if *sp == nil {
		s, err := dialInbox(ctx, p.front, writer, "")
		if err != nil {
			return err
		}
		*sp = s
		if _, err := s.command(ctx, map[string]any{"cmd": "join", "user": friend}); err != nil {
			return err
		}
	}
	pos, err := (*sp).command(ctx, map[string]any{"cmd": "publish", "room": directRoom, "key": writtenKey(p.written), "data": p.written})
	if err != nil {
		return err
	}
	if p.written%editEvery == 0 {
		edit := map[string]any{"cmd": "edit", "room": directRoom, "key": "e" + writtenKey(p.written), "pos": pos, "data": "edited"}
		if _, err := (*sp).command(ctx, edit); err != nil {
			return err
		}
		p.edited++
	}
	p.written++
	return nil
}

const directRoom = "@" + writer + "+" + friend

// listen hears a reader's inbox, and comes back by position.
func (p *people) listen(ctx context.Context, i int) {
	since := "0-0"
	for ctx.Err() == nil {
		sp, err := dialInbox(ctx, p.front, reader(i), since)
		if err != nil {
			sleep(ctx, retry)
			continue
		}
		for {
			var m struct{ Push, Pos, Key string }
			_, b, err := sp.ws.Read(ctx)
			if err != nil || json.Unmarshal(b, &m) != nil {
				break
			}
			if m.Push == "message" {
				since = m.Pos
				p.mu.Lock()
				p.heard[i] = append(p.heard[i], m.Key)
				p.mu.Unlock()
			}
		}
		sp.close()
	}
}

// judge says what is not as it was acknowledged.
func (p *people) judge(ctx context.Context) (wrong []string, err error) {
	for i := range readers {
		log, err := p.history(ctx, reader(i), "@"+reader(i))
		if err != nil {
			return nil, err
		}
		wrong = append(wrong, missing("the inbox of "+reader(i), keysOf(log), noticeKey, p.notified)...)
	}
	for i, heard := range p.heard {
		wrong = append(wrong, missing("what "+reader(i)+" heard", heard, noticeKey, p.notified)...)
	}
	said, err := p.history(ctx, friend, directRoom)
	if err != nil {
		return nil, err
	}
	var messages []kept
	edited := 0
	for _, m := range said {
		if m.About == nil {
			messages = append(messages, m)
		}
		if m.Edited != nil && string(m.Data) == `"edited"` {
			edited++
		}
	}
	wrong = append(wrong, missing("the direct room", keysOf(messages), writtenKey, p.written)...)
	if edited < p.edited {
		wrong = append(wrong, fmt.Sprintf("%d messages are edited, and %d edits were acknowledged", edited, p.edited))
	}
	inbox, err := p.history(ctx, friend, "@"+friend)
	if err != nil {
		return nil, err
	}
	notices := 0
	for _, m := range inbox {
		if strings.Contains(string(m.Data), `"type":"direct"`) {
			notices++
		}
	}
	if notices < p.written || notices > p.written+1 { // the last one may not have been acknowledged
		wrong = append(wrong, fmt.Sprintf("%d direct messages wait in the inbox, and %d were acknowledged", notices, p.written))
	}
	return wrong, nil
}

// missing says what of so many keys is not there once, in order.
func missing(where string, keys []string, key func(int) string, n int) (wrong []string) {
	at := make(map[string]int, len(keys))
	for i, k := range keys {
		if _, twice := at[k]; twice {
			wrong = append(wrong, fmt.Sprintf("%s has %s twice", where, k))
		}
		at[k] = i
	}
	last := -1
	for i := range n {
		place, there := at[key(i)]
		switch {
		case !there:
			wrong = append(wrong, fmt.Sprintf("%s lacks %s", where, key(i)))
		case place < last:
			wrong = append(wrong, fmt.Sprintf("%s has %s too late", where, key(i)))
		default:
			last = place
		}
	}
	return wrong
}

// A kept message is one of a history.
type kept struct {
	Pos, Key      string
	Data          json.RawMessage
	About, Edited json.RawMessage
}

func keysOf(messages []kept) (keys []string) {
	for _, m := range messages {
		keys = append(keys, m.Key)
	}
	return keys
}

// history reads all of a room.
func (p *people) history(ctx context.Context, user, room string) (all []kept, err error) {
	sp, err := dialInbox(ctx, p.front, user, "")
	if err != nil {
		return nil, err
	}
	defer sp.close()
	if room != "@"+user {
		if _, err := sp.command(ctx, map[string]any{"cmd": "join", "room": room}); err != nil {
			return nil, fmt.Errorf("join %s: %w", room, err)
		}
	}
	for after, more := "0-0", true; more; {
		var page struct {
			Messages []kept
			More     bool
		}
		if err := sp.ask(ctx, map[string]any{"cmd": "history", "room": room, "after": after, "limit": 256}, &page); err != nil {
			return nil, fmt.Errorf("history of %s: %w", room, err)
		}
		all = append(all, page.Messages...)
		if more = page.More && len(page.Messages) > 0; more {
			after = page.Messages[len(page.Messages)-1].Pos
		}
	}
	return all, nil
}
