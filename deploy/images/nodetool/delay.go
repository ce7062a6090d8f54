package main

import (
	"context"
	"flag"
	"math/rand/v2"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
)

// delay holds every packet of a queue back for a while. When it dies, the rule's --queue-bypass lets packets through.
func delay(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("delay", flag.ExitOnError)
	queue := flags.Uint("queue", 0, "number of the NFQUEUE")
	base := flags.Duration("delay", 0, "how long each packet is held back")
	jitter := flags.Duration("jitter", 0, "up to so much more or less, evenly spread")
	_ = flags.Parse(args)

	queued, err := nfqueue.Open(&nfqueue.Config{
		NfQueue: uint16(*queue), MaxPacketLen: 128, MaxQueueLen: 8192, Copymode: nfqueue.NfQnlCopyPacket, WriteTimeout: time.Second,
	})
	if err != nil {
		return err
	}
	defer queued.Close()
	if err := queued.Con.SetReadBuffer(4 << 20); err != nil {
		return err
	}
	if err := queued.SetOption(netlink.NoENOBUFS, true); err != nil {
		return err
	}
	handle := func(packet nfqueue.Attribute) int {
		if packet.PacketID == nil {
			return 0
		}
		hold := *base
		if *jitter > 0 {
			hold += time.Duration(rand.Int64N(2*int64(*jitter)+1)) - *jitter
		}
		id := *packet.PacketID
		time.AfterFunc(max(hold, 0), func() { _ = queued.SetVerdict(id, nfqueue.NfAccept) })
		return 0
	}
	failed := make(chan error, 1)
	err = queued.RegisterWithErrorFunc(ctx, handle, func(err error) int {
		if ctx.Err() != nil {
			return 1
		}
		if op, ok := err.(*netlink.OpError); ok && (op.Timeout() || op.Temporary()) {
			return 0
		}
		select {
		case failed <- err:
		default:
		}
		return 1
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}
