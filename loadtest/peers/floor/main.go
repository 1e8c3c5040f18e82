// Command floor is the least that a fan-out can cost: it writes the bytes that
// members send to the sockets of their room, and does nothing else.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

const usage = `usage: floor [flags]

The floor under every fan-out: one thread, epoll, and a plain write of the same
bytes to the socket of each member. GET /ROOM with the headers of a WebSocket
joins a room; the answer is the text frame "joined". Each frame that a member
sends goes to all members of its room, the sender too. No position, no log, no
acknowledgement, no other node. Linux only.

  floor -listen 127.0.0.1:9401
  floor -listen 127.0.0.1:9401 -gather 5ms -pad 115

flags:
`

func main() {
	listen := flag.String("listen", "127.0.0.1:9401", "`address` to listen on")
	gather := flag.Duration("gather", 0, "write what comes within this `time` together, one write per member, in steps of 1 ms (0: what one look at the sockets finds)")
	pad := flag.Int("pad", 0, "add so many spaces to each message, so that frames are as long as those of another `n`")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 || *gather < 0 || *pad < 0 {
		fmt.Fprintln(os.Stderr, "floor: no arguments, and no negative flags (see -h)")
		os.Exit(2)
	}
	if err := run(*listen, *gather, *pad); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(listen string, gather time.Duration, pad int) error {
	l, err := newLoop(listen, gather, pad)
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.ln.Addr())
	return l.run()
}
