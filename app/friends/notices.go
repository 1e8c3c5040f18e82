package friends

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
)

const (
	// maxNotices is how many notices may wait; each is two names. Those that do not
	// fit are lost: what they tell stands in the list all the same.
	maxNotices = 4096
	// posters is how many are posted at once.
	posters = 8
	// postTries is how often one is tried before it is lost, a second after the
	// other.
	postTries = 5
)

// notices are publications for the inboxes of others. They are posted behind the
// answer to a command, so that the time it takes does not tell who gets one.
type notices struct {
	post  Poster
	count *metrics.Friends
	queue chan chat.Draft // never closed
}

func newNotices(post Poster, count *metrics.Friends) *notices {
	return &notices{post, count, make(chan chat.Draft, maxNotices)}
}

// noticesOf say in which notice a user hears how it stands to another one now.
var noticesOf = map[State]string{Asked: "friend_request", Friend: "friend_accepted"}

// tell queues a notice, if there is one. Its type is its key, too: a request that is
// made, taken back and made again within the time that keys are remembered is told
// once.
func (n *notices) tell(from, to chat.UserID, is State) {
	kind, ok := noticesOf[is]
	if !ok {
		return
	}
	body, err := json.Marshal(struct {
		Type string      `json:"type"`
		From chat.UserID `json:"from"`
	}{kind, from})
	if err != nil {
		panic("friends: " + err.Error()) // two strings
	}
	select {
	case n.queue <- chat.Draft{Room: chat.Inbox(to), From: from, Key: kind, Body: body}:
	default:
		n.count.NoticesLost.Inc()
	}
}

// run posts what is queued until ctx ends. The function that it returns waits for
// the posters' end.
func (n *notices) run(ctx context.Context) (wait func()) {
	var work sync.WaitGroup
	for range posters {
		work.Go(func() {
			for {
				select {
				case d := <-n.queue:
					n.say(ctx, d)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return work.Wait
}

func (n *notices) say(ctx context.Context, d chat.Draft) {
	var err error
	for range postTries {
		if _, err = n.post.Post(ctx, d); !errors.Is(err, chat.ErrUnavailable) {
			break
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	if err != nil {
		n.count.NoticesLost.Inc()
		slog.Warn("a notice of friends could not be posted", "kind", d.Key, "err", err)
	}
}
