// Command etcd is the real etcd, for tests that need one to start, freeze and kill.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
