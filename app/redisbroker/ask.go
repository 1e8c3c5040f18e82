package redisbroker

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/chatring/chatring/app/chat"
)

// Ask implements chat.Broker. Answers come in no particular order. Ask waits
// for the bridge, because no answer could arrive without it.
func (b *Broker) Ask(ctx context.Context, room chat.RoomID, question []byte) (answers [][]byte, complete bool, err error) {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	channel, err := b.bridge.await(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("ask in %s: %w", room, err)
	}
	id, heard := b.questions.open()
	defer b.questions.close(id)
	others, claimed, err := b.tell(ctx, room, questionMessage(b.node, channel, id, question))
	if err != nil {
		return nil, false, fmt.Errorf("ask in %s: %w", room, err)
	}
	answers, complete = collect(ctx, heard, others, func(from nodeID) bool {
		return from != b.node || !claimed
	})
	return answers, complete, nil
}

// answer sends an answer to the node that asked. It does not wait, and when
// the queue is full the asker is left without it.
func (b *Broker) answer(ctx context.Context, channel, id string, body []byte) {
	message := answerMessage(id, b.node, body)
	_ = b.signals.submit(ctx, &call{
		script:  signalScript,
		channel: channel,
		args:    []any{message},
		size:    len(message),
	})
}

// hearAnswer hears an answer: "<id> <node> <body>".
func (b *Broker) hearAnswer(message string) {
	f, err := split(message, 3)
	if err != nil {
		b.counters.malformed.Add(1)
		return
	}
	b.questions.answered(f[0], answer{nodeID(f[1]), []byte(f[2])})
}

// maxAnswers is how many nodes may answer one question; who comes later is not
// heard, and the answer stays incomplete.
const maxAnswers = 256

// questions are those that this node has asked and whose answers it awaits.
// All methods may be called concurrently.
type questions struct {
	// Guarded by mu.
	mu      sync.Mutex
	asked   uint64
	pending map[string]chan answer // each holds up to maxAnswers; never closed
}

type answer struct {
	from nodeID
	body []byte // nil: this node heard its own question
}

func newQuestions() *questions {
	return &questions{pending: make(map[string]chan answer)}
}

func (q *questions) open() (id string, answers <-chan answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked++
	id = strconv.FormatUint(q.asked, 10)
	heard := make(chan answer, maxAnswers)
	q.pending[id] = heard
	return id, heard
}

func (q *questions) close(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.pending, id)
}

func (q *questions) answered(id string, a answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case q.pending[id] <- a: // never, when nobody asks any more
	default:
	}
}

// collect waits for n answers of nodes that count, or for the end of ctx. A
// node that Redis counts twice for a moment, on its old connection and on its
// new one, answers twice and is heard once; this node itself has no answer.
func collect(ctx context.Context, heard <-chan answer, n int64, counts func(nodeID) bool) (answers [][]byte, complete bool) {
	from := make(map[nodeID]bool)
	for n > 0 {
		select {
		case a := <-heard:
			if counts(a.from) {
				n--
			}
			if a.body != nil && !from[a.from] {
				from[a.from] = true
				answers = append(answers, a.body)
			}
		case <-ctx.Done():
			return answers, false
		}
	}
	return answers, true
}
