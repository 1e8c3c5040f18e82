package main

import (
	"math"
	"time"
)

// Messages carry our own data, the same for all wires, by which a delivery is
// known again whoever delivers it:
//
//	{"t":"0000000001234567890","n":"0007.0000000042","p":"xxxxxxxx"}
//
// t is when the message was due to be said, in nanoseconds since this program
// started; n is which publisher of the room says it, and how many of the
// publisher's it follows; p fills it up. All but p have a fixed width.
const (
	stampHead   = `{"t":"`
	originHead  = `","n":"`
	fillHead    = `","p":"`
	dataTail    = `"}`
	dueDigits   = 19
	whoDigits   = 4
	countDigits = 10

	dueAt    = len(stampHead)
	originAt = dueAt + dueDigits + len(originHead)
	countAt  = originAt + whoDigits + len(".")
	fillAt   = countAt + countDigits + len(fillHead)

	leastData     = fillAt + len(dataTail)
	maxPublishers = 9999
)

// start is what stamps count from.
var start = time.Now()

// A due is when a message should be said: by the clock that sets the rate, not
// by when the program comes to it. So a message that waits in this program for
// a server that takes none counts as late, and no pause of the server hides
// what it delayed (coordinated omission). In the closed loop, where no clock
// sets a rate, a message is due when it is said.
type due = time.Duration

func now() due { return time.Since(start) }

// appendData appends data of size bytes (leastData of them at least).
func appendData(b []byte, at due, publisher int, count uint64, size int) []byte {
	end := len(b) + size - len(dataTail)
	b = append(b, stampHead...)
	b = appendDigits(b, uint64(at), dueDigits)
	b = append(b, originHead...)
	b = appendDigits(b, uint64(publisher), whoDigits)
	b = append(b, '.')
	b = appendDigits(b, count, countDigits)
	b = append(b, fillHead...)
	for len(b) < end {
		b = append(b, 'x')
	}
	return append(b, dataTail...)
}

func appendDigits(b []byte, n uint64, width int) []byte {
	for range width {
		b = append(b, '0')
	}
	for i := len(b) - 1; n > 0; i-- {
		b[i] = '0' + byte(n%10)
		n /= 10
	}
	return b
}

// originIn is who said a message, and which of the publisher's it is. It is not
// ok for data that is not ours.
func originIn(data []byte) (publisher int, count uint64, ok bool) {
	if len(data) < leastData || string(data[:dueAt]) != stampHead || string(data[fillAt-len(fillHead):fillAt]) != fillHead {
		return 0, 0, false
	}
	return int(digits(data[originAt : originAt+whoDigits])), digits(data[countAt : countAt+countDigits]), true
}

// dueIn is when a message was due, of data that is ours.
func dueIn(data []byte) due {
	return due(digits(data[dueAt:dueAt+dueDigits]) & math.MaxInt64)
}

func digits(b []byte) uint64 {
	n := uint64(0)
	for _, c := range b {
		n = n*10 + uint64(c-'0')
	}
	return n
}
