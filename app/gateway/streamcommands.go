package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/chatring/chatring/app/protocol"
)

const (
	// maxPost is how many bytes of commands one request may have, and maxCommands how
	// many of them.
	maxPost     = 64 << 10
	maxCommands = 64
	// postTime is how long commands of one request are begun: with the last one the
	// answer is well within the time that a server gives a request.
	postTime = 10 * time.Second
	// maxWaiting is how many requests may wait for one that came for the same stream before.
	maxWaiting = 8
)

// serveCommands carries out the commands of a request for a stream, one after the
// other, and answers with their replies. It leaves off when the stream ends, or its
// time is up: what has no reply then was not carried out.
func (g *Gateway) serveCommands(w http.ResponseWriter, r *http.Request) {
	s, f := g.findStream(r)
	if f != nil {
		g.refuse(w, f)
		return
	}
	commands, f := g.readCommands(r)
	if f != nil {
		g.refuse(w, f)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), postTime)
	defer cancel()
	if f := s.queue(ctx); f != nil {
		g.refuse(w, f)
		return
	}
	defer func() { <-s.order }()
	var reply bytes.Buffer
	for i, command := range commands {
		reply.Reset()
		f := s.handle(ctx, command, func(f protocol.Frame) { reply.Write(f.JSON()) })
		if f != nil && i == 0 {
			g.refuse(w, f)
		}
		if f != nil {
			return
		}
		reply.WriteByte('\n')
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Cache-Control", "no-store")
		if _, err := reply.WriteTo(w); err != nil {
			return // the client has gone
		}
	}
}

// findStream returns the stream that commands are for. Who shows what the stream was
// opened with need not be looked at again.
func (g *Gateway) findStream(r *http.Request) (*stream, *refusal) {
	if !g.allowedOrigin(r) {
		return nil, foreign()
	}
	name, f := streamName(r)
	if f != nil {
		return nil, f
	}
	if name == "" {
		return nil, &refusal{status: 400, code: string(protocol.BadRequest), message: "commands are for a stream: say which with ?stream="}
	}
	c := shown(r)
	s := g.streams.byShown(name, c)
	if s == nil {
		id, f := g.identify(c, g.posts)
		if f != nil {
			return nil, f
		}
		s = g.streams.of(id.User, name)
	}
	if s == nil || s.address != r.URL.Path {
		return nil, noStream()
	}
	return s, nil
}

// noStream says that the stream is not here, or no more.
func noStream() *refusal {
	return &refusal{status: 404, code: "no_stream", message: "there is no such stream at this node: open it again"}
}

// readCommands reads a body: a command in each line.
func (g *Gateway) readCommands(r *http.Request) ([][]byte, *refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxPost))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return nil, tooLarge()
	case err != nil:
		return nil, &refusal{status: 400, code: string(protocol.BadRequest), message: "the body could not be read"}
	}
	var commands [][]byte
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if commands = append(commands, line); len(line) > g.opts.MaxMessage || len(commands) > maxCommands {
			return nil, tooLarge()
		}
	}
	return commands, nil
}

// tooLarge is for bodies beyond the bounds. The rest of one is not read.
func tooLarge() *refusal {
	return &refusal{status: 413, code: "too_large", message: "send fewer commands at once, or shorter ones", header: [2]string{"Connection", "close"}}
}

// queue waits for the turn of a request among those for the stream. Whoever has it gives
// s.order back.
func (s *stream) queue(ctx context.Context) *refusal {
	select {
	case s.order <- struct{}{}:
		return nil
	default:
	}
	if s.waiting.Add(1) > maxWaiting {
		s.waiting.Add(-1)
		return &refusal{status: 429, code: string(protocol.RateLimited), message: "wait for the answer before you send more", header: [2]string{"Retry-After", "1"}}
	}
	defer s.waiting.Add(-1)
	select {
	case s.order <- struct{}{}:
		return nil
	case <-ctx.Done():
		return late()
	}
}

func late() *refusal {
	return unavailable("order", "the commands before take too long: try again")
}
