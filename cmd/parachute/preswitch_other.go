//go:build !linux

package main

import "syscall"

// groupOfItsOwn has a program run in a process group of its own.
func groupOfItsOwn() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
