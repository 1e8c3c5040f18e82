package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

// patience is how long anything may take before it counts as lost.
const patience = 10 * time.Second

// A said is a frame of the server's, as far as it matters here.
type said struct {
	ID    uint64          `json:"id"`
	OK    json.RawMessage `json:"ok"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Push   string          `json:"push"`
	User   string          `json:"user"`
	Status string          `json:"status"`
	State  string          `json:"state"`
	Data   json.RawMessage `json:"data"`
}

// A person is a user with one socket, for the inbox.
type person struct {
	name   string
	socket *websocket.Conn
	hears  func(said) // pushes, one at a time; may be nil

	mu      sync.Mutex
	asked   uint64
	waiting map[uint64]chan said
	gone    chan struct{} // closed when nothing can be read any more
}

// enter connects a person and waits until the inbox is joined.
func (t *target) enter(ctx context.Context, path, name string, hears func(said)) (*person, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	address := "ws" + strings.TrimPrefix(t.url, "http") + path + "?user=" + url.QueryEscape(name)
	socket, resp, err := websocket.Dial(ctx, address, &websocket.DialOptions{Subprotocols: []string{"chatring.v1"}})
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	p := &person{name: name, socket: socket, hears: hears, waiting: map[uint64]chan said{}, gone: make(chan struct{})}
	joined := make(chan struct{})
	go p.read(sync.OnceFunc(func() { close(joined) }))
	select {
	case <-joined:
		return p, nil
	case <-p.gone:
		return nil, fmt.Errorf("%s was closed", path)
	case <-ctx.Done():
		_ = socket.CloseNow()
		return nil, fmt.Errorf("%s: %w", path, ctx.Err())
	}
}

func (p *person) read(joined func()) {
	defer close(p.gone)
	for {
		_, frame, err := p.socket.Read(context.Background())
		if err != nil {
			return
		}
		var s said
		if json.Unmarshal(frame, &s) != nil {
			continue
		}
		if s.Push == "joined" {
			joined()
		}
		if s.Push != "" {
			if p.hears != nil {
				p.hears(s)
			}
			continue
		}
		p.mu.Lock()
		if answer := p.waiting[s.ID]; answer != nil {
			answer <- s
		}
		p.mu.Unlock()
	}
}

// ask gives a command, whose fields follow its name, and returns its answer.
func (p *person) ask(ctx context.Context, cmd, fields string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer := make(chan said, 1)
	p.mu.Lock()
	p.asked++
	id := p.asked
	p.waiting[id] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, id)
	}()
	if fields != "" {
		fields = "," + fields
	}
	if err := p.socket.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"id":%d,"cmd":%q%s}`, id, cmd, fields)); err != nil {
		return nil, err
	}
	select {
	case s := <-answer:
		if s.Error != nil {
			return nil, fmt.Errorf("%s: %s: %s", cmd, s.Error.Code, s.Error.Message)
		}
		return s.OK, nil
	case <-p.gone:
		return nil, fmt.Errorf("%s: the socket was closed", cmd)
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: no answer", cmd)
	}
}

// leave closes the socket as a browser does whose page is closed.
func (p *person) leave() {
	_ = p.socket.Close(websocket.StatusGoingAway, "")
	<-p.gone
}

// each does something for n persons, some at a time.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// service is a client of the HTTP API.
type service struct{ *target }

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: patience}

// post asks the API something, and reads its answer into v.
func (s service) post(ctx context.Context, path string, body, v any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path+"?service=people", bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s %.200s", path, resp.Status, answer)
	}
	return json.Unmarshal(answer, v)
}
