// Command nodetool is what a node needs and does not have: it delays packets, probes connections, moves bytes and uses
// up CPU or memory. One static program, started by the harness on a node, often inside a pod's network namespace.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

type command struct {
	about string
	run   func(ctx context.Context, args []string) error
}

var commands = map[string]command{
	"delay": {"delay the packets of an NFQUEUE", delay},
	"probe": {"open TCP connections and say how many came about, and how long each took", probe},
	"dns":   {"ask a DNS server and say how many answers came", dns},
	"sink":  {"take bytes on a TCP port for a while", sink},
	"push":  {"send bytes to a sink and say how quick that was", push},
	"burn":  {"use an amount of CPU time on one core and say how long it took", burn},
	"hog":   {"use CPU or hold memory until told to stop", hog},
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]].run == nil {
		fmt.Fprintln(os.Stderr, "usage: nodetool COMMAND [flags]")
		for name, c := range commands {
			fmt.Fprintf(os.Stderr, "  %-6s %s\n", name, c.about)
		}
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := commands[os.Args[1]].run(ctx, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "nodetool:", err)
		os.Exit(1)
	}
}

// say writes a result as one line of JSON.
func say(result any) error { return json.NewEncoder(os.Stdout).Encode(result) }
