package main

import (
	"context"
	"flag"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

// sink takes bytes on a port until its time is over, one connection after another.
func sink(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("sink", flag.ExitOnError)
	address := flags.String("listen", ":0", "where to listen")
	length := flags.Duration("for", 10*time.Second, "ends after this time")
	_ = flags.Parse(args)
	ctx, stop := context.WithTimeout(ctx, *length)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", *address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	for {
		conn, err := listener.Accept()
		if err != nil {
			return nil // the time is over
		}
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}()
	}
}

// push sends bytes for a while and says at which rate they were taken, leaving out the first fifth of the time, in which
// buffers and a token bucket's burst fill.
func push(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("push", flag.ExitOnError)
	length := flags.Duration("for", time.Second, "for how long")
	most := flags.Int64("max", 64<<20, "at most so many bytes")
	_ = flags.Parse(args)
	dialer := net.Dialer{Timeout: 2 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp4", flags.Arg(0))
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetWriteBuffer(16 << 10)
	start := time.Now()
	settled, end := start.Add(*length/5), start.Add(*length)
	_ = conn.SetDeadline(end)
	chunk := make([]byte, 4<<10)
	var total, counted int64
	from := settled
	for total < *most {
		n, err := conn.Write(chunk)
		total += int64(n)
		now := time.Now()
		if now.After(settled) {
			counted += int64(n)
		} else {
			from = now
		}
		if err != nil || now.After(end) {
			break
		}
	}
	took := time.Since(from).Seconds()
	if counted == 0 { // quicker than the settling time
		counted, took = total, time.Since(start).Seconds()
	}
	return say(map[string]any{"bytes": total, "kbit_s": float64(counted) * 8 / 1000 / took, "took_s": time.Since(start).Seconds()})
}

func cpuTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// burn uses CPU time on one core and says how long that took.
func burn(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("burn", flag.ExitOnError)
	amount := flags.Duration("cpu", 20*time.Millisecond, "how much CPU time")
	longest := flags.Duration("timeout", 10*time.Second, "give up after")
	_ = flags.Parse(args)
	runtime.GOMAXPROCS(1)
	start, from := time.Now(), cpuTime()
	for cpuTime()-from < *amount && time.Since(start) < *longest && ctx.Err() == nil {
		for range 20_000 {
			_ = start.Nanosecond()
		}
	}
	used, took := cpuTime()-from, time.Since(start)
	return say(map[string]any{"cpu_ms": used.Milliseconds(), "took_ms": took.Milliseconds(), "share": used.Seconds() / took.Seconds()})
}

// hog uses whole cores, and holds memory, until it is told to stop or its time is over.
func hog(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("hog", flag.ExitOnError)
	cores := flags.Int("cores", 0, "how many cores to keep busy")
	memory := flags.Int64("mib", 0, "how much memory to hold, in MiB")
	length := flags.Duration("for", time.Hour, "ends after this time")
	_ = flags.Parse(args)
	ctx, stop := context.WithTimeout(ctx, *length)
	defer stop()
	runtime.GOMAXPROCS(*cores + 1)
	for range *cores {
		go func() {
			for ctx.Err() == nil {
				for range 1_000_000 {
				}
			}
		}()
	}
	var held [][]byte
	for got := int64(0); got < *memory && ctx.Err() == nil; got++ {
		block, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return err
		}
		for at := 0; at < len(block); at += os.Getpagesize() {
			block[at] = 1 // a page is there only once it is written
		}
		held = append(held, block)
	}
	<-ctx.Done()
	runtime.KeepAlive(held)
	return nil
}
