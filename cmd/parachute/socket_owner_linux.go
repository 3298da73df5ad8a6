package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// socketOwner describes the process whose socket keeps others from listening at
// an address, such as "nginx (pid 312), which listens there". If only the user
// of the process is visible, it names that user. If nothing is, it returns "".
func socketOwner(network string, at netip.AddrPort) string {
	table := "tcp"
	if strings.HasPrefix(network, "udp") {
		table = "udp"
	}
	for _, file := range []string{table, table + "6"} {
		found, ok := findSocket(filepath.Join("/proc/net", file), at)
		if !ok {
			continue
		}
		if name := processWithSocket(found.inode); name != "" {
			return name + ", which listens there"
		}
		return fmt.Sprintf("the process of user %s that listens there", found.uid)
	}
	return ""
}

// A socketEntry is a socket in a list of /proc/net.
type socketEntry struct{ uid, inode string }

// findSocket returns the socket in a list (proc_net_tcp(5)) that conflicts with
// an address: it has the same port, and either the same address, or one of the
// two is the unspecified address.
func findSocket(list string, at netip.AddrPort) (s socketEntry, ok bool) {
	f, err := os.Open(list)
	if err != nil {
		return s, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || !slices.Contains([]string{listening, unconnected}, fields[3]) {
			continue
		}
		bound, err := parseSocketAddress(fields[1])
		if err != nil || bound.Port() != at.Port() {
			continue
		}
		a, b := bound.Addr().Unmap(), at.Addr().Unmap()
		if a == b || a.IsUnspecified() || !b.IsValid() || b.IsUnspecified() {
			return socketEntry{uid: fields[7], inode: fields[9]}, true
		}
	}
	return s, false
}

// The states of sockets that belong to no connection.
const (
	listening   = "0A" // TCP
	unconnected = "07" // UDP
)

// parseSocketAddress parses an address of a list, in hexadecimal: the 32-bit
// words of the IP address in the byte order of the machine, which is
// little-endian on all platforms that we build for, and the port.
func parseSocketAddress(text string) (netip.AddrPort, error) {
	words, port, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	b, err := hex.DecodeString(words)
	if err != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("no address: %q", text)
	}
	for word := range slices.Chunk(b, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("no address: %q", text)
	}
	return netip.AddrPortFrom(addr, uint16(n)), nil
}

// processWithSocket names the process that has a socket open, or returns "". If
// several have it open, it names the one with the lowest pid, which is likely
// to have started the others.
func processWithSocket(inode string) string {
	files, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	first := 0
	for _, file := range files {
		if to, err := os.Readlink(file); err != nil || to != "socket:["+inode+"]" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(file))))
		if err == nil && (first == 0 || pid < first) {
			first = pid
		}
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", first))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(name)), first)
}
