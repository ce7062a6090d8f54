package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

type probed struct {
	Sent     int     `json:"sent"`
	OK       int     `json:"ok"`
	Refused  int     `json:"refused"` // reset or refused by the other side
	Lost     int     `json:"lost"`    // no answer in time, or unreachable
	MedianMS float64 `json:"median_ms"`
	MinMS    float64 `json:"min_ms"`
	MaxMS    float64 `json:"max_ms"`
}

// many runs one attempt n times, staggered, and sums up.
func many(n int, every time.Duration, attempt func() error) probed {
	var (
		mutex sync.Mutex
		group sync.WaitGroup
		took  []float64
		sum   = probed{Sent: n}
	)
	for i := range n {
		if i > 0 {
			time.Sleep(every)
		}
		group.Go(func() {
			start := time.Now()
			err := attempt()
			ms := float64(time.Since(start).Microseconds()) / 1000
			mutex.Lock()
			defer mutex.Unlock()
			switch {
			case err == nil:
				sum.OK++
				took = append(took, ms)
			case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
				sum.Refused++
			default:
				sum.Lost++
			}
		})
	}
	group.Wait()
	if len(took) > 0 {
		slices.Sort(took)
		sum.MinMS, sum.MedianMS, sum.MaxMS = took[0], took[len(took)/2], took[len(took)-1]
	}
	return sum
}

// probe opens TCP connections, and closes each at once by a reset so that nothing lingers on the server.
// With a time-out below a second a lost SYN is not sent again, so the share of `lost` is the loss of single packets.
func probe(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("probe", flag.ExitOnError)
	n := flags.Int("n", 5, "how many connections")
	every := flags.Duration("every", 5*time.Millisecond, "time between two")
	timeout := flags.Duration("timeout", 500*time.Millisecond, "for each")
	_ = flags.Parse(args)
	dialer := net.Dialer{Timeout: *timeout}
	return say(many(*n, *every, func() error {
		conn, err := dialer.DialContext(ctx, "tcp4", flags.Arg(0))
		if err != nil {
			return err
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		return conn.Close()
	}))
}

// dns asks for the A record of a name; any answer counts, also "no such name".
func dns(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("dns", flag.ExitOnError)
	n := flags.Int("n", 3, "how many questions")
	timeout := flags.Duration("timeout", 500*time.Millisecond, "for each")
	name := flags.String("name", "kubernetes.default.svc.cluster.local", "what is asked for")
	_ = flags.Parse(args)
	question := binary.BigEndian.AppendUint16(nil, 0x7268)
	question = append(question, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	for part := range splitDots(*name) {
		question = append(append(question, byte(len(part))), part...)
	}
	question = append(question, 0, 0, 1, 0, 1)
	dialer := net.Dialer{}
	return say(many(*n, 5*time.Millisecond, func() error {
		conn, err := dialer.DialContext(ctx, "udp4", flags.Arg(0))
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(*timeout))
		if _, err := conn.Write(question); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 512))
		return err
	}))
}

func splitDots(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i := 0; i <= len(name); i++ {
			if i == len(name) || name[i] == '.' {
				if i > start && !yield(name[start:i]) {
					return
				}
				start = i + 1
			}
		}
	}
}
