package home

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chatring/chatring/app/chat"
)

const (
	// questions is how many may be under way at once.
	questions = 8
	// answerTimeout is how long one may take. HAProxy is near, and the node that
	// answers does nothing for it.
	answerTimeout = time.Second
)

// A ring is HAProxy's, as it says itself: it passes GET /shard/{room} on to the
// room's home, so whoever answers is alive and its home.
type ring struct {
	url    string // of HAProxy, for nodes
	client *http.Client
}

func newRing(url string, transport http.RoundTripper) *ring {
	if transport == nil {
		transport = &http.Transport{MaxIdleConnsPerHost: questions, IdleConnTimeout: 20 * time.Second}
	}
	return &ring{url, &http.Client{Transport: transport, Timeout: answerTimeout}}
}

// homes returns the APPID of the home of each room. With an error it returns
// those that it has found out.
func (r *ring) homes(ctx context.Context, rooms []chat.RoomID) (map[chat.RoomID]string, error) {
	homes := make(map[chat.RoomID]string, len(rooms))
	var mu sync.Mutex
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(questions)
	for _, room := range rooms {
		asking.Go(func() error {
			home, err := r.home(ctx, room)
			if err != nil {
				return fmt.Errorf("ask where %s is at home: %w", room, err)
			}
			mu.Lock()
			defer mu.Unlock()
			homes[room] = home
			return nil
		})
	}
	err := asking.Wait()
	return homes, err
}

func (r *ring) home(ctx context.Context, room chat.RoomID) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/shard/"+string(room), nil)
	if err != nil {
		return "", err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return "", err
	}
	var answer struct {
		Room  chat.RoomID `json:"room"`
		Shard string      `json:"shard"`
	}
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &answer) != nil || answer.Room != room || answer.Shard == "" {
		return "", fmt.Errorf("%s is no answer: %.100q", resp.Status, body)
	}
	return answer.Shard, nil
}
