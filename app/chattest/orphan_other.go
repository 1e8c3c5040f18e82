//go:build !linux

package chattest

import "syscall"

// dieWithTest does nothing: a process outlives a test binary that panics.
func dieWithTest() *syscall.SysProcAttr { return nil }
