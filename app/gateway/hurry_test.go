package gateway

import (
	"net"
	"testing"
	"time"

	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

// An overtaken connection has something happen just before a deadline of it is
// set.
type overtaken struct {
	net.Conn
	before   func() // once
	deadline time.Time
}

func (o *overtaken) SetWriteDeadline(t time.Time) error {
	if before := o.before; before != nil {
		o.before = nil
		before()
	}
	o.deadline = t
	return nil
}

func (o *overtaken) Write(b []byte) (int, error) { return len(b), nil }

// A write that sets its deadline while Hurry does still ends soon.
func TestHurryOvertakesWrite(t *testing.T) {
	raw := &overtaken{}
	c := newConn(&Gateway{opts: Options{WriteTimeout: time.Hour}, count: metrics.New("1111", "test")}, raw, nil)
	raw.before = c.Hurry
	c.Write([]protocol.Batch{protocol.Ping(nil).Batch()})
	if left := time.Until(raw.deadline); left > hurry || left < 0 {
		t.Errorf("the write may take %v, want at most %v", left, hurry)
	}
}
