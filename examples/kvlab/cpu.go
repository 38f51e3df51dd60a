package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// tick is the unit of the CPU times in /proc: 100 a second on every Linux.
const tick = 10 * time.Millisecond

// cpuTime returns what the nodes and this process have used of the processors;
// 0 where there is no /proc.
func cpuTime(nodes []*procs.Node) time.Duration {
	total := processTime(os.Getpid())
	for _, n := range nodes {
		total += processTime(n.PID())
	}
	return total
}

func processTime(pid int) time.Duration {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The second field is the name, in brackets, and may hold anything.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11]) // numbers, by proc(5)
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick
}
