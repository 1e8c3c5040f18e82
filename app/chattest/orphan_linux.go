package chattest

import "syscall"

// dieWithTest has a process killed when the process that starts it ends,
// however that ends.
func dieWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
