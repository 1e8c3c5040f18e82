package hub_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

// distant returns an address behind which a server answers so much later.
func distant(t *testing.T, target string, by time.Duration) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() {
				defer server.Close()
				_, _ = io.Copy(server, client)
			}()
			go func() {
				defer client.Close()
				_, _ = io.Copy(writer(func(b []byte) (int, error) {
					time.Sleep(by) // the way back
					return client.Write(b)
				}), server)
			}()
		}
	}()
	return l.Addr().String()
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// Five thousand rooms are asked for at once, of a Redis that is so far away
// that its few connections take longer for all of them than one opening may.
// None fails for having waited for a connection.
func TestFiveThousandRoomsAtOnce(t *testing.T) {
	const rooms, away = 5000, 8 * time.Millisecond
	r := chattest.StartRedis(t)
	broker, err := redisbroker.New(redisbroker.Options{URL: "redis://" + distant(t, r.Addr, away), AppID: "1111"})
	if err != nil {
		t.Fatal(err)
	}
	o := options
	if took := rooms * away / 8; took < o.OpenTimeout {
		t.Fatalf("eight connections take %v: this shows nothing", took)
	}
	h, count := startOn(t, broker, o)
	var wait sync.WaitGroup
	for i := range rooms {
		wait.Go(func() {
			m, err := joinWithin(t, h, time.Minute, chat.RoomID(fmt.Sprint("room-", i)), &listener{}, nil)
			if err != nil {
				t.Error(err)
				return
			}
			m.Leave()
		})
	}
	wait.Wait()
	if got := value(t, count.Rooms); got != rooms {
		t.Errorf("%v rooms are open, want %d", got, rooms)
	}
}
