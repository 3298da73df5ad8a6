package main

import "syscall"

// groupOfItsOwn has a program run in a process group of its own, and end with this process.
func groupOfItsOwn() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
