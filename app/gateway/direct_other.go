//go:build !unix

package gateway

import (
	"net"
	"syscall"
)

// Where there are no Unix sockets package net reads and writes alone.

func direct(net.Conn) syscall.RawConn { return nil }

func receiving(c net.Conn, _ syscall.RawConn) net.Conn { return c }

func tryWrite(syscall.RawConn, []byte) int { return 0 }
